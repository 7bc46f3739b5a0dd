package prefect1_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// scheduled is a row of a run that is due i seconds after noon.
func scheduled(i int, labels string) string {
	stamp := noon.Add(time.Duration(i) * time.Second).Format("2006-01-02T15:04:05.000000-07:00")
	return fmt.Sprintf(`{"id":%q,"name":"run-%d","version":1,"labels":%s,"state":"Scheduled","state_start_time":%q,"state_timestamp":%q,
		"serialized_state":{"type":"Scheduled","start_time":%q},"run_config":null,"flow":{"id":"f","name":"n","core_version":"1.4.1","storage":{}},"task_runs":[]}`,
		idOf(i), i, labels, stamp, stamp, stamp)
}

func idOf(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }

const running = `{"id":"` + runID + `","name":"r","version":5,"labels":["k8s"],"state":"Running","state_start_time":null,"state_timestamp":"2026-11-23T11:00:00+00:00",
	"serialized_state":{"type":"Running","message":"Running flow."},"run_config":null,"flow":{"id":"f","name":"n","core_version":null,"storage":null},
	"task_runs":[
		{"id":"` + taskID + `","task_id":"t","version":4,"state":"Retrying","state_start_time":"2026-11-23T11:59:00.5+00:00","serialized_state":{"type":"Retrying","start_time":"2026-11-23T11:59:00.5+00:00","run_count":1}},
		{"id":"44444444-4444-4444-8444-444444444444","task_id":"t2","version":4,"state":"Running","state_start_time":null,"serialized_state":{"type":"Running"}}]}`

func due(t *testing.T, c *prefect1.Client, labels []string, until time.Time, limit int) ([]prefect.FlowRun, error) {
	t.Helper()
	found, err := c.Due(t.Context(), prefect.DueQuery{Scope: prefect.Scope{Labels: labels}, Until: until, Limit: limit})
	return found.Runs, err
}

func TestDueOfARunningRunAreItsRetries(t *testing.T) {
	api := newFakeAPI(t, answers{"dueRuns": ok(`{"due":[` + scheduled(-120, `["k8s"]`) + `,` + scheduled(5, `["k8s"]`) + `],"retrying":[` + running + `]}`)})
	runs, err := due(t, api.client(t), []string{"k8s"}, noon.Add(10*time.Second), 10)
	if err != nil {
		t.Fatal(err)
	}
	type short struct {
		ID      string
		Due     time.Time
		Attempt prefect.Attempt
		Tasks   []recipe.Task
	}
	var got []short
	for _, r := range runs {
		got = append(got, short{r.ID, r.Due, r.Attempt, tasksOf(r)})
	}
	at := noon.Add(-time.Minute).Add(500 * time.Millisecond)
	want := []short{
		{idOf(-120), noon.Add(-2 * time.Minute), "v1", nil},
		{runID, at, "retry-" + taskID + "-v4", []recipe.Task{{ID: taskID, TaskID: "t", Version: 4, State: prefect.State{
			Phase: prefect.Waiting, Name: "Retrying", StartTime: at, Opaque: json.RawMessage(`{"type":"Retrying","start_time":"2026-11-23T11:59:00.5+00:00","run_count":1}`),
		}}}},
		{idOf(5), noon.Add(5 * time.Second), "v1", nil},
	}
	if diff := cmp.Diff(want, got, sameJSON); diff != "" {
		t.Error(diff)
	}
}

