package prefect3_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

const namespaceUID = "8a2c7c4e-3d5f-4a37-9a51-0d8f6c1f0a10"

func claimOf(launcher string, run prefect.FlowRun) prefect.Claim {
	return prefect.Claim{Launcher: launcher, Namespace: "flows", NamespaceUID: namespaceUID, Job: "hello-" + string(run.Attempt)[:9], Attempt: run.Attempt}
}

// inBubble runs a test with a clock of its own.
func inBubble(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

func readRun(t *testing.T, c *prefect3.Client, id string) prefect.FlowRun {
	t.Helper()
	run, err := c.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func win(t *testing.T, c *prefect3.Client, id string) (prefect.FlowRun, prefect.Claim) {
	t.Helper()
	run := readRun(t, c, id)
	claim := claimOf("a", run)
	if r, err := c.Claim(t.Context(), run, claim); err != nil || r.Answer != prefect.Won {
		t.Fatalf("the claim is answered %s (%s), %v", r.Answer, r.Reason, err)
	}
	return run, claim
}

// The answers to a claim, by what became of the run since it was read (prefect3 §1.7).
func TestClaimAnswers(t *testing.T) {
	rival := func(api *fake.API, id string) {
		api.Propose(id, fake.Proposal{Type: "PENDING", Transition: "00000000-0000-4000-8000-000000000001"})
	}
	for name, tc := range map[string]struct {
		limit    *int
		strategy string
		since    func(api *fake.API, id string)
		want     prefect.Answer
		becomes  string
	}{
		"it waits":                  {since: func(*fake.API, string) {}, want: prefect.Won, becomes: "PENDING Pending"},
		"it is late":                {since: func(api *fake.API, id string) { time.Sleep(time.Minute) }, want: prefect.Won, becomes: "PENDING Pending"},
		"another worker claimed it": {since: rival, want: prefect.Lost, becomes: "PENDING Pending"},
		"it runs":                   {since: func(api *fake.API, id string) { api.Begin(id) }, want: prefect.Lost, becomes: "RUNNING Running"},
		"it was cancelled":          {since: func(api *fake.API, id string) { api.Cancel(id) }, want: prefect.Lost, becomes: "CANCELLED Cancelled"},
		"it is being cancelled":     {since: func(api *fake.API, id string) { api.Begin(id); api.Cancel(id) }, want: prefect.Lost, becomes: "CANCELLING Cancelling"},
		"it was suspended": {since: func(api *fake.API, id string) {
			api.Begin(id)
			api.Propose(id, fake.Proposal{Type: "PAUSED", Name: "Suspended", Reschedule: true})
		}, want: prefect.Lost, becomes: "PAUSED Suspended"},
		"it failed":    {since: func(api *fake.API, id string) { api.Begin(id); api.End(id, "FAILED", "Oh!") }, want: prefect.Lost, becomes: "FAILED Failed"},
		"it crashed":   {since: func(api *fake.API, id string) { api.Begin(id); api.End(id, "CRASHED", "Oh!") }, want: prefect.Lost, becomes: "CRASHED Crashed"},
		"it completed": {since: func(api *fake.API, id string) { api.Begin(id); api.End(id, "COMPLETED", "") }, want: prefect.Lost, becomes: "COMPLETED Completed"},
		"it completed with a result": {since: func(api *fake.API, id string) {
			api.Propose(id, fake.Proposal{Type: "COMPLETED", Data: map[string]any{"type": "reference"}})
		}, want: prefect.Lost, becomes: "COMPLETED Completed"},
		"a slot is free":         {limit: new(1), since: func(*fake.API, string) {}, want: prefect.Won, becomes: "PENDING Pending"},
		"no slot is free":        {limit: new(1), since: occupy, want: prefect.NotNow, becomes: "SCHEDULED AwaitingConcurrencySlot"},
		"no slot, and it is new": {limit: new(1), strategy: "CANCEL_NEW", since: occupy, want: prefect.Lost, becomes: "CANCELLED Cancelled"},
		"a limit of 0":           {limit: new(1), since: func(api *fake.API, id string) { api.LimitDeployment(api.Runs(id)[0].Deployment, new(0)) }, want: prefect.NotNow, becomes: "SCHEDULED Scheduled"},
		"it was deleted":         {since: func(api *fake.API, id string) { api.Delete(id) }, want: prefect.Lost},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				api := fake.New(fake.Options{})
				c := clientOf(t, api, prefect3.Options{})
				deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s", Limit: tc.limit, Strategy: tc.strategy})
				id := api.CreateRuns(fake.Order{Deployment: deployment, At: time.Now()})[0]
				run := readRun(t, c, id)
				tc.since(api, id)
				r, err := c.Claim(t.Context(), run, claimOf("a", run))
				if err != nil || r.Answer != tc.want || r.RetryAfter != 0 {
					t.Errorf("answered %+v, %v; want %s", r, err, tc.want)
				}
				if tc.becomes == "" {
					return
				}
				if now := api.Runs(id)[0]; now.Type+" "+now.State != tc.becomes {
					t.Errorf("it is %s %s, want %s", now.Type, now.State, tc.becomes)
				}
			})
		})
	}
}

