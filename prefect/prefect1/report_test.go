package prefect1_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
)

// logServer stores lines as the real server does: all of a request or, if it
// names a run in unknown, nothing.
func logServer(unknown ...string) (answer, *[]string) {
	var stored []string
	return func(w http.ResponseWriter, r request) {
		var v struct {
			Input struct {
				Logs []struct {
					Run     string `json:"flow_run_id"`
					Message string `json:"message"`
				} `json:"logs"`
			} `json:"input"`
		}
		if err := json.Unmarshal(r.Variables, &v); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var lines []string
		for _, l := range v.Input.Logs {
			if slices.Contains(unknown, l.Run) {
				refusal("Foreign key violation.", internal)(w, r)
				return
			}
			lines = append(lines, l.Run[len(l.Run)-1:]+l.Message)
		}
		stored = append(stored, lines...)
		ok(`{"write_run_logs":{"success":true}}`)(w, r)
	}, &stored
}

func line(run, message string) prefect.LogEntry {
	return prefect.LogEntry{FlowRunID: run, Name: "agent", Level: prefect.Info, Message: message}
}

func TestAnUnknownRunSpoilsOnlyItsOwnLog(t *testing.T) {
	a, b, gone := idOf(1), idOf(2), idOf(3)
	write, stored := logServer(gone)
	api := newFakeAPI(t, answers{"writeRunLogs": write})
	err := api.client(t).Log(t.Context(), []prefect.LogEntry{line(a, "1"), line(gone, "2"), line(b, "3"), line(a, "4"), line(gone, "5")})
	if diff := cmp.Diff([]string{"11", "14", "23"}, *stored); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if n := len(api.asked("")); n != 4 {
		t.Errorf("%d requests, want one for all and one for each run", n)
	}
	if err := api.client(t).Log(t.Context(), []prefect.LogEntry{line(gone, "6")}); err != nil {
		t.Errorf("a log nobody can read any more: %v", err)
	}
}

