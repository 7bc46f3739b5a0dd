package prefecttest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// post sends a request as the Python client does, with variables as a string.
func post(t *testing.T, url, query string, variables any) (int, map[string]any) {
	t.Helper()
	text, err := json.Marshal(variables)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"query": query, "variables": string(text)})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

const setStates = "mutation($input: set_flow_run_states_input!) { set_flow_run_states(input: $input) { states { id status message } } }"

func submit(ids ...string) map[string]any {
	var states []any
	for _, id := range ids {
		states = append(states, map[string]any{"flow_run_id": id, "version": 1, "state": map[string]any{"type": "Submitted", "unknown": 1, "context": map[string]any{"a": map[string]any{"b": 1}}}})
	}
	return map[string]any{"input": map[string]any{"states": states}}
}

func message(answer map[string]any) string {
	problems, _ := answer["errors"].([]any)
	if len(problems) == 0 {
		return ""
	}
	return problems[0].(map[string]any)["message"].(string)
}

// Measured on the real server: the lock lasts 30 s in one process, and a list of
// states is not atomic.
func TestSubmittedLock(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	api := prefecttest.New(prefecttest.Options{Now: func() time.Time { return now }})
	url := api.Start(t)
	ids := api.CreateRuns(prefecttest.Order{Count: 2})

	if _, answer := post(t, url, setStates, submit(ids[0])); message(answer) != "" {
		t.Fatal(message(answer))
	}
	status, answer := post(t, url, setStates, submit(ids...))
	if got := message(answer); status != http.StatusOK || got != "State update failed: this run has already been submitted." {
		t.Errorf("second submission: %d %q", status, got)
	}
	if diff := cmp.Diff(map[string]any{"set_flow_run_states": nil}, answer["data"]); diff != "" {
		t.Errorf("data beside the error (-want +got):\n%s", diff)
	}
	if got := api.Runs(ids[1])[0].State; got != "Submitted" {
		t.Errorf("the run beside the refused one is %s; the real server had written it", got)
	}
	now = now.Add(31 * time.Second)
	if _, answer := post(t, url, setStates, submit(ids[0])); message(answer) != "" {
		t.Errorf("after 31 s: %s", message(answer))
	}
	api.RestartAPI()
	if _, answer := post(t, url, setStates, submit(ids[0])); message(answer) != "" {
		t.Errorf("after a restart: %s", message(answer))
	}
	if got := api.Runs(ids[0])[0].Version; got != 4 {
		t.Errorf("version %d, want 4", got)
	}
}

func TestTwoReplicasBothAccept(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{Replicas: 2})
	url := api.Start(t)
	id := api.CreateRuns(prefecttest.Order{})[0]
	for range 2 {
		if _, answer := post(t, url, setStates, submit(id)); message(answer) != "" {
			t.Error(message(answer))
		}
	}
}

func TestStateErrors(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	url := api.Start(t)
	id := api.CreateRuns(prefecttest.Order{})[0]
	input := func(id string, state any) map[string]any {
		return map[string]any{"input": map[string]any{"states": []any{map[string]any{"flow_run_id": id, "state": state}}}}
	}
	for _, tc := range []struct {
		name      string
		variables any
		status    int
		want      string
	}{
		{"unknown run", input("00000000-0000-0000-0000-000000000001", map[string]any{"type": "Failed"}), 200, "State update failed for flow run ID 00000000-0000-0000-0000-000000000001"},
		{"unknown type", input(id, map[string]any{"type": "Nope"}), 200, "{'type': ['Unsupported value: Nope']}"},
		{"no type", input(id, map[string]any{}), 200, "{'type': ['Missing data for required field.']}"},
		{"too large", input(id, map[string]any{"type": "Failed", "message": strings.Repeat("x", 1_000_001)}), 200, "State payload is too large."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, answer := post(t, url, setStates, tc.variables)
			if got := message(answer); status != tc.status || got != tc.want {
				t.Errorf("%d %q, want %d %q", status, got, tc.status, tc.want)
			}
		})
	}
	if status, _ := post(t, url, "query { nonsense }", nil); status != http.StatusBadRequest {
		t.Errorf("an unknown field answers %d, want 400", status)
	}
}

