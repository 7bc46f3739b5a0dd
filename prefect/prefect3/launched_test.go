package prefect3_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// Prefect shows of a launched run what a worker's shows, and its slot is kept for a day.
func TestLaunched(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{WorkerName: "keda"})
		deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s", Limit: new(1), Grace: time.Minute})
		pool := api.CreatePool(fake.Pool{Name: "k8s"})
		id := api.CreateRuns(fake.Order{Deployment: deployment, At: time.Now()})[0]
		run, claim := win(t, c, id)
		asked := api.Counts()["requests"]
		if err := c.Launched(t.Context(), run, claim); err != nil {
			t.Fatal(err)
		}
		if n := api.Counts()["requests"] - asked; n > 5 { // one is for the server's version, one for the pool, which a launcher knows
			t.Errorf("it took %d requests", n)
		}
		now := api.Runs(id)[0]
		labels := map[string]string{}
		for key, value := range now.Labels {
			if strings.HasPrefix(key, "prefect.work") || strings.HasPrefix(key, "prefect-keda.") {
				labels[key], _, _ = strings.Cut(value, " ")
			}
		}
		want := map[string]string{
			"prefect.worker.name": "keda", "prefect.worker.type": "kubernetes", "prefect.work-pool.name": "k8s", "prefect.work-pool.id": pool,
			"prefect-keda.claim": "prefect-keda", "prefect-keda.lease": now.Lease,
		}
		if diff := cmp.Diff(want, labels); diff != "" || now.PID != "flows:"+claim.Job || now.Lease == "" {
			t.Errorf("pid %q, lease %q; labels (-want +got):\n%s", now.PID, now.Lease, diff)
		}
		time.Sleep(23 * time.Hour)
		if got := api.Begin(id); got.Status != "ACCEPT" || api.Taken(deployment) != 1 {
			t.Errorf("its pod begins: %+v, %d slots are taken", got, api.Taken(deployment))
		}
	})
}

// Only the claim of a run with a limited deployment holds a slot that is lost in time.
func TestClaimsThatHoldASlot(t *testing.T) {
	for name, limit := range map[string]*int{"limited": new(1), "free": nil} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				api := fake.New(fake.Options{})
				c := clientOf(t, api, prefect3.Options{})
				run := readRun(t, c, api.CreateRuns(fake.Order{Deployment: api.CreateDeployment(fake.Deployment{Pool: "k8s", Limit: limit}), At: time.Now()})[0])
				if r, err := c.Claim(t.Context(), run, claimOf("a", run)); err != nil || r.Answer != prefect.Won || r.HasSlot != (limit != nil) {
					t.Errorf("%+v, %v", r, err)
				}
			})
		})
	}
}

// A part that cannot be told does not keep the others from being told.
func TestLaunchedPartByPart(t *testing.T) {
	for name, tc := range map[string]struct {
		version string
		fault   fake.Fault
		fails   bool
	}{
		"a server without labels": {version: "3.1.0"},
		"the pid fails":           {fault: fake.Fault{Route: "PATCH /flow_runs/{id}", Status: 500}, fails: true},
		"the labels fail":         {fault: fake.Fault{Route: "PATCH /flow_runs/{id}/labels", Status: 422}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				api := fake.New(fake.Options{Version: tc.version})
				c := clientOf(t, api, prefect3.Options{})
				id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
				run, claim := win(t, c, id)
				if tc.fault.Route != "" {
					api.Break(tc.fault)
				}
				if err := c.Launched(t.Context(), run, claim); (err != nil) != tc.fails {
					t.Errorf("it ended with %v", err)
				}
				now := api.Runs(id)[0]
				if has := now.PID != ""; has != (tc.fault.Route != "PATCH /flow_runs/{id}") {
					t.Errorf("its pid is %q", now.PID)
				}
				if has := now.Labels["prefect-keda.claim"] != ""; has != (tc.fault.Route == "PATCH /flow_runs/{id}") {
					t.Errorf("its labels are %v", now.Labels)
				}
			})
		})
	}
}

