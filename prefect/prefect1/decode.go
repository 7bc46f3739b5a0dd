package prefect1

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// claimKey is our claim's key in a Submitted state's context. The server keeps a state's
// context as it was sent (prefect1-server §h).
const claimKey = "prefect_keda"

// claimContext is a state's context that holds a claim.
type claimContext struct {
	Claim claimNote `json:"prefect_keda"`
}

// claimNote is a claim as the server keeps it. Launchers of other releases read
// it: add members, never change one.
type claimNote struct {
	Launcher  string `json:"launcher"`
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
	Attempt   string `json:"attempt"`

	NamespaceUID string `json:"namespace_uid,omitempty"`
}

func noteOf(c prefect.Claim) claimContext {
	return claimContext{claimNote{c.Launcher, c.Namespace, c.Job, string(c.Attempt), c.NamespaceUID}}
}

// object reads a JSON object member by member, so that one member of an
// unexpected type does not hide the others. Anything else is an empty object.
func object(raw json.RawMessage) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	return m
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// timeOf reads the forms Python and PostgreSQL write: any number of fraction
// digits, an offset or none (then UTC), a T or a space. Zero when absent or
// unreadable.
func timeOf(s string) time.Time {
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00",
		"2006-01-02 15:04:05.999999999-07", "2006-01-02 15:04:05.999999999",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// formatTime writes a time as the original client does: UTC, microseconds, a
// numeric offset. The server keeps no more than microseconds.
func formatTime(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000000-07:00")
}

// placeOf reads a run's labels. Labels we cannot read are an error, because a
// run taken for unlabelled would go to the wrong launcher.
func placeOf(labels json.RawMessage) (p prefect.Place, err error) {
	if !isPresent(labels) {
		return p, nil
	}
	if err := json.Unmarshal(labels, &p.Labels); err != nil {
		return prefect.Place{}, fmt.Errorf("read labels %s: %w", exchange.Shorten(string(labels)), err)
	}
	if len(p.Labels) == 0 {
		return prefect.Place{}, nil
	}
	return p, nil
}

// stateOf joins a state with the columns the server copies from it. The columns
// win for the type, which the server filtered by; the state wins for the time.
func stateOf(column, startColumn string, serialized json.RawMessage) prefect.State {
	m := object(serialized)
	s := prefect.State{Name: cmp.Or(column, text(m["type"])), Message: text(m["message"])}
	if m != nil {
		s.Opaque = serialized
	}
	s.Limited = s.Name == stateQueued
	if slices.Contains(scheduledStates(), s.Name) {
		if s.StartTime = timeOf(text(m["start_time"])); s.StartTime.IsZero() {
			s.StartTime = timeOf(startColumn)
		}
	}
	s.Phase = phaseOf(s.Name, s.StartTime)
	return s
}

// claimOf is our claim in a Submitted state, or nil.
func claimOf(serialized json.RawMessage) *prefect.Claim {
	return claimIn(object(object(serialized)["context"])[claimKey])
}

// claim is our claim in the last submission, or nil.
func (s lastSubmission) claim() *prefect.Claim {
	if len(s.States) == 0 {
		return nil
	}
	return claimIn(s.States[0].Serialized_state)
}

func claimIn(raw json.RawMessage) *prefect.Claim {
	note := object(raw)
	if note == nil {
		return nil
	}
	return &prefect.Claim{
		Launcher:  text(note["launcher"]),
		Namespace: text(note["namespace"]),
		Job:       text(note["job"]),
		Attempt:   prefect.Attempt(text(note["attempt"])),

		NamespaceUID: text(note["namespace_uid"]),
	}
}

// returnedKey is the key, in a Scheduled state's context, of how often the run was handed
// back because its pods never began. A claim wraps that state.
const returnedKey = "prefect_keda_returned"

// returnedOf is that number; zero if the context holds none, or nonsense.
func returnedOf(serialized json.RawMessage) int {
	var n int
	if json.Unmarshal(object(object(innermost(serialized))["context"])[returnedKey], &n) != nil {
		return 0
	}
	return max(n, 0)
}

// innermost unwraps states that only wrap another (prefect1 §2.1): a claim stores the
// state that the run really was in. JSON null when there is none.
func innermost(serialized json.RawMessage) json.RawMessage {
	null := json.RawMessage("null")
	// Each level costs a pass over the rest; real states nest once or twice.
	for range 16 {
		m := object(serialized)
		if m == nil {
			return null
		}
		switch text(m["type"]) {
		case stateSubmitted, stateQueued, "ClientFailed":
			serialized = m["state"]
		default:
			return bytes.TrimSpace(serialized)
		}
	}
	return null
}

// flowRunOf reads a row requested at that time. It fails only for a row that nobody could
// act on.
func flowRunOf(row retryFields, at time.Time) (prefect.FlowRun, error) {
	if row.Id == "" {
		return prefect.FlowRun{}, fmt.Errorf("read a flow run: the row has no id")
	}
	place, err := placeOf(row.Labels)
	if err != nil {
		return prefect.FlowRun{ID: row.Id}, fmt.Errorf("read flow run %s: %w", row.Id, err)
	}
	run := prefect.FlowRun{
		ID:        row.Id,
		Name:      row.Name,
		Revision:  strconv.Itoa(row.Version),
		Fresh:     row.Version <= 1,
		State:     stateOf(row.State, row.State_start_time, row.Serialized_state),
		Place:     place,
		FlowName:  row.Flow.Name,
		StateAt:   timeOf(row.State_timestamp),
		ReadAt:    at,
		Heartbeat: timeOf(row.Heartbeat),
	}
	made := recipe.Recipe{RunConfig: row.Run_config, FlowID: row.Flow.Id, CoreVersion: row.Flow.Core_version, Storage: row.Flow.Storage}
	run.Attempt = prefect.Attempt("v" + strconv.Itoa(row.Version))
	switch run.State.Phase {
	case prefect.Waiting, prefect.Held:
		run.Due = run.State.StartTime
	case prefect.Claimed:
		run.KeepBy = keepBy(run.StateAt, run.Heartbeat)
		run.Claim = claimOf(row.Serialized_state)
		run.HandedBack = returnedOf(row.Serialized_state)
	case prefect.Running:
		if made.DueTasks = dueTasksOf(row); len(made.DueTasks) > 0 {
			first := firstDue(made.DueTasks)
			run.JobFirst, run.Due, run.Attempt, run.LastClaim = true, first.State.StartTime, attemptAt(first), row.claim()
		}
	}
	run.Recipe = made
	return run, nil
}

// firstDue is the task that names the attempt.
func firstDue(tasks []recipe.Task) recipe.Task {
	return slices.MinFunc(tasks, func(a, b recipe.Task) int {
		return cmp.Or(a.State.StartTime.Compare(b.State.StartTime), cmp.Compare(a.ID, b.ID))
	})
}

// attemptAt names the attempt at a Running run. Such a run keeps its version while its
// tasks retry, so the task run that fell due first names the attempt: two launchers that
// see different numbers of due tasks still agree on the first.
func attemptAt(first recipe.Task) prefect.Attempt {
	return prefect.Attempt("retry-" + first.ID + "-v" + strconv.Itoa(first.Version))
}

// versionOf is the version of the state that made a run claimable; false for a retry,
// since that is no state of the run.
func versionOf(a prefect.Attempt) (int, bool) {
	digits, ok := strings.CutPrefix(string(a), "v")
	version, err := strconv.Atoi(digits)
	return version, ok && err == nil && a == prefect.Attempt("v"+strconv.Itoa(version))
}

// scheduledRunOf reads a row of the scheduled runs.
func scheduledRunOf(row runFields, at time.Time) (prefect.FlowRun, error) {
	return flowRunOf(retryFields{runFields: row}, at)
}

// rowsOf reads rows requested at that time.
func rowsOf[T any](from []T, at time.Time, runOf func(T, time.Time) (prefect.FlowRun, error)) []row {
	rows := make([]row, 0, len(from))
	for _, r := range from {
		run, err := runOf(r, at)
		rows = append(rows, row{run, err})
	}
	return rows
}

// claimedRunOf reads a row of the claims.
func claimedRunOf(row claimedRunsClaimedFlow_run, at time.Time) (prefect.FlowRun, error) {
	run, err := flowRunOf(retryFields{runFields: runFields{Id: row.Id, Labels: row.Labels, State: row.State, State_timestamp: row.State_timestamp, Heartbeat: row.Heartbeat}}, at)
	run.Claim, run.Recipe = claimIn(row.Claim), nil
	return run, err
}

// largeRunOf reads the reduced row of a run that is too large.
func largeRunOf(row largeRunFlow_run, at time.Time, limit int) (prefect.FlowRun, error) {
	small := retryFields{lastSubmission: row.lastSubmission, runFields: runFields{
		Id: row.Id, Version: row.Version, Labels: row.Labels, State: row.State, State_timestamp: row.State_timestamp,
		State_start_time: row.State_start_time, Heartbeat: row.Heartbeat,
	}}
	for _, t := range row.Task_runs {
		small.Task_runs = append(small.Task_runs, runFieldsTask_runsTask_run{
			Id: t.Id, Task_id: t.Task_id, Version: t.Version, State: t.State, State_start_time: t.State_start_time,
		})
	}
	run, err := flowRunOf(small, at)
	if run.State.Phase == prefect.Claimed {
		run.Claim = claimIn(row.Claim)
	}
	run.Fault = &prefect.AuthorError{Message: fmt.Sprintf("This flow run is too large to be launched: its run config, its flow's storage and its state are more than %d MiB together, and a Kubernetes Job takes about one. Make them smaller.", limit>>20)}
	return run, err
}

// dueTasksOf keeps the tasks that wait for their retry: only their states have a start
// time.
func dueTasksOf(row retryFields) []recipe.Task {
	var tasks []recipe.Task
	for _, t := range row.Task_runs {
		s := stateOf(t.State, t.State_start_time, t.Serialized_state)
		if t.Id == "" || s.StartTime.IsZero() {
			continue
		}
		tasks = append(tasks, recipe.Task{ID: t.Id, TaskID: t.Task_id, Version: t.Version, State: s})
	}
	return tasks
}
