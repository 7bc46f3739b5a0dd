package prefect1_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// recording is a call of the real Prefect 1.4.1 client, with the real server's answer.
type recording struct {
	Query     string            `json:"query"`
	Variables any               `json:"variables"`
	Headers   map[string]string `json:"headers"`
	Answer    json.RawMessage   `json:"answer"`
}

func recordings(t *testing.T) map[string]recording {
	t.Helper()
	text, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]recording
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func (r recording) replay() answer { return status(http.StatusOK, string(r.Answer)) }

// operation is a document's content: the root field and its selection, in alphabetical
// order, to any depth.
type operation struct {
	Kind, Root string
	Selected   []string
}

func parse(t *testing.T, query string) (operation, int) {
	t.Helper()
	doc, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		t.Fatalf("parse %s: %v", query, err)
	}
	if len(doc.Operations) != 1 {
		t.Fatalf("%d operations in one document", len(doc.Operations))
	}
	var o operation
	o.Kind = string(doc.Operations[0].Operation)
	deepest := 0
	var walk func(set ast.SelectionSet, path []string)
	walk = func(set ast.SelectionSet, path []string) {
		deepest = max(deepest, len(path))
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				if len(path) == 0 {
					o.Root = s.Name
				} else {
					o.Selected = append(o.Selected, strings.Join(append(slices.Clone(path[1:]), s.Name), "."))
				}
				walk(s.SelectionSet, append(slices.Clone(path), s.Name))
			case *ast.FragmentSpread:
				walk(doc.Fragments.ForName(s.Name).SelectionSet, path)
			}
		}
	}
	walk(doc.Operations[0].SelectionSet, nil)
	slices.Sort(o.Selected)
	return o, deepest
}

// Our mutations are the original client's, member by member: same fields selected, same
// values, except for our additions.
func TestWritesAreTheOriginalClients(t *testing.T) {
	rec := recordings(t)
	run := func(name string) prefect.FlowRun {
		return prefect.FlowRun{ID: at(t, rec[name].Variables, "input", "states", 0, "flow_run_id").(string), Revision: "1"}
	}
	logs := func(name string) prefect.LogEntry {
		line := at(t, rec[name].Variables, "input", "logs", 0)
		e := prefect.LogEntry{
			FlowRunID: at(t, line, "flow_run_id").(string), Name: at(t, line, "name").(string),
			Level: prefect.LogLevel(at(t, line, "level").(string)), Message: at(t, line, "message").(string),
		}
		if stamp, stamped := at(t, line, "timestamp").(string); stamped {
			e.Time, _ = time.Parse(time.RFC3339, stamp)
		}
		return e
	}
	for _, tc := range []struct {
		recording, op string
		call          func(*prefect1.Client) error
	}{
		{"submit", "setFlowRunStates", func(c *prefect1.Client) error {
			r := run("submit")
			wrapped, err := json.Marshal(at(t, rec["submit"].Variables, "input", "states", 0, "state", "state"))
			if err != nil {
				return err
			}
			r.State = prefect.State{Phase: prefect.Waiting, Name: "Scheduled", Opaque: wrapped}
			_, err = c.Claim(t.Context(), r, prefect.Claim{Launcher: "l-1"})
			return err
		}},
		{"fail", "setFlowRunStates", func(c *prefect1.Client) error {
			return c.Fail(t.Context(), run("fail"), prefect.Failure{Message: at(t, rec["fail"].Variables, "input", "states", 0, "state", "message").(string)})
		}},
		{"log", "writeRunLogs", func(c *prefect1.Client) error {
			return c.Log(t.Context(), []prefect.LogEntry{logs("log")})
		}},
		{"log_event", "writeRunLogs", func(c *prefect1.Client) error {
			return c.Log(t.Context(), []prefect.LogEntry{logs("log_event")})
		}},
		{"register", "registerAgent", nil},
		{"hello", "hello", nil},
		{"queue", "getRunsInQueue", nil},
	} {
		t.Run(tc.recording, func(t *testing.T) {
			api := newFakeAPI(t, answers{
				"registerAgent": rec["register"].replay(), "hello": rec["hello"].replay(), "getRunsInQueue": rec["queue"].replay(),
			})
			api.answers[tc.op] = rec[tc.recording].replay()
			c := api.client(t)
			if err := c.Announce(t.Context(), prefect.Scope{Labels: []string{"k8s"}}); err != nil {
				t.Fatal(err)
			}
			if tc.call != nil {
				if err := tc.call(c); err != nil {
					t.Fatal(err)
				}
			}
			sent := api.asked(tc.op)[0]
			want, _ := parse(t, rec[tc.recording].Query)
			got, _ := parse(t, sent.Query)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("document (-original +ours):\n%s", diff)
			}
			original := normal(rec[tc.recording].Variables)
			ours := normal(decoded(t, sent.Variables))
			if diff := cmp.Diff(original, ours); diff != "" {
				t.Errorf("variables (-original +ours):\n%s", diff)
			}
			slices.Sort(sent.Members)
			if diff := cmp.Diff([]string{"query", "variables"}, sent.Members); diff != "" {
				t.Errorf("members of the request:\n%s", diff)
			}
			for name, value := range rec[tc.recording].Headers {
				if got := sent.Header.Get(name); got != value {
					t.Errorf("header %s = %q, the original sends %q", name, got, value)
				}
			}
			for name := range sent.Header {
				if _, known := rec[tc.recording].Headers[strings.ToLower(name)]; !known && strings.HasPrefix(name, "X-") {
					t.Errorf("header %s is sent, the original does not", name)
				}
			}
		})
	}
}

