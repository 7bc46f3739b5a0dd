package prefect1_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// How often a run was handed back because its pods never began is kept by the
// server, through claims and through being handed back for other reasons; what
// anybody else schedules begins anew.
func TestReturnsAreCounted(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	id := api.CreateRuns(prefecttest.Order{FlowID: api.CreateFlow(prefecttest.FlowSpec{})})[0]
	read := func() prefect.FlowRun {
		t.Helper()
		run, err := c.FlowRun(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	var counts []int
	claim := func() prefect.FlowRun {
		t.Helper()
		api.RestartAPI() // it remembers submissions for 30 s
		if r, err := c.Claim(t.Context(), read(), prefect.Claim{Launcher: "l", Job: "j", Attempt: "v1"}); err != nil || r.Answer != prefect.Won {
			t.Fatal(r, err)
		}
		run := read()
		counts = append(counts, run.Returned)
		return run
	}
	handBack := func(run prefect.FlowRun) {
		t.Helper()
		if err := c.HandBack(t.Context(), run, time.Now(), "no pod began"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		run := claim()
		run.Returned++
		handBack(run)
	}
	handBack(claim()) // a quota
	run := read()     // as a launcher has it that has just claimed it
	claim()
	handBack(run)
	claim()
	if err := api.SetState(id, map[string]any{"type": "Scheduled"}); err != nil { // Lazarus, or a person
		t.Fatal(err)
	}
	claim()
	if d := cmp.Diff([]int{0, 1, 2, 2, 2, 0}, counts); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestCancel(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	id := api.CreateRuns(prefecttest.Order{FlowID: api.CreateFlow(prefecttest.FlowSpec{})})[0]
	set(t, api, id, "Cancelling")
	if err := c.Cancel(t.Context(), prefect.FlowRun{ID: id}, "it did not\x00 end"); err != nil {
		t.Fatal(err)
	}
	if got := api.Runs(id)[0]; got.State != "Cancelled" || got.Message != "it did not end" {
		t.Errorf("the run is %s: %q", got.State, got.Message)
	}
}
