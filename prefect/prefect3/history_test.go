package prefect3_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// A run that became late, or found no slot, between its read and its claim has not moved
// on: the server has only renamed its waiting.
func TestHistoryOfALateRun(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
		early := readRun(t, c, id)
		time.Sleep(time.Minute)
		if late := readRun(t, c, id); late.Attempt == early.Attempt || !late.Fresh || late.State.Name != "Late" {
			t.Fatalf("after a minute it is %+v", late)
		}
		claim := claimOf("a", early)
		if r, err := c.Claim(t.Context(), early, claim); err != nil || r.Answer != prefect.Won {
			t.Fatalf("%+v, %v", r, err)
		}
		h, err := c.History(t.Context(), id, early.Attempt)
		if err != nil || h.IsLate() || h.Run.Attempt != early.Attempt {
			t.Errorf("%+v, %v", h, err)
		}
		if diff := cmp.Diff([]prefect.Claim{claim}, h.Claims); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// A claim that revived a finished run, and whose claimer died before it could put the run
// back, shows as late to whoever finds it.
func TestHistoryOfARevivedRun(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
		run := readRun(t, c, id)
		api.Begin(id)
		api.End(id, "FAILED", "Oh!")
		api.Break(fake.Fault{Route: "GET /flow_run_states/{$}", Status: 500})
		api.Break(fake.Fault{Route: "GET /flow_run_states/", Status: 500})
		if r, err := c.Claim(t.Context(), run, claimOf("a", run)); err != nil || r.Answer != prefect.Lost {
			t.Fatalf("%+v, %v", r, err)
		}
		api.Mend()
		h, err := c.History(t.Context(), id, run.Attempt)
		if err != nil || !h.IsLate() || h.Reached.Name != "Failed" {
			t.Fatalf("%+v, %v", h, err)
		}
		if err := c.Restore(t.Context(), h.Run, h.Reached); err != nil {
			t.Fatal(err)
		}
		if now := api.Runs(id)[0]; now.Type != "FAILED" || now.Message != "Oh!" || now.Count != 1 {
			t.Errorf("it is %+v", now)
		}
	})
}

// People read the states of a run without our notes in them.
func TestStates(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
		_, claim := win(t, c, id)
		if err := c.Pending(t.Context(), readRun(t, c, id), "no node has room"); err != nil {
			t.Fatal(err)
		}
		run := readRun(t, c, id)
		run.HandedBack = 2
		if err := c.HandBack(t.Context(), run, time.Now(), "no pod began"); err != nil {
			t.Fatal(err)
		}
		all, err := c.States(t.Context(), id, 3)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range all {
			line := s.Name + ": " + s.Message
			if s.Claim != nil && *s.Claim == claim {
				line += " (ours)"
			}
			got = append(got, line)
		}
		if diff := cmp.Diff([]string{"AwaitingRetry: no pod began", "InfrastructurePending: no node has room (ours)", "Pending:  (ours)"}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if _, err := c.States(t.Context(), "nobody's", 3); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("of nobody's run: %v", err)
		}
	})
}

// The count of slots of a pool is our own where servers have none, and the claims of an
// observer that left no label are found in the history.
func TestOldServers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{Version: "2.20.26"})
		c := clientOf(t, api, prefect3.Options{})
		api.CreatePool(fake.Pool{Name: "k8s", Limit: new(2)})
		ids := api.CreateRuns(fake.Order{Pool: "k8s", Count: 4, At: time.Now().Add(-time.Minute)})
		run, claim := win(t, c, ids[0])
		if err := c.Launched(t.Context(), run, claim); err != nil {
			t.Fatal(err)
		}
		if due := dueRuns(t, c, 10); len(due) != 1 {
			t.Errorf("%d runs are offered beside the one that is claimed, want 1", len(due))
		}
		api.Begin(ids[0])
		got, err := c.Supervise(t.Context(), nil, nil)
		if err != nil || len(got.Silent) != 1 || got.Silent[0].Claim != claim {
			t.Errorf("%+v, %v", got, err)
		}
		if version, err := c.ServerVersion(t.Context()); err != nil || version != "2.20.26" {
			t.Errorf("its version is %q, %v", version, err)
		}
	})
}