const getQueue = "mutation($input: get_runs_in_queue_input!) { get_runs_in_queue(input: $input) { flow_run_ids } }"

func queue(t *testing.T, url string, labels []string) []string {
	t.Helper()
	_, answer := post(t, url, "query { tenant { id } }", nil)
	tenant := answer["data"].(map[string]any)["tenant"].([]any)[0].(map[string]any)["id"]
	_, answer = post(t, url, getQueue, map[string]any{"input": map[string]any{"tenant_id": tenant, "labels": labels, "before": time.Now().Add(time.Hour).Format(time.RFC3339Nano)}})
	if m := message(answer); m != "" {
		t.Fatal(m)
	}
	var ids []string
	for _, id := range answer["data"].(map[string]any)["get_runs_in_queue"].(map[string]any)["flow_run_ids"].([]any) {
		ids = append(ids, id.(string))
	}
	return ids
}

// 74 older runs of others leave ours visible, 75 hide it; 25 come back at once.
func TestQueueStarvesAsMeasured(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	url := api.Start(t)
	api.CreateRuns(prefecttest.Order{Count: 74, Labels: []string{"other"}, In: prefecttest.Duration(-time.Minute)})
	ours := api.CreateRuns(prefecttest.Order{Labels: []string{"ours"}})
	if diff := cmp.Diff(ours, queue(t, url, []string{"ours"})); diff != "" {
		t.Errorf("behind 74 (-want +got):\n%s", diff)
	}
	api.CreateRuns(prefecttest.Order{Labels: []string{"other"}, In: prefecttest.Duration(-time.Minute)})
	if got := queue(t, url, []string{"ours"}); got != nil {
		t.Errorf("behind 75 ours is still seen: %v", got)
	}
	if got := len(queue(t, url, []string{"other"})); got != 25 {
		t.Errorf("%d ids in one answer, want 25", got)
	}
}

func TestQueueLabels(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	url := api.Start(t)
	plain := api.CreateRuns(prefecttest.Order{Labels: []string{}})
	a := api.CreateRuns(prefecttest.Order{Labels: []string{"a"}})
	ab := api.CreateRuns(prefecttest.Order{Labels: []string{"b", "a"}})
	for _, tc := range []struct {
		agent []string
		want  []string
	}{
		{[]string{}, plain}, {[]string{"a"}, a}, {[]string{"b", "a"}, append(a, ab...)}, {[]string{"A"}, nil},
	} {
		if diff := cmp.Diff(tc.want, queue(t, url, tc.agent)); diff != "" {
			t.Errorf("agent %v (-want +got):\n%s", tc.agent, diff)
		}
	}
}

func TestWhereAsHasuraHasIt(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	url := api.Start(t)
	id := api.CreateRuns(prefecttest.Order{Labels: []string{"a"}, Name: "ours"})[0]
	api.CreateRuns(prefecttest.Order{Labels: []string{"b"}})
	if _, answer := post(t, url, setStates, submit(id)); message(answer) != "" {
		t.Fatal(message(answer))
	}
	for _, where := range []string{
		`id: { _eq: "` + id + `" }`, `id: { _in: ["` + id + `"] }`, `state: { _eq: "Submitted" }`, `state: { _in: ["Submitted"] }, labels: { _contained_in: ["a", "c"] }`,
		`labels: { _eq: ["a"] }`, `labels: { _contains: ["a"] }`, `serialized_state: { _contains: { context: { a: {} } } }`, `name: { _eq: "ours" }`,
		`_or: [{ name: { _eq: "nobody" } }, { name: { _eq: "ours" } }]`, `_not: { name: { _neq: "ours" } }`, `_and: [{ name: { _eq: "ours" } }, { state: { _neq: "Failed" } }]`,
	} {
		status, answer := post(t, url, "query { flow_run(where: { "+where+" }, order_by: [{ id: asc }], limit: 5) { name serialized_state } }", nil)
		if m := message(answer); status != 200 || m != "" {
			t.Errorf("%s: %d %s", where, status, m)
			continue
		}
		rows := answer["data"].(map[string]any)["flow_run"].([]any)
		if len(rows) != 1 || rows[0].(map[string]any)["name"] != "ours" {
			t.Errorf("%s: %v", where, rows)
			continue
		}
		// Unknown fields of a state are dropped, its context is kept.
		state := rows[0].(map[string]any)["serialized_state"].(map[string]any)
		if _, kept := state["unknown"]; kept || !cmp.Equal(state["context"], map[string]any{"a": map[string]any{"b": 1.0}}) {
			t.Errorf("%s: state %v", where, state)
		}
	}
}

