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

// A state that was read without the server's record of it cannot be put back.
func TestOnlyWhatIsKnownIsRestored(t *testing.T) {
	api := newFakeAPI(t, answers{"setFlowRunStates": accepted})
	if err := api.client(t).Restore(t.Context(), prefect.FlowRun{ID: runID}, prefect.State{Phase: prefect.Finished, Name: "Success"}); err == nil || len(api.asked("")) > 0 {
		t.Errorf("%v after %d requests", err, len(api.asked("")))
	}
}

// A person reads a run's past: the newest first, with the launcher that claimed.
func TestStates(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	id := api.CreateRuns(prefecttest.Order{In: prefecttest.Duration(time.Hour)})[0]
	scheduled := api.Runs(id)[0].Due
	claim := prefect.Claim{Launcher: "l", Namespace: "flows", Job: "j", Attempt: "v1", NamespaceUID: "u"}
	run, err := c.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Claim(t.Context(), run, claim); err != nil || r.Answer != prefect.Won {
		t.Fatal(r, err)
	}
	if err := api.SetState(id, map[string]any{"type": "Failed", "message": "no\nluck"}); err != nil {
		t.Fatal(err)
	}
	got, err := c.States(t.Context(), id, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if time.Since(got[i].At) > time.Minute {
			t.Errorf("%s was written at %s", got[i].Name, got[i].At)
		}
		got[i].At = time.Time{}
	}
	want := []prefect.PastState{
		{State: prefect.State{Phase: prefect.Finished, Name: "Failed", Message: "no\nluck"}},
		{State: prefect.State{Phase: prefect.Claimed, Name: "Submitted", Message: api.Runs(id)[0].History[1].Message}, Claim: &claim},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got, err = c.States(t.Context(), id, 9); err != nil || len(got) != 3 || !got[2].StartTime.Equal(scheduled.Truncate(time.Microsecond)) {
		t.Errorf("all: %+v, %v; want the first to be due at %s", got, err, scheduled)
	}
	for _, unknown := range []string{idOf(1), "not-an-id"} {
		if _, err := c.States(t.Context(), unknown, 9); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("of run %s: %v", unknown, err)
		}
	}
}
