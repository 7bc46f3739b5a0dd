package launcher

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

func TestRunWhoseJobIsGone(t *testing.T) {
	for name, tc := range map[string]struct {
		claim   prefect.Claim
		objects func() []any
		want    string
	}{
		"nothing is left": {prefect.Claim{Namespace: "flows", Job: "job-r"}, nil, "Failed Kubernetes Error: Job job-r was deleted while its run was Running"},
		"its pod lives":   {prefect.Claim{Namespace: "flows", Job: "job-r"}, func() []any { return []any{podOf("r", corev1.PodStatus{Phase: corev1.PodRunning})} }, "Running "},
		"its Job has ended": {
			prefect.Claim{Namespace: "flows", Job: "job-r"},
			func() []any {
				return []any{jobOfRun("r", completed), podOf("r", corev1.PodStatus{Phase: corev1.PodSucceeded})}
			},
			"Failed Kubernetes Error: Job job-r has ended and its run is still Running, without a sign of life",
		},
		"its flow has ended, a sidecar has not": {
			prefect.Claim{Namespace: "flows", Job: "job-r"},
			func() []any { return []any{jobOfRun("r"), besideProxy(died(0), lives())} },
			"Failed Kubernetes Error: the flow of Job job-r has ended and its run is still Running, without a sign of life",
		},
		"an earlier Job was kept": {
			prefect.Claim{Namespace: "flows", Job: "job-r2"},
			func() []any {
				return []any{jobOfRun("r", givenUp, func(j *batchv1.Job) { j.Annotations = map[string]string{trouble.Annotation: `{"done":true}`} })}
			},
			"Failed Kubernetes Error: Job job-r2 was deleted while its run was Running",
		},
		"another Job serves it": {prefect.Claim{Namespace: "flows", Job: "job-old"}, func() []any { return []any{jobOfRun("r")} }, "Running "},
		"another namespace's":   {prefect.Claim{Namespace: "elsewhere", Job: "job-r"}, nil, "Running "},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory()
				m.setSilent("r", tc.claim)
				client := fake.NewClientset()
				if tc.objects != nil {
					add(t, client, tc.objects()...)
				}
				// Several launchers find the same, and the run is told once.
				for i := range 3 {
					b := startWith(t, m, client, func(o *Options, _ *fake.Clientset) { o.Name, o.IdleTimeout = fmt.Sprint("l", i), time.Hour })
					defer b.stop()
				}
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				if got := fmt.Sprintf("%s %s", m.get("r").State.Name, m.get("r").State.Message); got != tc.want {
					t.Errorf("the run is %q, want %q", got, tc.want)
				}
				if n := len(m.infraLines("r")); strings.HasPrefix(tc.want, "Failed") != (n == 1) {
					t.Errorf("told %d times: %q", n, m.infraLines("r"))
				}
			})
		})
	}
}

// sluggish is a cluster whose lists take longer than a run may be written after it
// was read.
type sluggish struct {
	*eyes
	meanwhile func()
}

func (s sluggish) Inspect(ctx context.Context, run string) ([]*batchv1.Job, []*corev1.Pod, error) {
	time.Sleep(claims.SendWithin + time.Second)
	s.meanwhile()
	return s.eyes.Inspect(ctx, run)
}

// Slow lists neither keep a run whose Job is gone from being failed nor have one
// failed that has finished meanwhile.
func TestRunWhoseJobIsGoneIsReadRightBeforeItIsFailed(t *testing.T) {
	for meanwhile, want := range map[string]string{"Running": "Failed", "Success": "Success"} {
		t.Run("meanwhile "+string(meanwhile), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(run("r").in("Running"))
				cluster := sluggish{&eyes{memory: m, store: emptyStore()}, func() {
					if meanwhile != "Running" {
						_ = m.setState(t.Context(), "pod", "r", inState(meanwhile))
					}
				}}
				l := newLauncher(options("me").withDefaults(), m, template{}, cluster)
				carriedOut(t, l, Action{
					Kind: Resolve, Run: prefect.FlowRun{ID: "r"}, Job: "job-r", Finding: trouble.Finding{Kind: trouble.JobGone, Final: true},
				})
				if got := m.get("r").State.Name; got != want {
					t.Errorf("the run is %s, want %s", got, want)
				}
			})
		})
	}
}

// A run whose pod never began it is failed too if Prefect knows of the Job that is gone. If it
// does not, the run still gets its Job.
func TestClaimedRunWhoseJobIsGone(t *testing.T) {
	for name, tc := range map[string]struct {
		run  func() *runBuilder
		want string
	}{
		"its Job is known":     {func() *runBuilder { return submitted(2, ours("v1")).known() }, "Failed Kubernetes Error: Job job-r was deleted while its run was Submitted"},
		"its Job is not known": {func() *runBuilder { return submitted(2, ours("v1")) }, "Submitted "},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.run())
				l := newLauncher(options("me").withDefaults(), m, template{}, &eyes{memory: m, store: emptyStore()})
				carriedOut(t, l, Action{
					Kind: Resolve, Run: prefect.FlowRun{ID: "r"}, Job: "job-r", Finding: trouble.Finding{Kind: trouble.JobGone, Final: true},
				})
				if got := fmt.Sprintf("%s %s", m.get("r").State.Name, m.get("r").State.Message); got != tc.want {
					t.Errorf("the run is %q, want %q", got, tc.want)
				}
			})
		})
	}
}
