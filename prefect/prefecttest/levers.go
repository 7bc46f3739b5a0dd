package prefecttest

import (
	"slices"
	"time"
)

// Run is a flow run as tests look at it.
type Run struct {
	ID      string        `json:"id"`
	Name    string        `json:"name"`
	State   string        `json:"state"`
	Message string        `json:"message"`
	Version int           `json:"version"`
	Labels  []string      `json:"labels"`
	Due     time.Time     `json:"due"`
	History []StateChange `json:"history"`
	Logs    []LogLine     `json:"logs"`
}

// Order asks for flow runs.
type Order struct {
	// FlowID of a registered flow; empty for one without tasks that is always there.
	FlowID string `json:"flow_id"`
	// Count of runs; zero is one.
	Count int    `json:"count"`
	Name  string `json:"name"`
	// In is how far ahead they are scheduled; zero is now.
	In         Duration `json:"in"`
	Labels     []string `json:"labels"`
	RunConfig  any      `json:"run_config"`
	Parameters any      `json:"parameters"`
}

// CreateRuns creates flow runs as create_flow_run does, and returns their ids.
func (a *API) CreateRuns(o Order) []string {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flows[UUID(o.FlowID)]
	if f == nil {
		f = s.blankFlow()
	}
	at := s.clock().Add(time.Duration(o.In))
	var ids []string
	for range max(1, o.Count) {
		labels := o.Labels
		if labels == nil && o.RunConfig == nil {
			labels = labelsOf(f.RunConfig)
		}
		r := s.createRun(newRun{flow: f, name: o.Name, at: at, labels: labels, runConfig: o.RunConfig, parameters: o.Parameters})
		ids = append(ids, string(r.ID))
	}
	return ids
}

// blankFlow is what runs belong to that are never executed.
func (s *store) blankFlow() *flow {
	for _, f := range s.flows {
		if f.Name == "blank" && f.ProjectID == "" {
			return f
		}
	}
	return s.addFlow("blank", "", coreVersion, map[string]any{"type": "Local"}, map[string]any{"type": "UniversalRun", "labels": []any{}, "env": nil})
}

// Runs returns the runs with these ids, or all of them, oldest first.
func (a *API) Runs(ids ...string) []Run {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := []Run{}
	for _, r := range s.runs {
		if len(ids) > 0 && !slices.Contains(ids, string(r.ID)) {
			continue
		}
		runs = append(runs, Run{
			ID: string(r.ID), Name: r.Name, State: r.State.Type, Message: r.State.Message, Version: r.Version, Labels: r.Labels,
			Due: r.Scheduled, History: slices.Clone(r.History), Logs: slices.Clone(s.logs[r.ID]),
		})
	}
	slices.SortFunc(runs, func(a, b Run) int {
		if c := a.Due.Compare(b.Due); c != 0 {
			return c
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return runs
}

// States counts the runs in each state.
func (a *API) States() map[string]int {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for name, runs := range s.byState {
		if len(runs) > 0 {
			counts[name] = len(runs)
		}
	}
	return counts
}

// SetState writes a state from the outside, as a person does in the UI.
func (a *API) SetState(id string, fields map[string]any) error {
	st, err := parseState(fields)
	if err != nil {
		return err
	}
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if r := a.store.runs[UUID(id)]; r != nil {
		a.store.setState(r, st)
	}
	return nil
}

// Cancel is the UI's cancel button.
func (a *API) Cancel(id string) {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if r := a.store.runs[UUID(id)]; r != nil {
		a.store.cancel(r)
	}
}

// RestartAPI forgets what only API processes remember: who was submitted lately.
func (a *API) RestartAPI() {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	for i := range a.store.submitted {
		a.store.submitted[i] = map[UUID]time.Time{}
	}
}

const (
	// lazarusAfter is how old a heartbeat has to be.
	lazarusAfter = 10 * time.Minute
	// lazarusTries is how often a run is rescheduled before it is given up.
	lazarusTries = 3
)

// Lazarus does one round of the Lazarus process and returns how many runs it touched.
func (a *API) Lazarus() int {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	now, touched := s.clock(), 0
	for _, name := range []string{"Submitted", "Running"} {
		for _, r := range s.byState[name] {
			if r.Heartbeat.IsZero() || now.Sub(r.Heartbeat) < lazarusAfter || slices.ContainsFunc(r.taskRuns, func(t *taskRun) bool {
				return slices.Contains([]string{"Scheduled", "Paused", "Resume", "Retrying", "Running", "Cancelling"}, t.State.Type)
			}) {
				continue
			}
			touched++
			if r.Resurrected == lazarusTries {
				s.setState(r, mustState(map[string]any{"type": "Failed", "message": "A Lazarus process attempted to reschedule this run 3 times without success. Marking as failed."}))
				continue
			}
			r.Resurrected++
			s.setState(r, scheduledState("Rescheduled by a Lazarus process.", now))
		}
	}
	return touched
}