func TestLabelsAreFilteredByTheServer(t *testing.T) {
	for _, tc := range []struct {
		labels []string
		want   string
	}{
		{nil, `{"_eq":[]}`},
		{[]string{}, `{"_eq":[]}`},
		{[]string{"b", "a"}, `{"_contained_in":["b","a"],"_neq":[]}`},
	} {
		api := newFakeAPI(t, answers{"dueRuns": ok(`{"due":[],"retrying":[]}`), "claimedRuns": ok(`{"claimed":[]}`)})
		c := api.client(t)
		if _, err := due(t, c, tc.labels, noon, 500); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Claimed(t.Context(), prefect.Scope{Labels: tc.labels}); err != nil {
			t.Fatal(err)
		}
		for _, r := range slices.Concat(api.asked("dueRuns"), api.asked("claimedRuns")) {
			if diff := cmp.Diff(decoded(t, []byte(tc.want)), at(t, decoded(t, r.Variables), "labels")); diff != "" {
				t.Errorf("%s of %q: %s", r.Op, tc.labels, diff)
			}
		}
	}
}

// A server or proxy that does not filter must not make us take others' runs; a
// row that cannot be read must not hide the others.
func TestRowsThatAreNotForUsAreSkipped(t *testing.T) {
	rows := []string{
		scheduled(1, `["other"]`), scheduled(2, `[]`), scheduled(3, `null`), scheduled(4, `"k8s"`), scheduled(5, `[1]`),
		strings.Replace(scheduled(6, `["k8s"]`), idOf(6), "", 1), scheduled(7, `["k8s"]`), strings.ReplaceAll(scheduled(8, `["k8s"]`), "Scheduled", "Success"),
	}
	api := newFakeAPI(t, answers{"dueRuns": ok(`{"due":[` + strings.Join(rows, ",") + `],"retrying":[]}`)})
	runs, err := due(t, api.client(t), []string{"k8s"}, noon.Add(time.Minute), 100)
	if diff := cmp.Diff([]string{idOf(7)}, idsOf(runs)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func idsOf(runs []prefect.FlowRun) []string {
	var ids []string
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	return ids
}

// pages serves n scheduled runs and respects limit and offset.
func pages(n int) answer {
	return func(w http.ResponseWriter, r request) {
		var v struct{ Limit, Offset int }
		if err := json.NewDecoder(bytes.NewReader(r.Variables)).Decode(&v); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var rows []string
		for i := v.Offset; i < min(n, v.Offset+v.Limit); i++ {
			rows = append(rows, scheduled(i-n, `[]`))
		}
		io.WriteString(w, `{"data":{"due":[`+strings.Join(rows, ",")+`],"retrying":[]}}`)
	}
}

func TestDueReadsPages(t *testing.T) {
	for _, tc := range []struct{ there, limit, want, requests int }{
		{0, 10, 0, 1},
		{7, 10, 7, 1},
		{10, 10, 10, 1},
		{500, 10, 10, 1},
		{250, 1000, 250, 3},
		{200, 1000, 200, 3},
		{500, 150, 150, 2},
		{5, 0, 0, 0},
	} {
		t.Run(fmt.Sprintf("%d of %d", tc.limit, tc.there), func(t *testing.T) {
			api := newFakeAPI(t, answers{"dueRuns": pages(tc.there)})
			found, err := api.client(t).Due(t.Context(), prefect.DueQuery{Until: noon, Limit: tc.limit})
			if err != nil {
				t.Fatal(err)
			}
			if more := tc.there >= tc.limit && tc.limit > 0; found.More != more {
				t.Errorf("more: %v, want %v", found.More, more)
			}
			var want []string
			for i := range tc.want {
				want = append(want, idOf(i-tc.there))
			}
			if diff := cmp.Diff(want, idsOf(found.Runs)); diff != "" {
				t.Error(diff)
			}
			if got := len(api.asked("dueRuns")); got != tc.requests {
				t.Errorf("%d requests, want %d", got, tc.requests)
			}
		})
	}
}

// A server that ignores the offset must not hold us for ever.
func TestPagesEndWhenNothingNewComes(t *testing.T) {
	var rows []string
	for i := range 100 {
		rows = append(rows, scheduled(i-100, `[]`))
	}
	api := newFakeAPI(t, answers{"dueRuns": ok(`{"due":[` + strings.Join(rows, ",") + `],"retrying":[]}`)})
	runs, err := due(t, api.client(t), nil, noon, 1000)
	if err != nil || len(runs) != 100 || len(api.asked("")) != 2 {
		t.Errorf("%d runs with %d requests, %v", len(runs), len(api.asked("")), err)
	}
}

// On Cloud only the queue knows concurrency limits, so nothing else may be claimed.
func TestCloudDecidesWhatIsDue(t *testing.T) {
	cloud := func(o *prefect1.Options) { o.Backend, o.Key = prefect1.Cloud, "k" }
	rec := recordings(t)
	api := newFakeAPI(t, answers{
		"registerAgent": rec["register"].replay(), "hello": rec["hello"].replay(), "getRunsInQueue": rec["queue"].replay(),
		"dueRuns": ok(`{"due":[` + strings.Replace(scheduled(-1, `["k8s"]`), idOf(-1), runID, 1) + `],"retrying":[]}`),
	})
	runs, err := due(t, api.client(t, cloud), []string{"k8s"}, noon, 10)
	if diff := cmp.Diff([]string{runID}, idsOf(runs)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	queued := at(t, decoded(t, rec["queue"].Answer), "data", "get_runs_in_queue", "flow_run_ids")
	asked := api.asked("dueRuns")[0]
	if diff := cmp.Diff(queued, at(t, decoded(t, asked.Variables), "ids", "_in")); diff != "" {
		t.Error(diff)
	}
	if got := asked.Header.Get("X-Prefect-Tenant-Id"); got != tenantID {
		t.Errorf("tenant header %q", got)
	}

	api.answers["getRunsInQueue"] = ok(`{"get_runs_in_queue":{"flow_run_ids":[]}}`)
	if runs, err := due(t, api.client(t, cloud), []string{"k8s"}, noon, 10); err != nil || len(runs) != 0 {
		t.Errorf("an empty queue gave %v, %v", runs, err)
	}
	if n := len(api.asked("dueRuns")); n != 1 {
		t.Errorf("an empty queue was followed by a query")
	}

	server := newFakeAPI(t, answers{"dueRuns": ok(`{"due":[],"retrying":[]}`)})
	if _, err := due(t, server.client(t), nil, noon, 10); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{}, at(t, decoded(t, server.asked("")[0].Variables), "ids")); diff != "" {
		t.Errorf("Server is asked for ids: %s", diff)
	}
}

// The next poll finds the runs that the queue holds back behind its first 25.
func TestCloudSaysThatThereMayBeMore(t *testing.T) {
	rec := recordings(t)
	for n, want := range map[int]bool{0: false, 24: false, 25: true} {
		var ids, rows []string
		for i := range n {
			ids, rows = append(ids, fmt.Sprintf("%q", idOf(i))), append(rows, scheduled(i-n, `[]`))
		}
		api := newFakeAPI(t, answers{
			"registerAgent": rec["register"].replay(), "hello": rec["hello"].replay(),
			"getRunsInQueue": ok(`{"get_runs_in_queue":{"flow_run_ids":[` + strings.Join(ids, ",") + `]}}`),
			"dueRuns":        ok(`{"due":[` + strings.Join(rows, ",") + `],"retrying":[]}`),
		})
		c := api.client(t, func(o *prefect1.Options) { o.Backend, o.Key = prefect1.Cloud, "k" })
		found, err := c.Due(t.Context(), prefect.DueQuery{Until: noon, Limit: 256})
		if err != nil || len(found.Runs) != n || found.More != want {
			t.Errorf("%d in the queue: %d runs, more %v, %v; want %v", n, len(found.Runs), found.More, err, want)
		}
	}
}

// Due does not read the queue's runs that are excepted.
func TestCloudLeavesOutWhatIsExcepted(t *testing.T) {
	rec := recordings(t)
	queue := newFakeAPI(t, answers{
		"registerAgent": rec["register"].replay(), "hello": rec["hello"].replay(), "dueRuns": ok(`{"due":[],"retrying":[]}`),
		"getRunsInQueue": ok(`{"get_runs_in_queue":{"flow_run_ids":["` + idOf(1) + `","` + idOf(2) + `"]}}`),
	})
	cloud := queue.client(t, func(o *prefect1.Options) { o.Backend, o.Key = prefect1.Cloud, "k" })
	for _, except := range [][]string{{idOf(1)}, {idOf(1), idOf(2)}} {
		if _, err := cloud.Due(t.Context(), prefect.DueQuery{Until: noon, Limit: 3, Except: except}); err != nil {
			t.Fatal(err)
		}
	}
	asked := queue.asked("dueRuns")
	if len(asked) != 1 {
		t.Fatalf("%d queries, want one for the run that is not excepted", len(asked))
	}
	if diff := cmp.Diff([]any{idOf(2)}, at(t, decoded(t, asked[0].Variables), "ids", "_in")); diff != "" {
		t.Error(diff)
	}
}

// Retries that a pod handles itself stay due for as long as it likes.
func TestRetriesDoNotHideWhatIsScheduled(t *testing.T) {
	var rows []string
	for i := range 5 {
		rows = append(rows, strings.NewReplacer(runID, idOf(i), `["k8s"]`, `[]`, "T11:59:00.5", fmt.Sprintf("T11:%02d:00.5", i)).Replace(running))
	}
	api := newFakeAPI(t, answers{"dueRuns": ok(`{"due":[` + scheduled(-2, `[]`) + `,` + scheduled(-1, `[]`) + `],"retrying":[` + strings.Join(rows, ",") + `]}`)})
	runs, err := due(t, api.client(t), nil, noon, 2)
	if diff := cmp.Diff([]string{idOf(0), idOf(1), idOf(-2), idOf(-1)}, idsOf(runs)); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

const note = `{"launcher":"l-1","namespace":"flows","job":"prefect-job-0a1b2c3d","attempt":"v3","later":{"x":1}}`

const claimedRow = `{"id":"` + runID + `","labels":["k8s"],"state":"Submitted","state_timestamp":"2026-11-23T11:58:00.25+00:00",
	"heartbeat":"2026-11-23T11:59:00+00:00","claim":` + note + `,"serialized_state":{"type":"Submitted","context":{"prefect_keda":` + note + `},
	"state":{"type":"Scheduled","start_time":"2026-11-23T11:57:00+00:00"}},"version":4,"flow":null,"task_runs":[],"unknown_column":[1]}`

var claim = prefect.Claim{Launcher: "l-1", Namespace: "flows", Job: "prefect-job-0a1b2c3d", Attempt: "v3"}

func TestObserve(t *testing.T) {
	api := newFakeAPI(t, answers{"observe": ok(`{
		"due":[{"id":"a","labels":[],"state_start_time":"2026-11-23T11:59:59.123456+00:00"},{"id":"x","labels":{"no":"list"},"state_start_time":"2026-11-23T11:00:00+00:00"},
			{"id":"b","labels":["k8s","gpu"],"state_start_time":"2026-11-23T12:00:30+00:00"}],
		"retrying":[{"id":"c","labels":["k8s"],"task_runs":[{"state_start_time":"2026-11-23T11:00:00+00:00"}]},{"id":"d","labels":[],"task_runs":[]}],
		"claimed":[` + claimedRow + `,{"id":"foreign","labels":[],"state_timestamp":"2026-11-23T11:00:00+00:00","claim":null}]}`)})
	o, err := api.client(t).Observe(t.Context(), noon.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	want := prefect.Observation{
		Due: []prefect.DueRun{
			{ID: "c", Place: prefect.Place{Labels: []string{"k8s"}}, Due: noon.Add(-time.Hour)},
			{ID: "a", Due: noon.Add(-time.Second).Add(123456 * time.Microsecond)},
			{ID: "b", Place: prefect.Place{Labels: []string{"k8s", "gpu"}}, Due: noon.Add(30 * time.Second)},
		},
		Claimed: []prefect.ClaimedRun{{
			ID: runID, Place: prefect.Place{Labels: []string{"k8s"}}, Claim: claim, KeepBy: noon.Add(2 * time.Minute), KeepFor: 3 * time.Minute,
		}},
	}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Error(diff)
	}
	if n := len(api.asked("")); n != 1 {
		t.Errorf("%d requests for one look", n)
	}
	v := decoded(t, api.asked("")[0].Variables)
	if got := at(t, v, "until"); got != "2026-11-23T12:01:00.000000+00:00" {
		t.Errorf("until %v", got)
	}
	retries, err := time.Parse(time.RFC3339, at(t, v, "retryUntil").(string))
	if ago := time.Since(retries); err != nil || ago < 3*time.Second {
		t.Errorf("retries until %v ago, %v", ago, err)
	}
}

func TestObserveSaysWhenItSawNotAll(t *testing.T) {
	row := `{"id":"a","labels":[],"state_start_time":"2026-11-23T11:59:59+00:00"},`
	api := newFakeAPI(t, answers{"observe": func(w http.ResponseWriter, r request) {
		var v struct{ Limit int }
		json.Unmarshal(r.Variables, &v)
		fmt.Fprintf(w, `{"data":{"due":[%s],"retrying":[],"claimed":[]}}`, strings.TrimSuffix(strings.Repeat(row, v.Limit), ","))
	}})
	o, err := api.client(t).Observe(t.Context(), noon)
	if err != nil || !o.Truncated || len(o.Due) == 0 {
		t.Errorf("truncated %v with %d runs, %v", o.Truncated, len(o.Due), err)
	}
}

func TestClaimIsReadBack(t *testing.T) {
	api := newFakeAPI(t, answers{
		"claimedRuns": ok(`{"claimed":[` + claimedRow + `,` + strings.NewReplacer(runID, taskID, note, "null").Replace(claimedRow) + `]}`),
		"flowRun":     ok(`{"flow_run":[` + claimedRow + `]}`),
	})
	c := api.client(t)
	want := prefect.FlowRun{
		ID: runID, Attempt: "v4", Revision: "4", Place: prefect.Place{Labels: []string{"k8s"}}, Claim: &claim,
		State: prefect.State{Phase: prefect.Claimed, Name: "Submitted"}, StateAt: noon.Add(-2 * time.Minute).Add(250 * time.Millisecond),
		Heartbeat: noon.Add(-time.Minute), KeepBy: noon.Add(2 * time.Minute), Recipe: recipe.Recipe{},
	}
	opaque := cmpopts.IgnoreFields(prefect.State{}, "Opaque")
	run, err := c.FlowRun(t.Context(), runID)
	if diff := cmp.Diff(want, run, opaque, whenever); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	want.Attempt, want.Revision, want.Fresh, want.Recipe = "v0", "0", true, nil // of the claims no more is asked than planning needs
	runs, err := c.Claimed(t.Context(), prefect.Scope{Labels: []string{"k8s"}})
	if diff := cmp.Diff([]prefect.FlowRun{want}, runs, opaque, whenever); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	selected, _ := parse(t, api.asked("claimedRuns")[0].Query)
	if diff := cmp.Diff([]string{"heartbeat", "id", "labels", "serialized_state", "state", "state_timestamp"}, slices.Sorted(slices.Values(selected.Selected))); diff != "" {
		t.Errorf("of the claims is asked (-want +got):\n%s", diff)
	}
}

var whenever = cmpopts.IgnoreFields(prefect.FlowRun{}, "ReadAt")

// A run with thousands of waiting tasks must not make a poll megabytes; the task that
// fell due first names its attempt.
func TestOfARunAmongManyOnlyTheFirstDueTaskIsRead(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	retry := func(task string, ago time.Duration) {
		t.Helper()
		at := time.Now().Add(-ago).UTC().Format(time.RFC3339)
		if err := api.SetTaskState(task, map[string]any{"type": "Retrying", "start_time": at}); err != nil {
			t.Fatal(err)
		}
	}
	for name, ago := range map[string][]time.Duration{
		"one is first":       {time.Minute, time.Hour, 2 * time.Minute, -time.Minute},
		"two are first":      {time.Hour, time.Minute, time.Hour, -time.Minute},
		"all at once":        {time.Hour, time.Hour, time.Hour, -time.Minute},
		"only one is due":    {-time.Minute, time.Minute, -time.Minute, -time.Minute},
		"the last was first": {-time.Minute, time.Minute, 2 * time.Minute, 3 * time.Minute},
	} {
		id := api.CreateRuns(prefecttest.Order{FlowID: api.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"a", "b", "c", "d"}}), Labels: []string{name}})[0]
		set(t, api, id, "Running")
		waiting := 0
		for i, task := range api.Runs(id)[0].TaskRuns {
			retry(task.ID, ago[i])
			if ago[i] > 0 {
				waiting++
			}
		}
		runs, err := due(t, c, []string{name}, time.Now(), 10)
		if err != nil || len(runs) != 1 || len(tasksOf(runs[0])) != 1 {
			t.Fatalf("%s: %+v, %v; want the run with one task", name, runs, err)
		}
		run, err := c.FlowRun(t.Context(), id)
		if err != nil || len(tasksOf(run)) != waiting {
			t.Fatalf("%s: %d tasks, %v; want all %d that are due", name, len(tasksOf(run)), err, waiting)
		}
		if runs[0].Attempt != run.Attempt || !runs[0].Due.Equal(run.Due) {
			t.Errorf("%s: among many attempt %s due %s, by itself %s due %s", name, runs[0].Attempt, runs[0].Due, run.Attempt, run.Due)
		}
	}
}