// normal removes rightful differences between two calls: times become their form, and our
// claim in a state's context goes.
func normal(v any) any {
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00$`)
	switch v := v.(type) {
	case map[string]any:
		delete(v, "prefect_keda")
		for k, e := range v {
			v[k] = normal(e)
		}
	case []any:
		for i, e := range v {
			v[i] = normal(e)
		}
	case string:
		if stamp.MatchString(v) {
			return "a time in UTC"
		}
	}
	return v
}

// Task states and heartbeats were recorded from a flow-run pod, which sets other
// states than we do; the request around them is the same.
func TestTaskStatesAndHeartbeatsAreShapedAsTheOriginals(t *testing.T) {
	rec := recordings(t)
	api := newFakeAPI(t, answers{
		"setTaskRunStates": rec["task_state"].replay(), "updateFlowRunHeartbeat": rec["heartbeat"].replay(),
	})
	c := api.client(t)
	task := recipe.Task{ID: taskID, Version: 4, State: prefect.State{Phase: prefect.Waiting, Name: "Retrying", StartTime: noon, Opaque: json.RawMessage(
		`{"type":"Retrying","message":"Retrying Task (after attempt 1 of 2)","run_count":1,"start_time":"2024-01-01T00:00:00+00:00","context":{},"cached_inputs":{},"_result":{"type":"NoResultType"}}`,
	)}}
	run := prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Running, Name: "Running"}, Recipe: recipe.Recipe{DueTasks: []recipe.Task{task}}}
	if r, err := c.Claim(t.Context(), run, prefect.Claim{Launcher: "l-1"}); err != nil || r.Answer != prefect.Won {
		t.Fatalf("claim: %v, %v", r, err)
	}
	if _, err := c.Keep(t.Context(), prefect.FlowRun{ID: runID}); err != nil {
		t.Fatal(err)
	}
	for name, op := range map[string]string{"task_state": "setTaskRunStates", "heartbeat": "updateFlowRunHeartbeat"} {
		want, _ := parse(t, rec[name].Query)
		got, _ := parse(t, api.asked(op)[0].Query)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-original +ours):\n%s", name, diff)
		}
	}
	sent := at(t, decoded(t, api.asked("setTaskRunStates")[0].Variables), "input", "states", 0)
	want := decoded(t, []byte(`{"task_run_id":"`+taskID+`","version":4,"state":{"type":"Submitted","message":"Submitted for execution.",
		"context":{},"cached_inputs":{},"_result":{"type":"NoResultType","__version__":"1.4.1"},"__version__":"1.4.1","state":`+string(task.State.Opaque)+`}}`))
	if diff := cmp.Diff(normal(want), normal(sent)); diff != "" {
		t.Errorf("task state (-spec +ours):\n%s", diff)
	}
	if got := at(t, decoded(t, api.asked("updateFlowRunHeartbeat")[0].Variables), "id"); got != runID {
		t.Errorf("heartbeat of %v", got)
	}
}

// We read all that the original reads of a run, in documents that the server accepts:
// below its depth limit of 7.
func TestReadsAskForNoMoreThanTheServerAllows(t *testing.T) {
	rec := recordings(t)
	empty := `{"due":[],"retrying":[],"claimed":[],"flow_run":[],"troubled":[],"cancelled":[],"silent":[]}`
	api := newFakeAPI(t, answers{
		"observe": ok(empty), "dueRuns": ok(empty), "claimedRuns": ok(empty), "flowRun": ok(empty), "history": ok(empty), "pastStates": ok(empty), "supervise": ok(empty), "tenants": rec["tenants"].replay(),
	})
	c := api.client(t, func(o *prefect1.Options) { o.TenantID = "" })
	c.Observe(t.Context(), noon)
	due(t, c, nil, noon, 10)
	c.Claimed(t.Context(), prefect.Scope{})
	c.FlowRun(t.Context(), runID)
	c.History(t.Context(), runID, "v1")
	c.States(t.Context(), runID, 9)
	c.Supervise(t.Context(), []string{runID}, nil)

	original, _ := parse(t, rec["due"].Query)
	known := append(original.Selected, "labels", "state_timestamp", "state_start_time", "heartbeat", "task_runs.state", "task_runs.state_start_time", "states", "states.serialized_state", "states.state",
		// Columns of the Server's table flow_run_state, as the UI asks for them.
		"states.version", "states.message", "states.timestamp", "states.start_time")
	for _, op := range []string{"observe", "dueRuns", "claimedRuns", "flowRun", "history", "pastStates", "supervise"} {
		sent := api.asked(op)
		if len(sent) != 1 {
			t.Fatalf("%d requests %s, want 1", len(sent), op)
		}
		o, depth := parse(t, sent[0].Query)
		if o.Kind != "query" || o.Root != "flow_run" {
			t.Errorf("%s is a %s of %s", op, o.Kind, o.Root)
		}
		for _, s := range o.Selected {
			if !slices.Contains(known, s) {
				t.Errorf("%s selects %s", op, s)
			}
		}
		if depth > 7 {
			t.Errorf("%s is %d deep", op, depth)
		}
		if got := at(t, decoded(t, sent[0].Variables), "tenant"); got != tenantID {
			t.Errorf("%s asks of tenant %v", op, got)
		}
	}
	want, _ := parse(t, rec["tenants"].Query)
	want.Selected = append(want.Selected, "slug")
	got, _ := parse(t, api.asked("tenants")[0].Query)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The real server's rows become the run that was made.
func TestRealRowsDecode(t *testing.T) {
	rec := recordings(t)
	var real struct {
		Data struct {
			Rows []map[string]any `json:"flow_run"`
		}
	}
	if err := json.Unmarshal(rec["due"].Answer, &real); err != nil {
		t.Fatal(err)
	}
	// The original selects no labels; the run config tells the run's.
	for _, row := range real.Data.Rows {
		row["labels"] = row["run_config"].(map[string]any)["labels"]
	}
	rows, err := json.Marshal(real.Data.Rows)
	if err != nil {
		t.Fatal(err)
	}
	api := newFakeAPI(t, answers{"dueRuns": ok(`{"due":` + string(rows) + `,"retrying":[]}`)})
	runs, err := due(t, api.client(t), []string{"k8s"}, time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC), 10)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(path ...any) json.RawMessage {
		b, _ := json.Marshal(at(t, decoded(t, rows), path...))
		return b
	}
	made := func(runConfig json.RawMessage) recipe.Recipe {
		return recipe.Recipe{RunConfig: runConfig, FlowID: "7bd15abc-8c78-4a6f-a980-d0d902465182", CoreVersion: "1.4.1", Storage: raw(0, "flow", "storage")}
	}
	want := []prefect.FlowRun{
		{
			ID: runID, Name: "ok-run", Attempt: "v1", Revision: "1", Fresh: true, Place: prefect.Place{Labels: []string{"k8s"}}, FlowName: "k8s-flow", Recipe: made(raw(0, "run_config")),
			Due: time.Date(2026, 11, 23, 16, 27, 48, 596694000, time.UTC),
			State: prefect.State{
				Phase: prefect.Waiting, Name: "Scheduled", Message: "Flow run scheduled.", Opaque: raw(0, "serialized_state"),
				StartTime: time.Date(2026, 11, 23, 16, 27, 48, 596694000, time.UTC),
			},
		},
		{
			ID: "0dd15732-d1d6-4e0b-b0c6-b0ad8143a130", Name: "uni-run", Attempt: "v1", Revision: "1", Fresh: true, Place: prefect.Place{Labels: []string{"k8s"}}, FlowName: "k8s-flow", Recipe: made(raw(1, "run_config")),
			Due: time.Date(2026, 11, 23, 16, 27, 48, 903093000, time.UTC),
			State: prefect.State{
				Phase: prefect.Waiting, Name: "Scheduled", Message: "Flow run scheduled.", Opaque: raw(1, "serialized_state"),
				StartTime: time.Date(2026, 11, 23, 16, 27, 48, 903093000, time.UTC),
			},
		},
	}
	if diff := cmp.Diff(want, runs, sameJSON, whenever); diff != "" {
		t.Error(diff)
	}
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// sameJSON compares raw JSON by its meaning.
var sameJSON = cmp.Transformer("json", func(raw json.RawMessage) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	return v
})
