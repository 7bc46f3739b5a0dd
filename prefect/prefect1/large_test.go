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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// maxAnswer is small, so that tests are quick.
const maxAnswer = 1 << 20

// large is a run config, or a storage, of so many KiB.
func large(kib int) map[string]any {
	return map[string]any{"type": "KubernetesRun", "env": map[string]any{"A": strings.Repeat("x", kib<<10)}}
}

func serve(t *testing.T) (*prefecttest.API, *prefect1.Client) {
	t.Helper()
	api := prefecttest.New(prefecttest.Options{})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport(), MaxAnswer: maxAnswer})
	if err != nil {
		t.Fatal(err)
	}
	return api, c
}

// skipLarge leaves answers of megabytes to the run without the race detector, which makes it
// several times as slow.
func skipLarge(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("too long with the race detector; make unit runs it without")
	}
}

// Nine large run configs are more than an answer may be; so is one flow's storage. Runs
// between them are launched all the same, and the author of the one that is too large is
// told.
func TestLargeRunsHoldUpNobody(t *testing.T) {
	skipLarge(t)
	api, c := serve(t)
	names := map[string]string{}
	create := func(name string, o prefecttest.Order) {
		for _, id := range api.CreateRuns(o) {
			names[id] = name
		}
	}
	create("large", prefecttest.Order{Count: 9, RunConfig: large(256), Labels: []string{}})
	create("too large", prefecttest.Order{FlowID: api.CreateFlow(prefecttest.FlowSpec{Storage: large(1100)})})
	create("small", prefecttest.Order{Count: 20})
	got, faults := map[string]int{}, map[string]bool{}
	var seen []string
	for more := true; more; {
		found, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 256, Except: seen})
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, r := range found.Runs {
			seen = append(seen, r.ID)
			got[names[r.ID]]++
			faults[names[r.ID]] = r.Fault != nil
			size += len(madeOf(r).RunConfig)
		}
		if size > 2*maxAnswer {
			t.Errorf("%d KiB of run configs are held at once", size>>10)
		}
		more = found.More && len(found.Runs) > 0
	}
	if diff := cmp.Diff(map[string]int{"large": 9, "too large": 1, "small": 20}, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"large": false, "too large": true, "small": false}, faults); diff != "" {
		t.Errorf("at fault (-want +got):\n%s", diff)
	}
}

// One large run in the middle makes the pages around it small, and no longer.
func TestALargeRunMakesFewPagesSmall(t *testing.T) {
	api, c := serve(t)
	api.CreateRuns(prefecttest.Order{Count: 40})
	api.CreateRuns(prefecttest.Order{RunConfig: large(1100), Labels: []string{}})
	api.CreateRuns(prefecttest.Order{Count: 80})
	found, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 256})
	if err != nil || len(found.Runs) != 121 {
		t.Fatal(len(found.Runs), err)
	}
	if n := api.Counts()["requests"]; n > 30 {
		t.Errorf("%d requests for 121 runs", n)
	}
}