func TestLogBatchWithAnUnknownRunIsLost(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	url := api.Start(t)
	id := api.CreateRuns(prefecttest.Order{})[0]
	const writeLogs = "mutation($input: write_run_logs_input!) { write_run_logs(input: $input) { success } }"
	line := func(id string) map[string]any { return map[string]any{"flow_run_id": id, "message": "m"} }
	_, answer := post(t, url, writeLogs, map[string]any{"input": map[string]any{"logs": []any{line(id), line("00000000-0000-0000-0000-000000000001")}}})
	if got := message(answer); got != "Foreign key violation." || len(api.Runs(id)[0].Logs) != 0 {
		t.Errorf("%q, %d lines stored", got, len(api.Runs(id)[0].Logs))
	}
	// A single object in place of a list is taken, as the pod sends it.
	_, answer = post(t, url, writeLogs, map[string]any{"input": map[string]any{"logs": line(id)}})
	if got := api.Runs(id)[0].Logs; message(answer) != "" || len(got) != 1 || got[0].Level != "INFO" {
		t.Errorf("%q, %v", message(answer), got)
	}
}

func TestLazarusThenFailed(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	api := prefecttest.New(prefecttest.Options{Now: func() time.Time { return now }})
	url := api.Start(t)
	id := api.CreateRuns(prefecttest.Order{})[0]
	var got []string
	for range 4 {
		post(t, url, setStates, submit(id))
		if n := api.Lazarus(); n != 0 {
			t.Errorf("a fresh heartbeat did not keep Lazarus away")
		}
		now = now.Add(11 * time.Minute)
		api.Lazarus()
		got = append(got, api.Runs(id)[0].State)
	}
	if diff := cmp.Diff([]string{"Scheduled", "Scheduled", "Scheduled", "Failed"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFaults(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	url := api.Start(t)
	id := api.CreateRuns(prefecttest.Order{})[0]
	api.Break(prefecttest.Fault{Operation: "set_flow_run_states", Times: 1, After: true, Error: "lost"})
	if _, answer := post(t, url, setStates, submit(id)); message(answer) != "lost" {
		t.Errorf("answer %v", answer)
	}
	if got := api.Runs(id)[0].State; got != "Submitted" {
		t.Errorf("the state is %s: a fault after the write must not undo it", got)
	}
	if _, answer := post(t, url, "query { hello }", nil); message(answer) != "" {
		t.Error("a fault struck another operation")
	}
	if got := api.Counts()["set_flow_run_states"]; got != 1 {
		t.Errorf("counted %d calls, want 1", got)
	}
}

func TestCancel(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	id := api.CreateRuns(prefecttest.Order{})[0]
	if err := api.SetState(id, map[string]any{"type": "Running"}); err != nil {
		t.Fatal(err)
	}
	api.Cancel(id)
	if got := api.Runs(id)[0].State; got != "Cancelling" {
		t.Errorf("a running run is %s after cancel", got)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"query":"query { hello }","variables":"null"}`))
	f.Add([]byte(`{"query":"query { flow_run(where: { id: { _in: [\"x\"] } }) { id } }","variables":{}}`))
	api := prefecttest.New(prefecttest.Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		w := recorder{header: http.Header{}}
		api.ServeHTTP(&w, req)
		if !json.Valid(w.body.Bytes()) {
			t.Errorf("answered %d with %q", w.status, w.body.String())
		}
	})
}

type recorder struct {
	header http.Header
	body   bytes.Buffer
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
