package launcher

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// ordered tells in which order a Job is stopped and its run judged.
type ordered struct {
	*eyes
	all []string
}

func (o *ordered) did(what string, err error) error {
	o.all = append(o.all, what)
	return err
}

func (o *ordered) Release(ctx context.Context, j *batchv1.Job, n trouble.Note, e jobs.Ending) error {
	if !e.Stop {
		return o.eyes.Release(ctx, j, n, e)
	}
	return o.did("stop", o.eyes.Release(ctx, j, n, e))
}

func (o *ordered) Remove(ctx context.Context, j *batchv1.Job) error {
	return o.did("remove", o.eyes.Remove(ctx, j))
}

func (o *ordered) Fail(ctx context.Context, run prefect.FlowRun, f prefect.Failure) error {
	return o.did("fail", o.eyes.Fail(ctx, run, f))
}

func (o *ordered) Cancelled(ctx context.Context, run prefect.FlowRun, message string) error {
	return o.did("cancel", o.eyes.Cancelled(ctx, run, message))
}

// In some Prefects a pod begins a run that has failed. So a Job of which a pod may yet come
// is stopped before the verdict.
func TestPodsAreStoppedBeforeTheVerdict(t *testing.T) {
	cancelled := func(m *memory) { _ = m.setState(t.Context(), "person", "r", inState("Cancelling")) }
	for name, tc := range map[string]struct {
		job    func(*batchv1.Job)
		pod    corev1.PodStatus
		before func(*memory)
		find   trouble.Finding
		want   []string
	}{
		"an image that cannot be pulled": {nil, cannotPull(), nil, trouble.Finding{Kind: trouble.ImagePull}, []string{"stop", "fail", "remove"}},
		"a pod that another may follow":  {nil, oomKilled(), nil, trouble.Finding{Kind: trouble.Failed}, []string{"stop", "fail", "remove"}},
		"a Job that was given up":        {givenUp, oomKilled(), nil, trouble.Finding{Kind: trouble.Failed}, []string{"fail", "remove"}},
		"cancelled before it began":      {nil, cannotPull(), cancelled, trouble.Finding{Kind: trouble.Cancelling, Unbegun: true}, []string{"stop", "cancel", "remove"}},
		"cancelled, and does not react":  {nil, running(), cancelled, trouble.Finding{Kind: trouble.Cancelling}, []string{"stop", "cancel", "remove"}},
		"cancelled, and its pod failed":  {givenUp, oomKilled(), cancelled, trouble.Finding{Kind: trouble.Failed}, []string{"cancel", "remove"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(submitted(2, ours("v1")))
				if tc.before != nil {
					tc.before(m)
				}
				o := &ordered{eyes: &eyes{memory: m, store: emptyStore(), uid: "here"}}
				if tc.job == nil {
					tc.job = func(*batchv1.Job) {}
				}
				o.store.jobs["job-r"], o.store.pods = jobOfRun("r", tc.job), []*corev1.Pod{podOf("r", tc.pod)}
				time.Sleep(5 * time.Minute)
				options := Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks(), DeleteFinished: true, Rules: trouble.Rules{CancelGrace: time.Minute}}
				l := newLauncher(options.withDefaults(), o, template{}, o)
				out := carriedOut(t, l, Action{Kind: Resolve, Run: prefect.FlowRun{ID: "r"}, Job: "job-r", Finding: tc.find})
				if d := cmp.Diff(tc.want, o.all); d != "" {
					t.Errorf("%s (%v), -want +got:\n%s", out.result, out.err, d)
				}
			})
		})
	}
}