// A Job labelled by hand may have an id that the server cannot even parse.
func TestAnIDThatIsNoneSpoilsOnlyItsOwnLog(t *testing.T) {
	write, stored := logServer()
	api := newFakeAPI(t, answers{"writeRunLogs": func(w http.ResponseWriter, r request) {
		if strings.Contains(string(r.Variables), `"zzz"`) {
			refusal("Variable '$input' got invalid value 'zzz' at 'input.logs[0].flow_run_id'; Expected type UUID. Could not parse UUID: zzz", internal)(w, r)
			return
		}
		write(w, r)
	}})
	err := api.client(t).Log(t.Context(), []prefect.LogEntry{line("zzz", "1"), line(idOf(2), "2")})
	if diff := cmp.Diff([]string{"22"}, *stored); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestALogThatIsNotWrittenIsAnError(t *testing.T) {
	for name, a := range map[string]answer{
		"away":       status(502, ""),
		"not stored": ok(`{"write_run_logs":{"success":false}}`),
		"no answer":  ok(`{"write_run_logs":null}`),
		"refused":    refusal("State payload is too large.", internal),
	} {
		api := newFakeAPI(t, answers{"writeRunLogs": a})
		if err := api.client(t).Log(t.Context(), []prefect.LogEntry{line(idOf(1), "x"), line(idOf(2), "y")}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Lines must fit into requests: 5 MB at the server, JSON escapes included.
func TestLogsFitIntoRequests(t *testing.T) {
	skipLarge(t)
	write, stored := logServer()
	largest := 0
	api := newFakeAPI(t, answers{"writeRunLogs": func(w http.ResponseWriter, r request) {
		largest = max(largest, len(r.Variables))
		write(w, r)
	}})
	var entries []prefect.LogEntry
	for i := range 1200 {
		entries = append(entries, line(idOf(1), fmt.Sprintf("line %d", i)))
	}
	for range 30 {
		entries = append(entries, line(idOf(2), strings.Repeat("\x01", 150_000)))
	}
	if err := api.client(t).Log(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	if len(*stored) != len(entries) || (*stored)[1199] != "1line 1199" {
		t.Errorf("%d lines of %d stored", len(*stored), len(entries))
	}
	if largest > 5_000_000 {
		t.Errorf("a request of %d bytes", largest)
	}
	if err := api.client(t).Log(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func announcing(t *testing.T) answers {
	rec := recordings(t)
	return answers{
		"tenants": rec["tenants"].replay(), "tenantOfKey": ok(`{"auth_info":{"tenant_id":"` + tenantID + `"}}`),
		"registerAgent": rec["register"].replay(), "hello": rec["hello"].replay(), "getRunsInQueue": rec["queue"].replay(),
	}
}

func ops(api *fakeAPI) []string {
	var names []string
	for _, r := range api.asked("") {
		names = append(names, r.Op)
	}
	return names
}

func TestAnnounceRegistersOnce(t *testing.T) {
	for backend, lookup := range map[prefect1.Backend]string{prefect1.Server: "tenants", prefect1.Cloud: "tenantOfKey"} {
		api := newFakeAPI(t, announcing(t))
		c := api.client(t, func(o *prefect1.Options) { o.Backend, o.Key, o.TenantID = backend, "k", "" })
		for range 2 {
			if err := c.Announce(t.Context(), prefect.Scope{}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{lookup, "registerAgent", "hello", "getRunsInQueue", "getRunsInQueue"}, ops(api)); diff != "" {
			t.Errorf("%s: %s", backend, diff)
		}
		// The server rejects null where there are no labels.
		for _, op := range []string{"registerAgent", "getRunsInQueue"} {
			if diff := cmp.Diff([]any{}, at(t, decoded(t, api.asked(op)[0].Variables), "input", "labels")); diff != "" {
				t.Errorf("%s: %s", op, diff)
			}
		}
		if h := api.asked(lookup)[0].Header; h.Get("X-Prefect-Tenant-Id") != "" || h.Get("X-Prefect-Agent-Id") != "" {
			t.Errorf("the look-up of the tenant names one: %v", h)
		}
	}
}

func TestNoTenant(t *testing.T) {
	api := newFakeAPI(t, answers{"tenants": ok(`{"tenant":[]}`), "tenantOfKey": ok(`{"auth_info":{"tenant_id":null}}`)})
	c := api.client(t, func(o *prefect1.Options) { o.TenantID = "" })
	if _, err := c.Observe(t.Context(), noon); err == nil || !strings.Contains(err.Error(), "create-tenant") {
		t.Errorf("Server: %v", err)
	}
	c = api.client(t, func(o *prefect1.Options) { o.TenantID, o.Backend, o.Key = "", prefect1.Cloud, "k" })
	if _, err := c.Observe(t.Context(), noon); !errors.Is(err, prefect.ErrAuth) {
		t.Errorf("Cloud: %v", err)
	}
}

// The server fails writes with a malformed agent id in the header after it has applied
// them (prefect1-server §b), so we must never send one.
func TestAStrangeAgentIDIsNotUsed(t *testing.T) {
	for _, id := range []string{`null`, `{"id":null}`, `{"id":"7"}`} {
		api := newFakeAPI(t, announcing(t))
		api.answers["registerAgent"] = ok(`{"register_agent":` + id + `}`)
		api.answers["updateFlowRunHeartbeat"] = ok(`{"update_flow_run_heartbeat":{"success":true}}`)
		c := api.client(t)
		if err := c.Announce(t.Context(), prefect.Scope{}); err == nil {
			t.Errorf("%s: no error", id)
		}
		if _, err := c.Keep(t.Context(), prefect.FlowRun{ID: runID}); err != nil {
			t.Error(err)
		}
		if got := api.asked("updateFlowRunHeartbeat")[0].Header.Values("X-Prefect-Agent-Id"); got != nil {
			t.Errorf("%s: sent %q", id, got)
		}
	}
}

func TestAgentConfig(t *testing.T) {
	api := newFakeAPI(t, announcing(t))
	if err := api.client(t, func(o *prefect1.Options) { o.AgentConfigID = taskID }).Announce(t.Context(), prefect.Scope{}); err != nil {
		t.Fatal(err)
	}
	if got := at(t, decoded(t, api.asked("registerAgent")[0].Variables), "input", "agent_config_id"); got != taskID {
		t.Errorf("agent config %v", got)
	}
}
