package prefect1_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// A claim that is applied after the run has ended is told from one that is due, and
// the state it overwrote is put back as it was.
func TestClaimThatCameLateIsUndone(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	id := api.CreateRuns(prefecttest.Order{})[0]
	due, err := c.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(launcher string, run prefect.FlowRun) prefect.Claim {
		t.Helper()
		api.RestartAPI() // or another replica
		claim := prefect.Claim{Launcher: launcher, Namespace: "flows", Job: launcher + "-1234abcd", Attempt: run.Attempt()}
		if r, err := c.Claim(t.Context(), run, claim); err != nil || r.Answer != prefect.Won {
			t.Fatal(r, err)
		}
		return claim
	}
	look := func(attempt prefect.Attempt) prefect.History {
		t.Helper()
		h, err := c.History(t.Context(), id, attempt)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	expect := func(when string, attempt prefect.Attempt, late bool, reached prefect.StateType, claims ...prefect.Claim) prefect.History {
		t.Helper()
		h := look(attempt)
		if diff := cmp.Diff(claims, h.Claims); diff != "" || h.IsLate() != late || h.Reached.Type != reached {
			t.Errorf("%s: late %v, reached %q, want %v, %q; claims (-want +got):\n%s", when, h.IsLate(), h.Reached.Type, late, reached, diff)
		}
		return h
	}

	expect("unclaimed", "v1", false, "")
	a := claim("a", due)
	expect("claimed", "v1", false, "", a)
	b := claim("b", due)
	expect("claimed twice", "v1", false, "", a, b)
	set(t, api, id, "Running")
	expect("at work", "v1", false, prefect.Running, a, b)
	succeeded := map[string]any{"type": "Success", "message": "All fine", "context": map[string]any{"tags": []any{"x"}}, "_result": map[string]any{"type": "SafeResult", "value": 5, "result_handler": map[string]any{}}}
	if err := api.SetState(id, succeeded); err != nil {
		t.Fatal(err)
	}
	before := look("v1").Run.State
	claim("a", due)
	h := expect("claimed after its end", "v1", true, prefect.Success, a, b, a)
	if h.Run.State.Type != prefect.Submitted || h.Run.Claim == nil || *h.Run.Claim != a {
		t.Errorf("the run: %+v", h.Run)
	}
	expect("as a retry's claim", "retry-t-v1", false, "")
	expect("as that version's claim", "v5", false, "", a)

	if err := c.Restore(t.Context(), h.Run, h.Reached); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, look("v1").Run.State, sameJSON); diff != "" {
		t.Errorf("restored (-before +after):\n%s", diff)
	}
	expect("restored", "v1", false, prefect.Success, a, b, a)
	if err := c.Restore(t.Context(), h.Run, prefect.State{Type: prefect.Success}); err == nil {
		t.Error("a state that is not known was restored")
	}

	// Started again, it is claimed in order.
	set(t, api, id, "Scheduled")
	again := look("v1").Run
	expect("started again", again.Attempt(), false, "")
	c1 := claim("c", due) // of the first attempt
	h = expect("claimed late over the restart", "v1", true, prefect.Scheduled, a, b, a, c1)
	to := h.Reached
	to.StartTime = to.StartTime.Add(time.Minute)
	if err := c.Restore(t.Context(), h.Run, to); err != nil {
		t.Fatal(err)
	}
	put := look("v1").Run
	if !put.State.StartTime.Equal(to.StartTime) || put.State.Type != prefect.Scheduled || put.State.Message != again.State.Message {
		t.Errorf("the restart is put back as %+v, want it due at %s", put.State, to.StartTime)
	}
	d := claim("d", put)
	expect("claimed again", put.Attempt(), false, "", d)

	for _, unknown := range []string{idOf(1), "not-an-id"} {
		if _, err := c.History(t.Context(), unknown, "v1"); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("of run %s: %v", unknown, err)
		}
	}
}
