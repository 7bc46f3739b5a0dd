// Package backendtest is the contract between launchers or scaler and every Prefect, as
// tests. Each backend passes them against its stand-in, and so does each model of a Prefect.
// A new backend begins by passing them.
package backendtest

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Backend is as in launcher.Backend, which explains the answers.
type Backend interface {
	Due(ctx context.Context, q prefect.DueQuery) (prefect.DueRuns, error)
	Claimed(ctx context.Context, s prefect.Scope) ([]prefect.FlowRun, error)
	FlowRun(ctx context.Context, id string) (prefect.FlowRun, error)
	History(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error)
	Claim(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (prefect.ClaimResult, error)
	Launched(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) error
	Pending(ctx context.Context, run prefect.FlowRun, why string) error
	Fail(ctx context.Context, run prefect.FlowRun, f prefect.Failure) error
	Cancelled(ctx context.Context, run prefect.FlowRun, message string) error
	HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error
	Restore(ctx context.Context, run prefect.FlowRun, to prefect.State) error
	Log(ctx context.Context, entries []prefect.LogEntry) error
	Keep(ctx context.Context, run prefect.FlowRun) (next time.Time, err error)
	Supervise(ctx context.Context, troubled, active []string) (prefect.Supervision, error)
	Announce(ctx context.Context, s prefect.Scope) error
}

// Observer is the scaler's question besides Supervise. A model for launchers alone need
// not implement it.
type Observer interface {
	Observe(ctx context.Context, until time.Time) (prefect.Observation, error)
}

// World is a Prefect with the levers of everybody but launchers. It uses the clock of the
// bubble (testing/synctest) around it.
type World interface {
	// Backend makes a new client.
	Backend() Backend
	// Here is a place with the scope that takes runs only from there, and Elsewhere is
	// another such pair.
	Here() (prefect.Place, prefect.Scope)
	Elsewhere() (prefect.Place, prefect.Scope)
	// Schedule makes a run at a place, due at that time.
	Schedule(due time.Time, at prefect.Place) (id string)
	// Set brings a run into a phase, as a pod or a person would.
	Set(id string, to prefect.Phase)
	// Beat is a sign of life by a run's pod.
	Beat(id string)
	// Delete removes a run for good.
	Delete(id string)
	// Break makes all later requests fail in one way, until NoFault.
	Break(f Fault)
	// Logged are a run's log lines, as "LEVEL name: message".
	Logged(id string) []string
}

// Retrier is a World with JobFirst runs.
type Retrier interface {
	// Retry lets parts of a Running run wait for another Job, each until its time.
	Retry(id string, due ...time.Time)
}

// Pauser is a World that can keep runs back.
type Pauser interface {
	// Pause keeps the runs at a place back, or lets them go.
	Pause(at prefect.Place, paused bool)
}

// Fault is a way for requests to fail.
type Fault int

const (
	// NoFault means that all is well.
	NoFault Fault = iota
	// LoseRequest means that requests get lost, and their senders do not know.
	LoseRequest
	// LoseAnswer means that answers get lost.
	LoseAnswer
	// RefuseKey means that the key is no longer valid.
	RefuseKey
	// LeaveAlone means that Prefect asks to be left alone for a minute.
	LeaveAlone
)

// Run runs all tests, each in a world and a bubble of its own. second is the answer to
// another claim of the same attempt right after the first.
func Run(t *testing.T, second prefect.Answer, open func(*testing.T) World) {
	t.Helper()
	for _, c := range contract() {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := open(t)
				here, served := w.Here()
				c.test(&suite{T: t, World: w, backend: w.Backend(), second: second, here: here, served: served, attempts: map[string]prefect.Attempt{}})
			})
		})
	}
}

// suite is the surroundings of one test.
type suite struct {
	*testing.T
	World
	backend Backend
	second  prefect.Answer
	// here has runs of the scope served.
	here   prefect.Place
	served prefect.Scope
	// attempts are those of the runs' last claims.
	attempts map[string]prefect.Attempt
}

// locked is longer than a Prefect remembers a claim to refuse the next.
const locked = 31 * time.Second

// schedule makes a run that has been due for a minute.
func (s *suite) schedule() (id string) {
	return s.World.Schedule(time.Now().Add(-time.Minute), s.here)
}

// retrier skips the test where no run is JobFirst.
func (s *suite) retrier() Retrier {
	w, is := s.World.(Retrier)
	if !is {
		s.Skip("no run needs its Job before its claim")
	}
	return w
}

// read reads a run as another launcher would.
func (s *suite) read(id string) prefect.FlowRun {
	s.Helper()
	run, err := s.Backend().FlowRun(s.Context(), id)
	if err != nil {
		s.Fatal(err)
	}
	return run
}

func (s *suite) history(id string, attempt prefect.Attempt) prefect.History {
	s.Helper()
	h, err := s.backend.History(s.Context(), id, attempt)
	if err != nil {
		s.Fatal(err)
	}
	return h
}

// due asks the query.
func (s *suite) due(q prefect.DueQuery) prefect.DueRuns {
	s.Helper()
	found, err := s.backend.Due(s.Context(), q)
	if err != nil {
		s.Fatal(err)
	}
	return found
}

// dueNow are the ids of the runs that are due.
func (s *suite) dueNow() []string {
	s.Helper()
	return ids(s.due(prefect.DueQuery{Scope: s.served, Until: time.Now(), Limit: 100, Namespace: "flows", NamespaceUID: "here"}).Runs)
}

func noteOf(launcher string, run prefect.FlowRun) prefect.Claim {
	return prefect.Claim{Launcher: launcher, Namespace: "flows", NamespaceUID: "here", Job: "job-of-" + launcher, Attempt: run.Attempt}
}

// claim claims the run as read, and expects that answer.
func (s *suite) claim(launcher string, run prefect.FlowRun, want prefect.Answer) prefect.Claim {
	s.Helper()
	note := noteOf(launcher, run)
	s.attempts[run.ID] = run.Attempt
	r, err := s.backend.Claim(s.Context(), run, note)
	if err != nil || r.Answer != want {
		s.Fatalf("the claim of %s is answered %s (%s), %v; want %s", launcher, r.Answer, r.Reason, err, want)
	}
	return note
}

func ids(runs []prefect.FlowRun) []string {
	all := []string{}
	for _, r := range runs {
		all = append(all, r.ID)
	}
	return all
}

// known compares only the parts of a run that are in every answer.
func known() cmp.Option { return cmpopts.IgnoreFields(prefect.FlowRun{}, "ReadAt", "Recipe", "Name") }

// sameJSON compares raw JSON by its meaning.
func sameJSON() cmp.Option {
	return cmp.Transformer("json", func(raw json.RawMessage) any {
		var v any
		if json.Unmarshal(raw, &v) != nil {
			return string(raw)
		}
		return v
	})
}
