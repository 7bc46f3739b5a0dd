package launcher

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/job"
)

// The Job says when its run was due, claimed and given its Job, whoever claimed. People see it
// on the scaler's page.
func TestJobTellsOfItsLaunch(t *testing.T) {
	for name, tc := range map[string]struct {
		run     *runBuilder
		kind    Kind
		claimed time.Duration // after the start; negative if it is not
	}{
		"launched":         {run("r").labels("etl"), Launch, 2 * time.Second},
		"repaired":         {submitted(2, ours("v1")).labels("etl"), Repair, time.Second},
		"before its claim": {run("r").version(3).retrying("t", 4, time.Time{}).labels("etl"), Relaunch, -1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				start := time.Now()
				l, world := alone(newMemory(tc.run.due(start).since(start.Add(time.Second))))
				pass := func() { time.Sleep(2 * time.Second) }
				if tc.kind == Launch {
					world.before["claim"] = pass
				} else {
					pass()
				}
				a := Action{Kind: tc.kind, Run: world.memory.get("r")}
				a.Run.ReadAt = time.Now()
				if o := carriedOut(t, l, a); o.result != done {
					t.Fatalf("%s: %v", o.result, o.err)
				}
				var got job.Launch
				for _, j := range world.store.jobs {
					got, _ = job.NotedLaunch(j)
				}
				want := job.Launch{Due: a.Run.Due.UTC(), Created: start.Add(2 * time.Second).UTC(), Flow: "flow", Labels: []string{"etl"}}
				if tc.claimed >= 0 {
					want.Claimed = start.Add(tc.claimed).UTC()
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}