// A run that is cancelled while its pod waits is Cancelled at once, whether its Job is there
// or not: nobody in a pod will end it. One that has begun gets its time.
func TestRunThatIsCancelledWhileItWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		objects func() []any
		began   bool
		want    string
		fate    string
	}{
		"its pod does not start": {func() []any { return []any{jobOfRun("r"), podOf("r", cannotPull())} }, false, "Cancelled The run was cancelled before a pod began it, so its Job job-r is stopped", "gone"},
		"it has no Job":          {func() []any { return nil }, false, "Cancelled The run was cancelled before a pod began it, and has no Job", "gone"},
		"its pod has begun":      {func() []any { return []any{jobOfRun("r"), podOf("r", running())} }, true, "Cancelling ", "as it was"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				claim := *ours("v1")
				claim.NamespaceUID = ""
				m := newMemory(submitted(2, &claim))
				if tc.began {
					_ = m.setState(t.Context(), "pod", "r", inState("Running"))
				}
				_ = m.setState(t.Context(), "person", "r", inState("Cancelling"))
				b := start(t, m, func(o *Options, client *fake.Clientset) {
					o.IdleTimeout, o.DeleteFinished, o.Rules.CancelGrace = time.Hour, true, 10*time.Minute
					add(t, client, tc.objects()...)
				})
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if got := fmt.Sprintf("%s %s", m.get("r").State.Name, m.get("r").State.Message); got != tc.want || b.fate("job-r") != tc.fate {
					t.Errorf("the run is %q, want %q; its Job is %s\n%s", got, tc.want, b.fate("job-r"), b.logs)
				}
				b.stop()
			})
		})
	}
}

// Prefect is told once why a pod does not start. Where that fails, the run is told all the
// same.
func TestPrefectIsToldWhyAPodDoesNotStart(t *testing.T) {
	for name, fault := range map[string]error{"heard": nil, "not heard": errors.New("503")} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(submitted(2, ours("v1")))
				m.fault = func(op, _ string, written bool) error {
					if op == "pending" && written {
						return fault
					}
					return nil
				}
				b := start(t, m, func(o *Options, client *fake.Clientset) {
					o.IdleTimeout = time.Hour
					add(t, client, jobOfRun("r"), podOf("r", noNode()))
				})
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				want := []string{"r Kubernetes Error: pod pod-r cannot be scheduled: 0/3 nodes are available"}
				if d := cmp.Diff(want, m.pending); d != "" || b.fate("job-r") != "told unschedulable" || len(m.infraLines("r")) != 1 {
					t.Errorf("-want +got:\n%s\nthe Job is %s; told %q", d, b.fate("job-r"), m.infraLines("r"))
				}
				b.stop()
			})
		})
	}
}

// A pod that was evicted, or told to end, may have set its run due again before it ended.
// That is no crash: the run gets the Job of its new attempt when it is due, and the old Job
// goes.
func TestRunThatItsEvictedPodRescheduled(t *testing.T) {
	ended := corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "flow", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143, Reason: "Error"}},
	}}}
	for name, change := range map[string]func(*batchv1.Job){"its Job was given up": givenUp, "its Job will be": func(*batchv1.Job) {}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(submitted(2, ours("v1")))
				_ = m.setState(t.Context(), "pod", "r", inState("Running"))
				_ = m.setState(t.Context(), "pod", "r", prefect.State{Phase: prefect.Waiting, Name: "Scheduled", StartTime: time.Now().Add(30 * time.Second)})
				b := start(t, m, func(o *Options, client *fake.Clientset) {
					o.IdleTimeout, o.DeleteFinished = time.Hour, true
					add(t, client, jobOfRun("r", change), podOf("r", ended))
				})
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if got := m.get("r").State.Name; got != "Scheduled" || len(m.infraLines("r")) > 0 {
					t.Errorf("before it is due it is %s; told %q", got, m.infraLines("r"))
				}
				if j, err := b.client.BatchV1().Jobs("flows").Get(t.Context(), "job-r", metav1.GetOptions{}); err == nil {
					givenUp(j)
					if _, err := b.client.BatchV1().Jobs("flows").UpdateStatus(t.Context(), j, metav1.UpdateOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				var jobs []string
				for _, j := range b.jobs() {
					jobs = append(jobs, j.Labels[job.LabelAttempt])
				}
				if got := m.get("r").State.Name; got != "Submitted" || m.count("fail") > 0 || !cmp.Equal(jobs, []string{"v5"}) {
					t.Errorf("it is %s, with Jobs of %q\n%s", got, jobs, b.logs)
				}
				b.stop()
			})
		})
	}
}
