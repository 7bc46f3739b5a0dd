package launcher

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
	"github.com/prefect-keda/prefect-keda/trouble/resolve"
)

// stopping is a launcher's view of the world that stops it, right before a call is
// sent, for longer than that call may be late.
type stopping struct {
	*eyes
	before string
	long   time.Duration
}

func (s stopping) stop(op string) {
	if op == s.before {
		time.Sleep(s.long) // whatever its context says: a process that is stopped does not hear
	}
}

func (s stopping) Events(ctx context.Context, namespace string, of types.UID) ([]corev1.Event, error) {
	s.stop("events")
	return s.eyes.Events(ctx, namespace, of)
}

func (s stopping) Fail(ctx context.Context, run prefect.FlowRun, f prefect.Failure) error {
	s.stop("fail")
	return s.eyes.Fail(ctx, run, f)
}

func (s stopping) Cancelled(ctx context.Context, run prefect.FlowRun, message string) error {
	s.stop("cancel")
	return s.eyes.Cancelled(ctx, run, message)
}

func (s stopping) Remove(ctx context.Context, j *batchv1.Job) error {
	s.stop("remove")
	return s.eyes.Remove(ctx, j)
}

func (s stopping) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	s.stop("hand back")
	return s.eyes.HandBack(ctx, run, at, message)
}

// Who sees to a Job and is stopped on the way sends no write of the run's state that
// is no longer known to be right, and once the case is another's nothing at all.
func TestWhoIsStoppedWritesNothingLate(t *testing.T) {
	failedPod := func() []*corev1.Pod { return []*corev1.Pod{podOf("r", oomKilled())} }
	for name, tc := range map[string]struct {
		state  string
		pods   func() []*corev1.Pod
		before string
		long   time.Duration
		noted  bool // it may still say when the Job is to be seen to again
	}{
		"before it failed the run":     {"Running", failedPod, "fail", claims.SendWithin + time.Second, true},
		"before it set it Cancelled":   {"Cancelling", func() []*corev1.Pod { return []*corev1.Pod{podOf("r", running())} }, "cancel", claims.SendWithin + time.Second, true},
		"before it handed the run on":  {"Submitted", func() []*corev1.Pod { return []*corev1.Pod{podOf("r", rejected())} }, "hand back", claims.SendWithin + time.Second, true},
		"for half the lease":           {"Running", failedPod, "events", resolve.LeaseFor/2 + time.Second, false},
		"for half the lease, to write": {"Running", failedPod, "fail", resolve.LeaseFor/2 + time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := run("r").in(tc.state)
				r.StateAt = time.Now().Add(-time.Hour)
				m, st := newMemory(r), emptyStore()
				st.jobs["job-r"], st.pods = jobOfRun("r"), tc.pods()
				y := stopping{&eyes{memory: m, store: st}, tc.before, tc.long}
				o := options("me").withDefaults()
				o.DeleteFinished, o.Rules.CancelGrace = true, 10*time.Minute
				l := newLauncher(o, y, template{}, y)
				began := time.Now()
				out := carriedOut(t, l, Action{Kind: Resolve, Run: prefect.FlowRun{ID: "r"}, Job: "job-r"})
				if len(m.writes) > 0 || out.result != broken {
					t.Errorf("it came to %s: %q", out.result, m.writes)
				}
				if len(st.jobs) != 1 {
					t.Fatal("the Job is gone")
				}
				want := trouble.Note{By: "me", Until: began.Add(resolve.LeaseFor)}
				if tc.noted {
					want = trouble.Note{Until: began.Add(claims.SendWithin + time.Second + time.Minute), Tries: 1}
				}
				got := trouble.NoteOf(st.jobs["job-r"])
				got.Stories, want.Until, got.Until = nil, want.Until.UTC(), got.Until.UTC()
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("the note (-want +got):\n%s", d)
				}
				if !tc.noted && tc.before == "events" && len(m.infraLines("r")) > 0 {
					t.Errorf("told %q", m.infraLines("r"))
				}
			})
		})
	}
}

// Kubernetes may have made another pod of it by then, which has set the run Running.
// It may go on with its Job, as may the run once it is due.
func TestJobIsNotStoppedLongAfterItsRunWasHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, st := newMemory(run("r").in("Submitted")), emptyStore()
		st.jobs["job-r"], st.pods = jobOfRun("r"), []*corev1.Pod{podOf("r", rejected())}
		y := stopping{&eyes{memory: m, store: st}, "remove", claims.SendWithin + time.Second}
		o := options("me").withDefaults()
		o.DeleteFinished = true
		carriedOut(t, newLauncher(o, y, template{}, y), Action{Kind: Resolve, Run: prefect.FlowRun{ID: "r"}, Job: "job-r"})
		if d := cmp.Diff([]string{"hand back r Scheduled"}, m.writes); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
		if j := st.jobs["job-r"]; j == nil || trouble.Terminating(j, nil) {
			t.Error("the Job was given up")
		}
	})
}
