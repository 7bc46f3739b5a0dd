package prefect1_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Everybody learns who last submitted a run whose task waits for its retry; only
// launchers beside its Jobs get it to launch.
func TestRetriesGoWhereTheRunWasLastSubmitted(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	flow := api.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"task"}})
	names := map[string]string{}
	from := func(uid string) prefect.Claim {
		return prefect.Claim{Launcher: "l", Namespace: "flows", Job: "j", Attempt: "v1", NamespaceUID: uid}
	}
	// retrying makes a run that these clusters submitted, one after another.
	retrying := func(name string, uids ...string) string {
		id := api.CreateRuns(prefecttest.Order{FlowID: flow})[0]
		names[id] = name
		for _, uid := range uids {
			api.RestartAPI() // it forgets the submissions
			set(t, api, id, "Scheduled")
			run, err := c.FlowRun(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := c.Claim(t.Context(), run, from(uid)); err != nil || r.Answer != prefect.Won {
				t.Fatal(r, err)
			}
		}
		set(t, api, id, "Running")
		due := map[string]any{"type": "Retrying", "start_time": time.Now().Add(-time.Minute).Format(time.RFC3339)}
		if err := api.SetTaskState(api.Runs(id)[0].TaskRuns[0].ID, due); err != nil {
			t.Fatal(err)
		}
		return id
	}
	retrying("here", "here")
	retrying("there", "there")
	moved := retrying("there, then here", "there", "here")
	retrying("here, then there", "here", "there")
	agents := retrying("an agent's")
	here := from("here")

	for uid, want := range map[string]map[string]bool{
		"here":  {"here": true, "there, then here": true, "an agent's": true},
		"there": {"there": true, "here, then there": true, "an agent's": true},
	} {
		found, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 10, Namespace: "flows", NamespaceUID: uid})
		got := map[string]bool{}
		for _, r := range found.Runs {
			got[names[r.ID]] = true
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v; due for launchers %s (-want +got):\n%s", err, uid, diff)
		}
	}
	o, err := c.Observe(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]string{}
	for _, r := range o.Due {
		last[names[r.ID]] = "nobody of ours"
		if r.LastClaim != nil {
			last[names[r.ID]] = r.LastClaim.NamespaceUID
		}
	}
	want := map[string]string{"here": "here", "there": "there", "there, then here": "here", "here, then there": "there", "an agent's": "nobody of ours"}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Errorf("observed as last submitted from (-want +got):\n%s", diff)
	}
	for id, want := range map[string]*prefect.Claim{moved: &here, agents: nil} {
		run, err := c.FlowRun(t.Context(), id)
		if diff := cmp.Diff(want, run.LastClaim); err != nil || diff != "" {
			t.Errorf("%s: %v; read by itself (-want +got):\n%s", names[id], err, diff)
		}
	}
}