// A claim may be sent right away only for a run read right before: a run is as old as the
// request for it, and each page has a request of its own.
func TestRunIsAsOldAsItsRequest(t *testing.T) {
	var arrived []time.Time
	noting := func(a answer) answer {
		return func(w http.ResponseWriter, r request) {
			arrived = append(arrived, time.Now())
			a(w, r)
		}
	}
	row := strings.Replace(scheduled(-1, `[]`), idOf(-1), runID, 1)
	api := newFakeAPI(t, answers{"dueRuns": noting(pages(150)), "flowRun": noting(ok(`{"flow_run":[` + row + `]}`))})
	c := api.client(t)
	began := time.Now()
	runs, err := due(t, c, nil, noon, 1000)
	if err != nil || len(runs) != 150 || len(arrived) != 2 {
		t.Fatal(len(runs), len(arrived), err)
	}
	for i, r := range runs {
		page := i / 100
		if after := [...]time.Time{began, arrived[0]}[page]; !r.ReadAt.After(after) || !r.ReadAt.Before(arrived[page]) {
			t.Fatalf("run %d was read at %s, want it between %s and %s, when its page was asked for", i, r.ReadAt, after, arrived[page])
		}
	}
	began = time.Now()
	run, err := c.FlowRun(t.Context(), runID)
	if err != nil || !run.ReadAt.After(began) || !run.ReadAt.Before(arrived[2]) {
		t.Errorf("the run was read at %s, want it between %s and %s (%v)", run.ReadAt, began, arrived[2], err)
	}
}

func TestFlowRunNotFound(t *testing.T) {
	api := newFakeAPI(t, answers{"flowRun": ok(`{"flow_run":[]}`)})
	for id, requests := range map[string]int{"not-a-uuid": 0, "": 0, runID + "0": 0, "g" + runID[1:]: 0, runID: 1} {
		before := len(api.asked(""))
		_, err := api.client(t).FlowRun(t.Context(), id)
		if !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
		if got := len(api.asked("")) - before; got != requests {
			t.Errorf("%q: %d requests, want %d", id, got, requests)
		}
	}
}
