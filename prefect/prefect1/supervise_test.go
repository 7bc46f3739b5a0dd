package prefect1_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// What is asked is GraphQL with joins and negations, so a server that evaluates
// it has to answer.
func TestSupervise(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	flow := api.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"task"}})
	names := map[string]string{}
	claim := func(job string) prefect.Claim {
		return prefect.Claim{Launcher: "l", Namespace: "flows", Job: job, Attempt: "v1"}
	}
	// started is a run that a launcher of ours claimed and a pod runs.
	started := func(name string, claimed bool) string {
		id := api.CreateRuns(prefecttest.Order{FlowID: flow, Labels: []string{"a"}})[0]
		names[id] = name
		run, err := c.FlowRun(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if claimed {
			if r, err := c.Claim(t.Context(), run, claim(name)); err != nil || r.Answer != prefect.Won {
				t.Fatal(r, err)
			}
		}
		set(t, api, id, "Running")
		return id
	}
	old := time.Now().Add(-3 * time.Minute)
	silent := started("silent", true)
	api.SetHeartbeat(silent, old)
	cancelling := started("cancelling", true)
	set(t, api, cancelling, "Cancelling")
	api.SetHeartbeat(cancelling, old)
	lively := started("lively", true)
	api.SetHeartbeat(lively, time.Now().Add(-time.Minute))
	others := started("submitted by an agent", false)
	api.SetHeartbeat(others, old)
	waits := started("waits for a task's retry", true) // without a pod, as it should be
	api.SetHeartbeat(waits, old)
	if err := api.SetTaskState(api.Runs(waits)[0].TaskRuns[0].ID, map[string]any{"type": "Retrying", "start_time": time.Now().Add(time.Hour).Format(time.RFC3339)}); err != nil {
		t.Fatal(err)
	}
	ended := started("ended", true)
	set(t, api, ended, "Success")
	api.SetHeartbeat(ended, old)
	cancelled := started("cancelled", true)
	set(t, api, cancelled, "Cancelled")
	stopping := started("told to stop", true)
	set(t, api, stopping, "Cancelling")

	got, err := c.Supervise(t.Context(), []string{"not-an-id", lively, ended, idOf(1)}, []string{silent, cancelled, lively, ended, stopping})
	if err != nil {
		t.Fatal(err)
	}
	row := func(name string, state prefect.StateType) prefect.JobRun {
		return prefect.JobRun{ID: name, Labels: []string{"a"}, State: state}
	}
	claimed := func(name string, state prefect.StateType) prefect.JobRun {
		r := row(name, state)
		r.Claim = claim(name)
		return r
	}
	want := prefect.Supervision{
		Troubled: []prefect.JobRun{row("ended", prefect.Success), row("lively", prefect.Running)},
		Ending:   []prefect.JobRun{row("cancelled", prefect.Cancelled), row("ended", prefect.Success), row("told to stop", prefect.Cancelling)},
		Silent:   []prefect.JobRun{claimed("cancelling", prefect.Cancelling), claimed("silent", prefect.Running)},
	}
	for _, rows := range [][]prefect.JobRun{got.Troubled, got.Ending, got.Silent} {
		for i := range rows {
			rows[i].ID = names[rows[i].ID]
			if since := time.Since(rows[i].StateAt); since < 0 || since > time.Hour {
				t.Errorf("%s: the state is from %s", rows[i].ID, rows[i].StateAt)
			}
		}
	}
	byID := cmpopts.SortSlices(func(a, b prefect.JobRun) bool { return a.ID < b.ID })
	if d := cmp.Diff(want, got, byID, cmpopts.IgnoreFields(prefect.JobRun{}, "StateAt")); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// What is not known of runs is an error, and not that there are none.
func TestSupervisionThatFails(t *testing.T) {
	noRows := ok(`{"troubled":[],"ending":[],"silent":[]}`)
	for name, tc := range map[string]struct {
		answers answers
		tenant  string
		fails   bool
	}{
		"not at all":            {answers{"supervise": noRows}, tenantID, false},
		"the tenant is unknown": {answers{"supervise": noRows}, "", true},
		"no answer":             {answers{}, tenantID, true},
		"a part is no answer": {answers{"supervise": func(w http.ResponseWriter, r request) {
			if strings.Contains(string(r.Variables), idOf(1)) && strings.Contains(string(r.Variables), idOf(2)) {
				wide(1100, map[string]string{"troubled": idOf(1)})(w, r)
			} else {
				http.Error(w, "no", http.StatusNotImplemented)
			}
		}}, tenantID, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFakeAPI(t, tc.answers).client(t, small, func(o *prefect1.Options) { o.TenantID = tc.tenant })
			_, err := c.Supervise(t.Context(), []string{idOf(1), idOf(2)}, nil)
			if (err != nil) != tc.fails || err != nil && !strings.HasPrefix(err.Error(), "read the flow runs of Jobs: ") {
				t.Error(err)
			}
		})
	}
}

func set(t *testing.T, api *prefecttest.API, id, state string) {
	t.Helper()
	if err := api.SetState(id, map[string]any{"type": state}); err != nil {
		t.Fatal(err)
	}
}
