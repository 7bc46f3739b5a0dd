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

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
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

func (s stopping) events(ctx context.Context, of types.UID) ([]corev1.Event, error) {
	s.stop("events")
	return s.eyes.events(ctx, of)
}

func (s stopping) Fail(ctx context.Context, run prefect.FlowRun, message string) error {
	s.stop("fail")
	return s.eyes.Fail(ctx, run, message)
}

func (s stopping) Cancel(ctx context.Context, run prefect.FlowRun, message string) error {
	s.stop("cancel")
	return s.eyes.Cancel(ctx, run, message)
}

func (s stopping) remove(ctx context.Context, j *batchv1.Job) error {
	s.stop("remove")
	return s.eyes.remove(ctx, j)
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
		state  prefect.StateType
		pods   func() []*corev1.Pod
		before string
		long   time.Duration
		noted  bool // it may still say when the Job is to be seen to again
	}{
		"before it failed the run":     {prefect.Running, failedPod, "fail", claimWithin + time.Second, true},
		"before it set it Cancelled":   {prefect.Cancelling, func() []*corev1.Pod { return []*corev1.Pod{podOf("r", running())} }, "cancel", claimWithin + time.Second, true},
		"before it handed the run on":  {prefect.Submitted, func() []*corev1.Pod { return []*corev1.Pod{podOf("r", rejected())} }, "hand back", claimWithin + time.Second, true},
		"for half the lease":           {prefect.Running, failedPod, "events", leaseFor/2 + time.Second, false},
		"for half the lease, to write": {prefect.Running, failedPod, "fail", leaseFor/2 + time.Second, false},
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
				out := l.perform(t.Context(), &errand{Action: Action{Kind: Resolve, Run: prefect.FlowRun{ID: "r"}, Job: "job-r"}})
				if len(m.writes) > 0 || out.result != broken {
					t.Errorf("it came to %s: %q", out.result, m.writes)
				}
				if len(st.jobs) != 1 {
					t.Fatal("the Job is gone")
				}
				want := trouble.Note{By: "me", Until: began.Add(leaseFor)}
				if tc.noted {
					want = trouble.Note{Until: began.Add(claimWithin + time.Second + time.Minute), Tries: 1}
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
		m, st := newMemory(run("r").in(prefect.Submitted)), emptyStore()
		st.jobs["job-r"], st.pods = jobOfRun("r"), []*corev1.Pod{podOf("r", rejected())}
		y := stopping{&eyes{memory: m, store: st}, "remove", claimWithin + time.Second}
		o := options("me").withDefaults()
		o.DeleteFinished = true
		newLauncher(o, y, template{}, y).perform(t.Context(), &errand{Action: Action{Kind: Resolve, Run: prefect.FlowRun{ID: "r"}, Job: "job-r"}})
		if d := cmp.Diff([]string{"hand back r Scheduled"}, m.writes); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
		if j := st.jobs["job-r"]; j == nil || trouble.Leaving(j, nil) {
			t.Error("the Job was given up")
		}
	})
}
