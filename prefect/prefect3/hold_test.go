package prefect3

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// waitingRun is a run that has been due for so many seconds.
func waitingRun(id, pool, queue string, late int, deployment string) *runRow {
	r := &runRow{ID: id, StateID: "state of " + id, StateType: typeScheduled, StateName: nameScheduled, Pool: pool, Queue: queue, Deployment: deployment, State: &state{}}
	r.Next = moment{noon.Add(-time.Duration(late) * time.Second)}
	return r
}

func poolsOf(pools ...poolRow) map[string]poolRow {
	all := map[string]poolRow{}
	for _, p := range pools {
		all[poolKey(placeIn(p.Name))] = p
	}
	return all
}

func queuesOf(queues ...queueRow) map[string]queueRow {
	all := map[string]queueRow{}
	for _, q := range queues {
		all[queueKey(prefect.Place{Pool: q.Pool, Queue: q.Name})] = q
	}
	return all
}

func deploymentOf(active bool, limit, slots int, strategy string) map[string]deploymentRow {
	d := deploymentRow{ID: "d"}
	d.Options.Strategy = strategy
	d.Global = &struct {
		Active bool `json:"active"`
		Limit  int  `json:"limit"`
		Slots  int  `json:"active_slots"`
	}{active, limit, slots}
	return map[string]deploymentRow{"d": d}
}