// A run that is too large comes with all that claiming and failing it needs.
func TestOfARunThatIsTooLargeTheRestIsRead(t *testing.T) {
	api, c := serve(t)
	flow := api.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"a"}, Storage: large(1100)})
	run := func(name string, then func(id string)) prefect.FlowRun {
		id := api.CreateRuns(prefecttest.Order{FlowID: flow, Labels: []string{name}})[0]
		then(id)
		read, err := c.FlowRun(t.Context(), id)
		if err != nil || read.Fault == nil || !strings.Contains(read.Fault.Message, "more than 1 MiB") {
			t.Fatalf("%s: %v, fault %v", name, err, read.Fault)
		}
		if read.ID != id || madeOf(read).RunConfig != nil || read.StateAt.IsZero() || read.ReadAt.IsZero() {
			t.Errorf("%s: %+v", name, read)
		}
		return read
	}
	submit := func(id string) {
		r, err := c.Claim(t.Context(), prefect.FlowRun{ID: id, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}, claim)
		if err != nil || r.Answer != prefect.Won {
			t.Fatal(r, err)
		}
	}
	scheduled := run("scheduled", func(string) {})
	if !scheduled.Claimable(time.Now()) || scheduled.Attempt != "v1" || scheduled.Place.Labels[0] != "scheduled" {
		t.Errorf("scheduled: %+v", scheduled)
	}
	submitted := run("submitted", submit)
	if submitted.Claim == nil || *submitted.Claim != claim || submitted.Heartbeat.IsZero() {
		t.Errorf("submitted: %+v", submitted)
	}
	set(t, api, submitted.ID, "Success")
	h, err := c.History(t.Context(), submitted.ID, "v1")
	if err != nil || h.Run.Fault == nil || h.Run.State.Name != "Success" || h.Reached.Name != "Success" || !slices.Equal(h.Claims, []prefect.Claim{claim}) {
		t.Errorf("the history of a run that is too large: %+v, %v", h, err)
	}
	var task prefecttest.TaskRun
	retrying := run("retrying", func(id string) {
		submit(id)
		set(t, api, id, "Running")
		task = api.Runs(id)[0].TaskRuns[0]
		if err := api.SetTaskState(task.ID, map[string]any{"type": "Retrying", "start_time": time.Now().Add(-time.Minute).Format(time.RFC3339)}); err != nil {
			t.Fatal(err)
		}
	})
	want := prefect.Attempt(fmt.Sprintf("retry-%s-v%d", task.ID, task.Version+1))
	if retrying.Attempt != want || retrying.LastClaim == nil || *retrying.LastClaim != claim {
		t.Errorf("retrying: attempt %s, want %s, last claim %+v", retrying.Attempt, want, retrying.LastClaim)
	}
}

// Of a run with large tasks, fewer tasks are read.
func TestLargeTasksAreReadFewAtATime(t *testing.T) {
	api, c := serve(t)
	var tasks []string
	for i := range 40 {
		tasks = append(tasks, fmt.Sprint(i))
	}
	id := api.CreateRuns(prefecttest.Order{FlowID: api.CreateFlow(prefecttest.FlowSpec{Tasks: tasks})})[0]
	set(t, api, id, "Running")
	for _, task := range api.Runs(id)[0].TaskRuns {
		state := map[string]any{"type": "Retrying", "message": strings.Repeat("x", 60_000), "start_time": time.Now().Add(-time.Minute).Format(time.RFC3339)}
		if err := api.SetTaskState(task.ID, state); err != nil {
			t.Fatal(err)
		}
	}
	run, err := c.FlowRun(t.Context(), id)
	if err != nil || run.Fault != nil || len(tasksOf(run)) != 10 {
		t.Errorf("%d tasks, fault %v, %v; want 10 of 40", len(tasksOf(run)), run.Fault, err)
	}
}

