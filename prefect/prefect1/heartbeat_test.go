package prefect1_test

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// A claimed run tells the time of its last heartbeat, and one more keeps Lazarus away
// (prefect1-server §f).
func TestHeartbeatOfAClaimedRun(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	api := prefecttest.New(prefecttest.Options{Now: func() time.Time { return now }})
	c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	id := api.CreateRuns(prefecttest.Order{})[0]
	run, err := c.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Claim(t.Context(), run, prefect.Claim{Launcher: "l", Namespace: "flows", Job: "j", Attempt: "v1"}); err != nil || r.Answer != prefect.Won {
		t.Fatal(r, err)
	}
	claimed := now
	beat := func(want time.Time) {
		t.Helper()
		o, err := c.Observe(t.Context(), now)
		if err != nil || len(o.Claimed) != 1 {
			t.Fatalf("observed %+v, %v", o, err)
		}
		if got := o.Claimed[0]; !got.KeepBy.Equal(want.Add(3*time.Minute)) || got.KeepFor != 3*time.Minute {
			t.Errorf("observed that a sign of life is needed by %s, want 3 minutes after %s", got.KeepBy, want)
		}
		rows, err := c.Claimed(t.Context(), prefect.Scope{})
		if err != nil || len(rows) != 1 || !rows[0].Heartbeat.Equal(want) || !rows[0].KeepBy.Equal(want.Add(3*time.Minute)) {
			t.Errorf("read %+v, %v; want a heartbeat of %s, and the next one 3 minutes later", rows, err, want)
		}
	}
	beat(claimed)
	for range 5 {
		now = now.Add(9 * time.Minute)
		if next, err := c.Keep(t.Context(), run); err != nil || time.Until(next).Round(time.Second) != 3*time.Minute {
			t.Fatal(next, err)
		}
		beat(now)
		if n := api.Lazarus(); n != 0 {
			t.Fatalf("Lazarus took %d runs %s after the claim", n, now.Sub(claimed))
		}
	}
	now = now.Add(10 * time.Minute)
	if n := api.Lazarus(); n != 1 {
		t.Errorf("Lazarus took %d runs 10 minutes after the last heartbeat, want 1", n)
	}
}