func TestHold(t *testing.T) {
	three := func() []*runRow {
		return []*runRow{waitingRun("c", "k8s", "default", 1, "d"), waitingRun("a", "k8s", "default", 3, "d"), waitingRun("b", "k8s", "default", 2, "")}
	}
	queues := func() []*runRow {
		return []*runRow{
			waitingRun("late", "k8s", "default", 8, ""), waitingRun("low", "k8s", "lo", 10, ""), waitingRun("high-1", "k8s", "hi", 1, ""), waitingRun("high-2", "k8s", "hi", 0, ""),
		}
	}
	priorities := func(lo *int) map[string]queueRow {
		return queuesOf(queueRow{Pool: "k8s", Name: "hi", Priority: 1}, queueRow{Pool: "k8s", Name: "default", Priority: 2}, queueRow{Pool: "k8s", Name: "lo", Priority: 3, Limit: lo, Slots: new(0)})
	}
	for name, tc := range map[string]struct {
		rows []*runRow
		s    surroundings
		free []string
		held map[string]string
	}{
		"nothing limits":       {rows: three(), free: []string{"a", "b", "c"}},
		"a paused pool":        {three(), surroundings{pools: poolsOf(poolRow{Name: "k8s", Paused: true})}, nil, map[string]string{"a": "work pool k8s is paused", "b": "work pool k8s is paused", "c": "work pool k8s is paused"}},
		"another pool":         {three(), surroundings{pools: poolsOf(poolRow{Name: "other", Paused: true, Limit: new(0)})}, []string{"a", "b", "c"}, nil},
		"a pool's limit":       {three(), surroundings{pools: poolsOf(poolRow{Name: "k8s", Limit: new(4), Slots: new(2)})}, []string{"a", "b"}, map[string]string{"c": "work pool k8s limit 4 reached"}},
		"a pool beyond it":     {three(), surroundings{pools: poolsOf(poolRow{Name: "k8s", Limit: new(1), Slots: new(5)})}, nil, map[string]string{"a": "work pool k8s limit 1 reached", "b": "work pool k8s limit 1 reached", "c": "work pool k8s limit 1 reached"}},
		"a paused queue":       {queues(), surroundings{queues: queuesOf(queueRow{Pool: "k8s", Name: "hi", Paused: true, Priority: 1})}, []string{"low", "late"}, map[string]string{"high-1": "work queue hi of work pool k8s is paused", "high-2": "work queue hi of work pool k8s is paused"}},
		"by priority":          {queues(), surroundings{queues: priorities(nil)}, []string{"high-1", "high-2", "late", "low"}, nil},
		"limits by priority":   {queues(), surroundings{pools: poolsOf(poolRow{Name: "k8s", Limit: new(3), Slots: new(0)}), queues: priorities(new(1))}, []string{"high-1", "high-2", "late"}, map[string]string{"low": "work pool k8s limit 3 reached"}},
		"a queue's limit":      {queues(), surroundings{queues: priorities(new(0))}, []string{"high-1", "high-2", "late"}, map[string]string{"low": "work queue lo limit 0 reached"}},
		"a deployment's limit": {three(), surroundings{deployments: deploymentOf(true, 2, 1, "")}, []string{"a", "b"}, map[string]string{"c": "its deployment's concurrency limit 2 has no free slot"}},
		"a limit of 0":         {three(), surroundings{deployments: deploymentOf(true, 0, 0, "")}, []string{"b"}, map[string]string{"a": "its deployment's concurrency limit 0 has no free slot", "c": "its deployment's concurrency limit 0 has no free slot"}},
		"one that is off":      {three(), surroundings{deployments: deploymentOf(false, 5, 0, "")}, []string{"b"}, map[string]string{"a": "its deployment's concurrency limit is not active", "c": "its deployment's concurrency limit is not active"}},
		"one that cancels":     {three(), surroundings{deployments: deploymentOf(true, 1, 1, "CANCEL_NEW")}, []string{"a", "b", "c"}, nil},
		"held runs take no slot of the pool": {
			three(),
			surroundings{pools: poolsOf(poolRow{Name: "k8s", Limit: new(1), Slots: new(0)}), deployments: deploymentOf(true, 1, 1, "")},
			[]string{"b"},
			map[string]string{"a": "its deployment's concurrency limit 1 has no free slot", "c": "its deployment's concurrency limit 1 has no free slot"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			free, held := hold(tc.rows, tc.s)
			var ids []string
			for _, r := range free {
				ids = append(ids, r.ID)
			}
			var why map[string]string
			for _, h := range held {
				if why == nil {
					why = map[string]string{}
				}
				why[h.ID] = h.Why
			}
			if diff := cmp.Diff(tc.free, ids); diff != "" {
				t.Errorf("free (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.held, why); diff != "" {
				t.Errorf("held (-want +got):\n%s", diff)
			}
		})
	}
}

// Own claims count beside what the server said, until it was asked again after them.
func TestLedger(t *testing.T) {
	at := prefect.Place{Pool: "k8s", Queue: "default"}
	read := func(taken int, at time.Time) map[string]seenLimit {
		return map[string]seenLimit{"\x00k8s\x00": {what: "work pool k8s", limit: 2, taken: taken, read: at}}
	}
	keys := []string{"\x00k8s\x00", "queue\x00k8s\x00default"}
	var l ledger
	if full := l.reserve("unknown", at); full != "" {
		t.Errorf("before anything was read it is full: %s", full)
	}
	l.learn(read(0, noon), keys)
	for n, want := range []string{"", "", "work pool k8s limit 2 reached"} {
		if full := l.reserve(fmt.Sprint("run-", n), at); full != want {
			t.Errorf("claim %d: %q, want %q", n, full, want)
		}
	}
	l.settle("run-0", false, noon.Add(time.Second))
	if full := l.reserve("run-2", at); full != "" {
		t.Errorf("a claim that was lost still counts: %s", full)
	}
	l.settle("run-1", true, noon.Add(time.Second))
	l.settle("run-2", true, noon.Add(3*time.Second))
	l.learn(read(1, noon.Add(2*time.Second)), keys) // with run-1, perhaps without run-2
	if full := l.reserve("run-3", at); full == "" {
		t.Error("a claim that the server may not have counted is forgotten")
	}
	l.learn(read(1, noon.Add(4*time.Second)), keys)
	if full := l.reserve("run-3", at); full != "" {
		t.Errorf("claims that the server has counted count twice: %s", full)
	}
	l.settle("run-3", true, noon.Add(5*time.Second))
	l.learn(nil, keys)
	if full := l.reserve("run-4", at); full != "" {
		t.Errorf("without a limit it is full: %s", full)
	}
}