// Of a large claim only the claim is read, however large the state around it is.
func TestOfLargeClaimsOnlyTheClaimIsRead(t *testing.T) {
	api, c := serve(t)
	want := 20
	for _, id := range api.CreateRuns(prefecttest.Order{Count: want}) {
		opaque, err := json.Marshal(map[string]any{"type": "Scheduled", "message": strings.Repeat("x", 60_000)})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Claim(t.Context(), prefect.FlowRun{ID: id, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled", Opaque: opaque}}, claim)
		if err != nil || r.Answer != prefect.Won {
			t.Fatal(r, err)
		}
	}
	if _, err := c.TenantID(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := api.Counts()["requests"]
	o, err := c.Observe(t.Context(), time.Now())
	if err != nil || len(o.Claimed) != want || o.Claimed[0].Claim != claim {
		t.Errorf("%d claims observed, %v", len(o.Claimed), err)
	}
	runs, err := c.Claimed(t.Context(), prefect.Scope{})
	if err != nil || len(runs) != want || *runs[0].Claim != claim {
		t.Errorf("%d claims read, %v", len(runs), err)
	}
	if n := api.Counts()["requests"] - before; n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func small(o *prefect1.Options) { o.MaxAnswer = maxAnswer }

// wide answers lists of rows with large labels: of some ids, or of as many as requested.
func wide(kib int, rows map[string]string) answer {
	labels := strings.Repeat(`"a",`, kib<<8) + `"a"`
	return func(w http.ResponseWriter, r request) {
		var v struct {
			Limit            int
			Troubled, Active struct{ In []string }
		}
		json.Unmarshal(bytes.ReplaceAll(r.Variables, []byte(`"_in"`), []byte(`"In"`)), &v)
		fmt.Fprint(w, `{"data":{"none":[]`)
		for list, ids := range map[string][]string{"troubled": v.Troubled.In, "ending": v.Active.In, "claimed": nil, "due": nil, "silent": nil} {
			if list == "due" {
				for i := range min(v.Limit, len(rows[list])) {
					ids = append(ids, idOf(i))
				}
			}
			var all []string
			for _, id := range ids {
				l := `"a"`
				if strings.Contains(rows[list], id) || list == "due" {
					l = labels
				}
				all = append(all, fmt.Sprintf(`{"id":%q,"labels":[%s],"state":"Running"}`, id, l))
			}
			if list == "silent" {
				l := `"a"`
				if rows["troubled"] == "" {
					l = labels
				}
				for _, id := range strings.Fields(rows[list])[:min(v.Limit, len(strings.Fields(rows[list])))] {
					all = append(all, fmt.Sprintf(`{"id":%q,"labels":[%s],"state":"Running","states":[{"serialized_state":{"job":"j","namespace":"n","attempt":"v1"}}]}`, id, l))
				}
			}
			fmt.Fprintf(w, `,%q:[%s]`, list, strings.Join(all, ","))
		}
		fmt.Fprint(w, `}}`)
	}
}

func TestLargeLabelsMakeALookIncomplete(t *testing.T) {
	skipLarge(t)
	for name, tc := range map[string]struct {
		kib, rows, want     int
		truncated, tooLarge bool
	}{
		"small rows":               {1, 100, 100, false, false},
		"many small rows":          {0, 5001, 5000, true, false},
		"64 KiB":                   {64, 100, 10, true, true},
		"256 KiB":                  {256, 100, 2, true, true},
		"one row is more than all": {1100, 100, 0, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			api := newFakeAPI(t, answers{"observe": wide(tc.kib, map[string]string{"due": strings.Repeat("x", tc.rows)})})
			o, err := api.client(t, small).Observe(t.Context(), noon)
			if err != nil || o.Truncated != tc.truncated || o.TooLarge != tc.tooLarge || len(o.Due) != tc.want {
				t.Errorf("%d rows, truncated %v, too large %v, %v; want %+v", len(o.Due), o.Truncated, o.TooLarge, err, tc)
			}
		})
	}
}

// A large run that has gone when fewer are asked for hides nothing.
func TestLargeRunThatIsGoneMakesNoLookIncomplete(t *testing.T) {
	asked := 0
	api := newFakeAPI(t, answers{"observe": func(w http.ResponseWriter, r request) {
		if asked++; asked == 1 {
			wide(1100, map[string]string{"due": "x"})(w, r)
			return
		}
		wide(0, map[string]string{"due": "xx"})(w, r)
	}})
	o, err := api.client(t, small).Observe(t.Context(), noon)
	if err != nil || o.Truncated || o.TooLarge || len(o.Due) != 2 || asked != 2 {
		t.Errorf("asked %d times: %d rows, truncated %v, too large %v, %v", asked, len(o.Due), o.Truncated, o.TooLarge, err)
	}
}

func TestSupervisionLeavesOutWhatIsTooLarge(t *testing.T) {
	ids := func(from, to int) (ids []string) {
		for i := from; i < to; i++ {
			ids = append(ids, idOf(i))
		}
		return ids
	}
	api := newFakeAPI(t, answers{"supervise": wide(1100, map[string]string{"troubled": idOf(3), "ending": idOf(12), "silent": idOf(20)})})
	s, err := api.client(t, small).Supervise(t.Context(), ids(0, 9), ids(9, 16))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range slices.Concat(s.Troubled, s.Ending, s.Silent) {
		got = append(got, r.ID)
	}
	want := slices.Concat(ids(0, 3), ids(4, 9), ids(9, 12), ids(13, 16), ids(20, 21))
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// If silent runs are too large together, we hear of some; if each is, of none. Jobs are
// handled all the same.
func TestSupervisionTellsOfFewerSilentRuns(t *testing.T) {
	skipLarge(t)
	var silent []string
	for i := range 100 {
		silent = append(silent, idOf(i))
	}
	for kib, want := range map[int]int{1: 100, 64: 10, 256: 2, 1100: 0} {
		api := newFakeAPI(t, answers{"supervise": wide(kib, map[string]string{"silent": strings.Join(silent, " ")})})
		s, err := api.client(t, small).Supervise(t.Context(), []string{idOf(200)}, []string{idOf(201)})
		if err != nil || len(s.Silent) != want || len(s.Troubled) != 1 || len(s.Ending) != 1 {
			t.Errorf("rows of %d KiB: %d silent, %d troubled, %d ending, %v; want %d, 1, 1", kib, len(s.Silent), len(s.Troubled), len(s.Ending), err, want)
		}
	}
}

// A claim wraps the state, so a state that just fits by itself is too large in one. The
// run goes back to the queue all the same.
func TestStateThatIsTooLargeToBeClaimed(t *testing.T) {
	api, c := serve(t)
	id := api.CreateRuns(prefecttest.Order{})[0]
	if err := api.SetState(id, map[string]any{"type": "Scheduled", "context": map[string]any{"a": strings.Repeat("x", 999_600)}}); err != nil {
		t.Fatal(err)
	}
	run, err := c.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Claim(t.Context(), run, claim)
	var wrong *prefect.AuthorError
	if !errors.As(err, &wrong) || !strings.Contains(wrong.Message, "states of up to 1 MB") {
		t.Errorf("%v, %v; want the author's error", r, err)
	}
	if err := c.HandBack(t.Context(), run, time.Now(), strings.Repeat("why ", 200)); err != nil {
		t.Errorf("a message that makes it too large keeps it from being handed back: %v", err)
	}
	// A run can be claimed without its state, to fail it.
	run.State.Opaque = nil
	if r, err := c.Claim(t.Context(), run, claim); err != nil || r.Answer != prefect.Won {
		t.Errorf("%v, %v", r, err)
	}
}

// body is an answer whose reader is held up once it is past so many bytes.
type body struct {
	io.Reader
	left int
	held func()
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= n; b.left < 0 && b.held != nil {
		b.held()
		b.held = nil
	}
	return n, err
}

func (b *body) Close() error { return nil }

// A launcher's workers may all ask for large runs at once, and it has little memory.
func TestFewLargeAnswersAreReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		size, reading := maxAnswer/2, 0
		release := make(chan struct{})
		c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, TenantID: tenantID, MaxAnswer: maxAnswer, HTTPTransport: transport(func(*http.Request) (*http.Response, error) {
			text := `{"data":{"flow_run":[],"x":"` + strings.Repeat("x", size) + `"}}`
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &body{strings.NewReader(text), maxAnswer / 4, func() {
				mu.Lock()
				reading++
				mu.Unlock()
				<-release
			}}}, nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, err := c.FlowRun(t.Context(), runID); !errors.Is(err, prefect.ErrNotFound) {
					t.Error(err)
				}
			})
		}
		for want := 2; want <= 8; want += 2 {
			synctest.Wait()
			if reading != want {
				t.Errorf("%d large answers were begun, want %d", reading, want)
			}
			release <- struct{}{}
			release <- struct{}{}
		}
		all.Wait()
	})
}