// A claim whose Job is known to Prefect gets no other Job, and without its Job it is
// silent. An observer that has overwritten the note does not hide whose the run is.
func TestLaunchedRunsAreSilentWithoutTheirJob(t *testing.T) {
	for name, overwrite := range map[string]func(api *fake.API, id string){
		"as it was claimed": func(*fake.API, string) {},
		"after an observer": func(api *fake.API, id string) {
			api.Propose(id, fake.Proposal{Type: "PENDING", Name: "InfrastructurePending", Message: "Kubernetes pod is pending."})
		},
		"running":    func(api *fake.API, id string) { api.Begin(id) },
		"cancelling": func(api *fake.API, id string) { api.Cancel(id) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				api := fake.New(fake.Options{})
				c := clientOf(t, api, prefect3.Options{})
				id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
				run, claim := win(t, c, id)
				if err := c.Launched(t.Context(), run, claim); err != nil {
					t.Fatal(err)
				}
				overwrite(api, id)
				rows, err := c.Claimed(t.Context(), prefect.Scope{})
				if err != nil || len(rows) > 0 {
					t.Errorf("it wants a Job: %+v, %v", rows, err)
				}
				got, err := c.Supervise(t.Context(), nil, nil)
				if err != nil || len(got.Silent) != 1 || got.Silent[0].Claim != claim || got.Silent[0].NeverBegan != (name == "cancelling") {
					t.Errorf("without its Job: %+v, %v", got.Silent, err)
				}
				if now := readRun(t, c, id); now.State.Phase == prefect.Claimed && (now.Claim == nil || *now.Claim != claim || now.Attempt != claim.Attempt || !now.HasJob) {
					t.Errorf("read alone it is claimed by %+v, attempt %s, and it has a Job: %v", now.Claim, now.Attempt, now.HasJob)
				}
				got, err = c.Supervise(t.Context(), nil, []string{id})
				if err != nil || len(got.Silent) > 0 {
					t.Errorf("with its Job: %+v, %v", got.Silent, err)
				}
			})
		})
	}
}

// The runs of a real worker are its own business.
func TestOthersRunsAreNotSilent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		ids := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now(), Count: 3})
		other := prefect.Claim{Namespace: "default", Job: "noisy-finch-4f2"}
		for n, id := range ids {
			if n == 0 { // we launched it, and after a restart the worker did
				run, claim := win(t, c, id)
				if err := c.Launched(t.Context(), run, claim); err != nil {
					t.Fatal(err)
				}
				api.Reschedule(id)
			}
			api.Propose(id, fake.Proposal{Type: "PENDING", Transition: "00000000-0000-4000-8000-00000000000" + string(rune('0'+n))})
			api.SetPID(id, other.Namespace+":"+other.Job)
			if n < 2 {
				api.Begin(id)
			}
		}
		got, err := c.Supervise(t.Context(), nil, nil)
		if err != nil || len(got.Silent) > 0 {
			t.Errorf("%+v, %v", got.Silent, err)
		}
		if rows, err := c.Claimed(t.Context(), prefect.Scope{}); err != nil || len(rows) > 0 {
			t.Errorf("claims: %+v, %v", rows, err)
		}
	})
}

// What a launcher that died did not tell of its Jobs the next one tells, once.
func TestKeepTellsOfTheJob(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
		_, claim := win(t, c, id)
		run := readRun(t, c, id)
		if wait := time.Until(run.KeepBy); wait <= 0 || wait > time.Minute {
			t.Errorf("Prefect is to be told in %s", wait)
		}
		if _, err := c.Keep(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		if now := readRun(t, c, id); !now.KeepBy.IsZero() || !now.HasJob || api.Runs(id)[0].PID != "flows:"+claim.Job {
			t.Errorf("told, it is %+v, pid %s", now, api.Runs(id)[0].PID)
		}
	})
}