// occupy lets another run of the same deployment have a slot.
func occupy(api *fake.API, id string) {
	other := api.CreateRuns(fake.Order{Deployment: api.Runs(id)[0].Deployment, At: time.Now()})[0]
	api.Propose(other, fake.Proposal{Type: "PENDING"})
}

// A busy server, or a connection cut without an answer, gets the same body again.
func TestClaimIsReplayed(t *testing.T) {
	for name, fault := range map[string]fake.Fault{
		"busy":                     {Status: 503, Times: 3},
		"in maintenance":           {Status: 502, Times: 2, RetryAfter: "0.5"},
		"too many requests":        {Status: 429, Times: 1, RetryAfter: "2.25"},
		"cut before":               {Drop: true, Times: 2},
		"cut after":                {Drop: true, Times: 2, After: true},
		"busy, and yet applied":    {Status: 503, Times: 1, After: true},
		"slow to answer":           {Delay: 40 * time.Second, Times: 1, After: true},
		"an answer of somebody's":  {Status: 200, Body: "<html>", Times: 1},
		"an answer with no status": {Status: 200, Body: "{}", Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				api := fake.New(fake.Options{})
				sent := &recorder{through: api.Transport()}
				c, err := prefect3.New(prefect3.Options{API: "http://prefect.example/api", HTTPTransport: sent})
				if err != nil {
					t.Fatal(err)
				}
				id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
				run := readRun(t, c, id)
				fault.Route = "POST /flow_runs/{id}/set_state"
				api.Break(fault)
				sent.bodies = nil
				r, err := c.Claim(t.Context(), run, claimOf("a", run))
				want := prefect.Won
				if fault.Body == "{}" {
					want = prefect.Unknown
				}
				if err != nil || r.Answer != want {
					t.Fatalf("answered %+v, %v, want %s", r, err, want)
				}
				for _, body := range sent.bodies {
					if body != sent.bodies[0] {
						t.Errorf("sent\n%s, then\n%s", sent.bodies[0], body)
					}
				}
				claims := 0
				for _, s := range api.Runs(id)[0].History {
					if s.Type == "PENDING" {
						claims++
					}
				}
				if want == prefect.Won && (claims != 1 || len(sent.bodies) < 2) {
					t.Errorf("after %d requests it was claimed %d times", len(sent.bodies), claims)
				}
			})
		})
	}
}

// recorder remembers what is written.
type recorder struct {
	through http.RoundTripper
	bodies  []string
	headers []http.Header
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	r.headers = append(r.headers, q.Header.Clone())
	if q.Body != nil && strings.HasSuffix(q.URL.Path, "/set_state") {
		text, err := io.ReadAll(q.Body)
		if err != nil {
			return nil, err
		}
		r.bodies = append(r.bodies, string(text))
		q.Body = io.NopCloser(strings.NewReader(string(text)))
	}
	return r.through.RoundTrip(q)
}

