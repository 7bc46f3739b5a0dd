package fake_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

func TestPausesAndLimitsHoldOffersBackButNotClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, fake.Options{})
		s.CreatePool(fake.Pool{Name: "p", Limit: new(3)})
		s.CreateQueue(fake.Queue{Pool: "p", Name: "hi", Priority: 1})
		s.CreateQueue(fake.Queue{Pool: "p", Name: "lo", Priority: 5, Limit: new(1)})
		due := func(queue string, late time.Duration) string {
			return s.CreateRuns(fake.Order{Pool: "p", Queue: queue, At: time.Now().Add(-late)})[0]
		}
		lo, lower := due("lo", 10*time.Second), due("lo", 9*time.Second)
		plain := due("default", 8*time.Second)
		hi, higher := due("hi", 2*time.Second), due("hi", time.Second)
		future := due("hi", -time.Hour)
		before := fields{"scheduled_before": time.Now()}
		if diff := cmp.Diff([]string{hi, higher, plain}, s.offered("p", before)); diff != "" {
			t.Error("by priority, then time, up to the pool's limit:", diff)
		}
		s.CreatePool(fake.Pool{Name: "p"})
		if diff := cmp.Diff([]string{hi, higher, plain, lo}, s.offered("p", before)); diff != "" {
			t.Error("one of the limited queue:", diff)
		}
		if got := s.offered("p", fields{}); !slices.Contains(got, future) {
			t.Error("without a bound the future is offered too:", got)
		}
		s.CreateQueue(fake.Queue{Pool: "p", Name: "hi", Paused: true})
		if diff := cmp.Diff([]string{plain, lo}, s.offered("p", before)); diff != "" {
			t.Error("not of a paused queue:", diff)
		}
		s.CreatePool(fake.Pool{Name: "p", Paused: true})
		if got := s.offered("p", before); len(got) != 0 {
			t.Error("a paused pool offers", got)
		}
		for _, id := range []string{hi, lo, lower} {
			if got := s.claim(id, one); got != "ACCEPT" {
				t.Error("claim", got)
			}
		}
		s.CreatePool(fake.Pool{Name: "p", Limit: new(2)})
		row := s.ok("GET", "/work_pools/p", nil).(fields)
		if row["active_slots"] != 3.0 {
			t.Error("slots taken:", row["active_slots"])
		}
	})
}

func TestServicesActWhenSomebodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, fake.Options{})
		id := s.CreateRuns(fake.Order{Pool: "p"})[0]
		time.Sleep(14 * time.Second)
		if got := s.Runs(id)[0].State; got != "Scheduled" {
			t.Error("after 14 s:", got)
		}
		time.Sleep(2 * time.Second)
		if got := s.Runs(id)[0].State; got != "Late" {
			t.Error("after 16 s:", got)
		}
		s.claim(id, one)
		s.Cancel(id)
		time.Sleep(301 * time.Second)
		time.Sleep(30 * time.Second)
		if got := s.Runs(id)[0].Type; got != "CANCELLED" {
			t.Error("cancelled 331 s ago:", got)
		}
	})
}

func TestSchedulesInsertRunsAheadAndSilently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, fake.Options{})
		d := s.CreateDeployment(fake.Deployment{Pool: "p", Every: time.Minute})
		if runs := s.Runs(); len(runs) != 0 {
			t.Error("at once:", len(runs))
		}
		time.Sleep(6 * time.Second)
		runs := s.Runs()
		if len(runs) != 60 {
			t.Errorf("%d runs for an hour", len(runs))
		}
		if events := s.Events(); len(events) != 0 {
			t.Error("events:", events)
		}
		time.Sleep(10 * time.Minute)
		if ahead := s.Runs()[len(s.Runs())-1].Due; ahead.Before(time.Now().Add(59 * time.Minute)) {
			t.Error("the newest is due in", time.Until(ahead))
		}
		s.PauseDeployment(d, true)
		if left := s.States()["SCHEDULED"]; left != 0 {
			t.Error("left by a pause:", left)
		}
	})
}

func TestPoolsAndQueuesTellOfPauses(t *testing.T) {
	s := newStand(t, fake.Options{})
	s.CreatePool(fake.Pool{Name: "p"})
	for _, body := range []fields{{"is_paused": true}, {"is_paused": false}, {"concurrency_limit": 3}} {
		s.ok("PATCH", "/work_pools/p", body)
	}
	s.ok("POST", "/work_pools/p/workers/heartbeat", fields{"name": "w"})
	s.ok("PATCH", "/work_pools/p/queues/default", fields{"is_paused": true})
	s.ok("PATCH", "/work_pools/p/queues/default", fields{"is_paused": false})
	s.offered("p", fields{})
	want := []string{
		"prefect.work-pool.paused", "prefect.work-pool.not-ready", "prefect.work-pool.updated", "prefect.work-pool.ready",
		"prefect.work-queue.paused", "prefect.work-queue.not-ready", "prefect.work-queue.ready",
	}
	if diff := cmp.Diff(want, s.Events()); diff != "" {
		t.Error(diff)
	}
}

func TestPausesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, fake.Options{})
		id := s.CreateRuns(fake.Order{Pool: "p"})[0]
		s.Begin(id)
		s.ok("POST", "/flow_runs/"+id+"/set_state", fields{"state": fields{"type": "PAUSED", "state_details": fields{"pause_timeout": time.Now().Add(time.Minute)}}})
		time.Sleep(59 * time.Second)
		if got := s.Runs(id)[0].Type; got != "PAUSED" {
			t.Error("before its time:", got)
		}
		time.Sleep(time.Minute)
		if got := s.Runs(id)[0]; got.Type != "FAILED" || got.Message != "The flow was paused and never resumed." {
			t.Error("after its time:", got.Type, got.Message)
		}
	})
}

func TestRestartForgetsLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, fake.Options{})
		d := s.CreateDeployment(fake.Deployment{Pool: "p", Limit: new(1)})
		id := s.CreateRuns(fake.Order{Deployment: d})[0]
		s.claim(id, one)
		lease := s.Runs(id)[0].Lease
		renew := func() int {
			status, _ := s.call("POST", "/v2/concurrency_limits/leases/"+lease+"/renew", fields{"lease_duration": 300})
			return status
		}
		if got := renew(); got != 204 {
			t.Error("before:", got)
		}
		s.Restart()
		if got := renew(); got != 410 {
			t.Error("after:", got)
		}
		if s.Taken(d) != 1 {
			t.Error("the slot is free")
		}
		if got := s.Begin(id); got.Status != "REJECT" || got.Type != "CANCELLED" {
			t.Error("the pod begins:", got)
		}
	})
}