// The lease of a run whose launcher died before it could renew it is kept by the next one.
func TestKeep(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s", Limit: new(1)})
		id := api.CreateRuns(fake.Order{Deployment: deployment, At: time.Now()})[0]
		_, claim := win(t, c, id)
		run := readRun(t, c, id)
		if wait := time.Until(run.KeepBy); wait <= 0 || wait > time.Minute {
			t.Errorf("its lease must be renewed in %s", wait)
		}
		next, err := c.Keep(t.Context(), run)
		if err != nil || time.Until(next) < time.Hour {
			t.Errorf("the next time is %s, %v", next, err)
		}
		after := readRun(t, c, id)
		if after.KeepBy.Sub(next).Abs() > time.Second || after.Revision != run.Revision || api.Runs(id)[0].PID != "flows:"+claim.Job {
			t.Errorf("kept until %s it is %+v, pid %s", next, after, api.Runs(id)[0].PID)
		}
	})
}

// A run whose lease the server has lost would be cancelled when its pod begins. It is
// claimed again, and its Job stays.
func TestKeepAfterTheServerRestarted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s", Limit: new(1)})
		id := api.CreateRuns(fake.Order{Deployment: deployment, At: time.Now()})[0]
		run, claim := win(t, c, id)
		api.Restart()
		if err := c.Launched(t.Context(), run, claim); err != nil {
			t.Errorf("a lost lease is no reason to fail: %v", err)
		}
		if _, err := c.Keep(t.Context(), readRun(t, c, id)); err != nil {
			t.Fatal(err)
		}
		if now := readRun(t, c, id); now.State.Phase != prefect.Waiting || now.Fresh || api.Taken(deployment) != 0 {
			t.Errorf("it is %+v, and %d slots are taken", now, api.Taken(deployment))
		}
		again, claim := win(t, c, id)
		if err := c.Launched(t.Context(), again, claim); err != nil {
			t.Fatal(err)
		}
		if got := api.Begin(id); got.Status != "ACCEPT" {
			t.Errorf("its pod begins: %+v", got)
		}
	})
}

// A second reason replaces the first, and the run keeps its claim through both.
func TestPending(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
		win(t, c, id)
		for _, why := range []string{"no node has room", "no node has room", "the image cannot be pulled"} {
			if err := c.Pending(t.Context(), readRun(t, c, id), why); err != nil {
				t.Fatal(err)
			}
		}
		var names []string
		for _, s := range api.Runs(id)[0].History {
			first, _, _ := strings.Cut(s.Message, "\n")
			names = append(names, s.Name+": "+first)
		}
		want := []string{"InfrastructurePending: no node has room", "Submitting: the image cannot be pulled", "InfrastructurePending: the image cannot be pulled"}
		if diff := cmp.Diff(want, names[2:]); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		before := readRun(t, c, id)
		api.Begin(id)
		if err := c.Pending(t.Context(), before, "too late"); err != nil || api.Runs(id)[0].Type != "RUNNING" {
			t.Errorf("once it runs: %v, it is %s", err, api.Runs(id)[0].Type)
		}
	})
}

// An end that the run has not come to is an error.
func TestEndsThatAreRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		ids := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now(), Count: 3})
		failure := prefect.Failure{Kind: prefect.ByInfrastructure, Message: "Oh!"}
		for n, end := range []string{"COMPLETED", "CRASHED", "CANCELLED"} {
			run, _ := win(t, c, ids[n])
			api.End(ids[n], end, "")
			if err := c.Fail(t.Context(), run, failure); (err == nil) != (end == "CRASHED") {
				t.Errorf("%s: failed with %v", end, err)
			}
			if err := c.Cancelled(t.Context(), run, "stop"); (err == nil) != (end == "CANCELLED") && end != "COMPLETED" {
				t.Logf("%s: cancelled with %v", end, err)
			}
		}
		waits := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
		if err := c.Cancelled(t.Context(), readRun(t, c, waits), "stop"); err != nil || api.Runs(waits)[0].Type != "CANCELLED" {
			t.Errorf("a run that waits: %v, it is %s", err, api.Runs(waits)[0].Type)
		}
		if err := c.Fail(t.Context(), prefect.FlowRun{ID: "nobody's"}, failure); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("nobody's run: %v", err)
		}
	})
}
