package framework

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
)

// Suspended are job variables of flow runs whose Jobs are created suspended, because the test
// ends at the Job: a real flow takes nine seconds of a core.
func Suspended() map[string]any { return map[string]any{"suspend": true} }

// Deploy makes a deployment, in the scenario's pool unless it names another, and returns its id.
func (e *PoolEnv) Deploy(d prefectapi.Deployment) string {
	e.t.Helper()
	d.Pool = cmp.Or(d.Pool, e.Pool)
	d.Flow = cmp.Or(d.Flow, "hello")
	d.Name = cmp.Or(d.Name, d.Pool)
	d.Entrypoint = cmp.Or(d.Entrypoint, "prefect3_flows.py:"+d.Flow)
	id, err := e.Server.CreateDeployment(e.t.Context(), d)
	if err != nil {
		e.t.Fatal(err)
	}
	return id
}

// CreateRuns creates so many flow runs of a deployment.
func (e *PoolEnv) CreateRuns(n int, deployment string, o prefectapi.Order) []string {
	e.t.Helper()
	ids := make([]string, n)
	errs := make(chan error)
	// A few at a time: more only wait for the server's database.
	next := make(chan int)
	for range 4 {
		go func() {
			for i := range next {
				var err error
				ids[i], err = e.Server.CreateRun(e.t.Context(), deployment, o)
				errs <- err
			}
		}()
	}
	go func() {
		for i := range n {
			next <- i
		}
		close(next)
	}()
	for range n {
		if err := <-errs; err != nil {
			e.t.Error(err)
		}
	}
	if e.t.Failed() {
		e.t.FailNow()
	}
	return ids
}

// ScheduledFor is the flow run that a schedule has made for a moment.
func (e *PoolEnv) ScheduledFor(due time.Time) string {
	e.t.Helper()
	var id string
	e.Eventually(time.Minute, "the server has made the run of "+due.Format(time.TimeOnly), func(ctx context.Context) (string, bool) {
		runs, err := e.Server.Runs(ctx, e.Pool)
		for _, r := range runs {
			if r.Expected.Equal(due) {
				id = r.ID
			}
		}
		return fmt.Sprintf("%d runs, %v", len(runs), err), id != ""
	})
	return id
}

// Run reads a flow run.
func (e *PoolEnv) Run(id string) prefectapi.Run {
	e.t.Helper()
	r, err := e.Server.Run(e.t.Context(), id)
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

// states counts the flow runs by the names of their states.
func (e *PoolEnv) states(ctx context.Context, ids []string) (map[string]int, error) {
	states := map[string]int{}
	runs, err := e.Server.RunsByID(ctx, ids)
	for _, r := range runs {
		states[r.State.Name]++
	}
	return states, err
}

// WaitForState waits until every one of the flow runs is in a state of one of the names.
func (e *PoolEnv) WaitForState(ids []string, within time.Duration, names ...string) {
	e.t.Helper()
	e.Eventually(within, fmt.Sprintf("%d flow runs are %s", len(ids), strings.Join(names, " or ")), func(ctx context.Context) (string, bool) {
		states, err := e.states(ctx, ids)
		if err != nil {
			return err.Error(), false
		}
		there := 0
		for _, name := range names {
			there += states[name]
		}
		return tally(states), there == len(ids)
	})
}

// AssertHistory fails unless the flow run went through states of exactly these types; several
// of one type in a row count as one.
func (e *PoolEnv) AssertHistory(id string, want ...string) {
	e.t.Helper()
	states, err := e.Server.States(e.t.Context(), id)
	if err != nil {
		e.t.Fatal(err)
	}
	var got []string
	for _, s := range states {
		if len(got) == 0 || got[len(got)-1] != s.Type {
			got = append(got, s.Type)
		}
	}
	if !slices.Equal(got, want) {
		e.t.Errorf("flow run %s went through %v, want %v", id, got, want)
	}
}

// Cancel does what the UI's button does.
func (e *PoolEnv) Cancel(id string) {
	e.t.Helper()
	if err := e.Server.Cancel(e.t.Context(), id); err != nil {
		e.t.Fatal(err)
	}
}

// Complete ends a flow run whose Job is suspended, as its flow would have, and frees its slots.
func (e *PoolEnv) Complete(id string) {
	e.t.Helper()
	if _, err := e.Server.SetState(e.t.Context(), id, "COMPLETED", "Completed", true); err != nil {
		e.t.Fatal(err)
	}
}

// AssertMessage fails unless the message of the flow run's state holds the words.
func (e *PoolEnv) AssertMessage(id, words string) {
	e.t.Helper()
	if r := e.Run(id); !strings.Contains(r.State.Message, words) {
		e.t.Errorf("flow run %s is %s with the message %q, which does not say %q", id, r.State.Name, r.State.Message, words)
	}
}

// AssertLogged waits a moment for a line with the words in the flow run's log.
func (e *PoolEnv) AssertLogged(id, words string) {
	e.t.Helper()
	e.Eventually(time.Minute, fmt.Sprintf("the log of flow run %s says %q", id, words), func(ctx context.Context) (string, bool) {
		lines, err := e.Server.Logs(ctx, id)
		if err != nil {
			return err.Error(), false
		}
		text := strings.Join(lines, "\n")
		return text, strings.Contains(text, words)
	})
}