// A claim that may have been applied is never called refused, whatever came later.
func TestUnansweredClaimStaysUnclear(t *testing.T) {
	for name, last := range map[string]fake.Fault{
		"then it asks to be left alone": {Status: 429, RetryAfter: "60"},
		"then it is away":               {Drop: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				api := fake.New(fake.Options{})
				c := clientOf(t, api, prefect3.Options{})
				id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
				run := readRun(t, c, id)
				api.Break(fake.Fault{Drop: true, After: true, Times: 1})
				api.Break(last)
				ctx := prefect.WithSendBy(t.Context(), time.Now().Add(3*time.Second))
				if r, err := c.Claim(ctx, run, claimOf("a", run)); err != nil || r.Answer != prefect.Unknown {
					t.Errorf("answered %+v, %v", r, err)
				}
			})
		})
	}
}

// The claim is what the server expects, and the same for all launchers of a namespace.
func TestClaimBody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		sent := &recorder{through: api.Transport()}
		c, err := prefect3.New(prefect3.Options{API: "http://prefect.example/api", HTTPTransport: sent})
		if err != nil {
			t.Fatal(err)
		}
		run := readRun(t, c, api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0])
		var transitions []any
		for _, by := range []struct{ launcher, uid, revision string }{{"a", namespaceUID, run.Revision}, {"b", namespaceUID, run.Revision}, {"a", "here", run.Revision}, {"a", namespaceUID, "another"}} {
			claim, of := claimOf(by.launcher, run), run
			claim.NamespaceUID, of.Revision = by.uid, by.revision
			if _, err := c.Claim(t.Context(), of, claim); err != nil {
				t.Fatal(err)
			}
			var body map[string]any
			if err := json.Unmarshal([]byte(sent.bodies[len(sent.bodies)-1]), &body); err != nil {
				t.Fatal(err)
			}
			details := body["state"].(map[string]any)["state_details"].(map[string]any)
			transitions = append(transitions, details["transition_id"])
			details["transition_id"] = ""
			want := map[string]any{"force": false, "state": map[string]any{
				"type": "PENDING", "name": "Pending", "state_details": map[string]any{"transition_id": ""},
				"message": fmt.Sprintf("prefect-keda launcher=%s job=flows/%s cluster=%s attempt=%s", claim.Launcher, claim.Job, by.uid, run.Attempt),
			}}
			if diff := cmp.Diff(want, body); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
		if transitions[0] != transitions[1] || transitions[0] == transitions[2] || transitions[0] == transitions[3] {
			t.Errorf("the transition ids are %q", transitions)
		}
	})
}

// The claims of one client never exceed the limit of a work pool or queue, however old the
// offer is; the server would accept them.
func TestClaimsRespectLimits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		api.CreatePool(fake.Pool{Name: "k8s", Limit: new(3)})
		api.CreateQueue(fake.Queue{Pool: "k8s", Name: "narrow", Limit: new(1)})
		c := clientOf(t, api, prefect3.Options{})
		narrow := api.CreateRuns(fake.Order{Pool: "k8s", Queue: "narrow", Count: 2, At: time.Now().Add(-time.Minute)})
		wide := api.CreateRuns(fake.Order{Pool: "k8s", Count: 4, At: time.Now().Add(-time.Minute)})
		due := func() (ids []string) {
			t.Helper()
			found, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range found.Runs {
				ids = append(ids, r.ID)
			}
			return ids
		}
		if got := due(); len(got) != 3 {
			t.Errorf("%d runs are offered, want 3", len(got))
		}
		var answers []string
		for _, id := range append(narrow, wide...) {
			run := readRun(t, c, id)
			r, err := c.Claim(t.Context(), run, claimOf("a", run))
			if err != nil {
				t.Fatal(err)
			}
			answers = append(answers, r.Answer.String()+" "+r.Reason)
		}
		won := "won the API answered ACCEPT, the run is Pending"
		if diff := cmp.Diff([]string{won, "not_now work queue narrow limit 1 reached", won, won, "not_now work pool k8s limit 3 reached", "not_now work pool k8s limit 3 reached"}, answers); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if got := due(); len(got) != 0 {
			t.Errorf("%d runs are offered, want none", len(got))
		}
		api.End(wide[0], "COMPLETED", "")
		time.Sleep(time.Second)
		if got := due(); len(got) != 1 {
			t.Errorf("%d runs are offered, want the one that has a slot", len(got))
		}
	})
}
