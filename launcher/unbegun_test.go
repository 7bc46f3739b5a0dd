package launcher

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func rejected() corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodFailed, Reason: "NodeShutdown", Message: "Pod was rejected as the node is shutting down."}
}

// podNamed gives a pod of the run's Job another name.
func podNamed(name string, p *corev1.Pod) *corev1.Pod {
	p.Name, p.UID = name, types.UID("uid of "+name)
	return p
}

// Nodes that reject every pod of a run have it put back in the queue three times,
// each time with another Job, and then failed.
func TestRunWhosePodsNeverBegin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now()))
		var created []string
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout, o.DeleteFinished = time.Hour, true
			client.PrependReactor("create", "jobs", func(a clienttesting.Action) (bool, runtime.Object, error) {
				j := a.(clienttesting.CreateAction).GetObject().(*batchv1.Job)
				created = append(created, j.Name)
				j.UID, j.CreationTimestamp = types.UID(j.Name), metav1.Now()
				p := podNamed(fmt.Sprint("pod-", len(created)), podOf("r", rejected()))
				p.OwnerReferences[0].Name, p.OwnerReferences[0].UID = j.Name, j.UID
				return false, nil, client.Tracker().Add(p)
			})
		})
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		once := []string{"claim r Submitted", "hand back r Scheduled"}
		want := slices.Concat(once, once, once, []string{"claim r Submitted", "fail r Failed"})
		if d := cmp.Diff(want, m.writes); d != "" {
			t.Errorf("writes (-want +got):\n%s\n%s", d, b.logs)
		}
		if got, want := m.get("r").State.Message, "Kubernetes Error: pods ['pod-4'] failed for this job: NodeShutdown; none began the flow, though the run was put back in the queue 3 times"; got != want {
			t.Errorf("the run failed with %q, want %q", got, want)
		}
		if n := len(slices.Compact(slices.Sorted(slices.Values(created)))); n != 4 || len(b.jobs()) != 0 {
			t.Errorf("%d Jobs of different names were created, want 4; there are %d", n, len(b.jobs()))
		}
		var told []string
		for _, line := range m.infraLines("r") {
			if strings.Contains(line, "put back") {
				told = append(told, line)
			}
		}
		const because = ": NodeShutdown: Pod was rejected as the node is shutting down."
		for i, line := range told {
			if want := fmt.Sprintf("WARNING No pod of Job %s began the flow, so the run was put back in the queue (%d of at most 3 times)%s", created[i], i+1, because); line != want {
				t.Errorf("told %q, want %q", line, want)
			}
		}
		if len(told) != 3 {
			t.Errorf("told %q", told)
		}
		b.stop()
	})
}

// A pod that never began says nothing of its flow, whatever comes after it.
func TestPodsThatNeverBegan(t *testing.T) {
	began := func(ago time.Duration) corev1.PodStatus {
		s := running()
		s.ContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(time.Now().Add(-ago))
		return s
	}
	active := func(failed int32) func(*batchv1.Job) {
		return func(j *batchv1.Job) { j.Status = batchv1.JobStatus{Active: 1, Failed: failed} }
	}
	const podsFailed = "Failed Kubernetes Error: pods ['pod-r'] failed for this job: "
	for name, tc := range map[string]struct {
		state   string
		objects func() []any
		want    string
		job     string
	}{
		"another pod is made": {
			"Submitted", func() []any {
				return []any{jobOfRun("r", active(1)), podOf("r", rejected()), podNamed("pod-2", podOf("r", corev1.PodStatus{Phase: corev1.PodPending}))}
			}, "Submitted ", "as it was",
		},
		"another pod is made, and the first is gone": {
			"Submitted", func() []any { return []any{jobOfRun("r", active(1)), podNamed("pod-2", podOf("r", running()))} }, "Submitted ", "as it was",
		},
		"another pod has taken the run": {
			"Running", func() []any {
				return []any{jobOfRun("r", active(1)), podNamed("pod-2", podOf("r", began(2*time.Second)))}
			}, "Running ", "as it was",
		},
		"the pod that had taken the run is gone": {
			"Running", func() []any {
				return []any{jobOfRun("r", active(1)), podNamed("pod-2", podOf("r", began(-2*time.Second)))}
			},
			"Failed Kubernetes Error: 1 pods failed for this job and are gone", "gone",
		},
		"the flow of another pod has ended": {
			"Running", func() []any { return []any{jobOfRun("r", active(1)), podNamed("pod-2", besideProxy(died(0), lives()))} },
			"Failed Kubernetes Error: 1 pods failed for this job and are gone", "gone",
		},
		"no other pod is made": {
			"Submitted", func() []any { return []any{jobOfRun("r", active(1)), podOf("r", rejected())} },
			"Scheduled No pod of Job job-r began the flow, so the run was put back in the queue (1 of at most 3 times): NodeShutdown: Pod was rejected as the node is shutting down.", "gone",
		},
		"they are gone and the Job is given up": {
			"Submitted", func() []any { return []any{jobOfRun("r", givenUp)} },
			"Scheduled No pod of Job job-r began the flow, so the run was put back in the queue (1 of at most 3 times): Kubernetes Error: Job job-r failed: BackoffLimitExceeded", "gone",
		},
		"of a run that is Running": {
			"Running", func() []any { return []any{jobOfRun("r", active(1)), podOf("r", rejected())} }, podsFailed + "NodeShutdown", "gone",
		},
		"one that had begun": {
			"Submitted", func() []any {
				status := oomKilled()
				status.Reason = "Evicted"
				return []any{jobOfRun("r", active(1)), podOf("r", status)}
			}, podsFailed + "Evicted", "gone",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := run("r").in(tc.state)
				if tc.state == "Submitted" {
					r.Claim = &prefect.Claim{Launcher: "l", Namespace: "flows", Job: "job-r", Attempt: "v1"}
				}
				m := newMemory(r)
				b := start(t, m, func(o *Options, client *fake.Clientset) {
					o.IdleTimeout, o.DeleteFinished = time.Hour, true
					add(t, client, tc.objects()...)
				})
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if got := fmt.Sprintf("%s %s", m.get("r").State.Name, m.get("r").State.Message); got != tc.want {
					t.Errorf("the run is %q, want %q\n%s", got, tc.want, b.logs)
				}
				if got := b.fate("job-r"); got != tc.job {
					t.Errorf("the Job is %s, want %s", got, tc.job)
				}
				if n := m.count("read"); n > 3 {
					t.Errorf("the run was read %d times in 20 s", n)
				}
				b.stop()
			})
		})
	}
}

// Kubernetes may make another pod while the story of the first is collected. That
// one keeps the run, and its Job.
func TestPodThatIsMadeMeanwhileKeepsTheRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := run("r").in("Submitted")
		r.Claim = &prefect.Claim{Launcher: "l", Namespace: "flows", Job: "job-r", Attempt: "v1"}
		m := newMemory(r)
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout, o.DeleteFinished = time.Hour, true
			add(t, client, jobOfRun("r"), podOf("r", rejected()))
			client.PrependReactor("list", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
				_ = client.Tracker().Add(podNamed("pod-2", podOf("r", corev1.PodStatus{Phase: corev1.PodPending})))
				return false, nil, nil
			})
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got, fate := m.get("r").State.Name, b.fate("job-r"); got != "Submitted" || fate != "as it was" || len(m.infraLines("r")) > 1 {
			t.Errorf("the run is %s, its Job %s; it was told %q", got, fate, m.infraLines("r"))
		}
		b.stop()
	})
}

// A run that was started again and claimed with its Job of before, which has ended since
// instead of taking it, is launched all the same.
func TestRunWhoseAdoptedJobEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		ending  func(*batchv1.Job)
		pod     corev1.PodStatus
		attempt prefect.Attempt
		want    []string
	}{
		"it failed":                {givenUp, oomKilled(), "v3", []string{"hand back r Scheduled", "claim r Submitted"}},
		"it succeeded":             {completed, corev1.PodStatus{Phase: corev1.PodSucceeded}, "v3", []string{"hand back r Scheduled", "claim r Submitted"}},
		"it is of this attempt":    {givenUp, oomKilled(), "v1", []string{"fail r Failed"}},
		"it is, and has succeeded": {completed, corev1.PodStatus{Phase: corev1.PodSucceeded}, "v1", []string{"fail r Failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory()
				m.setUntaken("r", prefect.Claim{Namespace: "flows", Job: "job-r", Attempt: tc.attempt})
				client := fake.NewClientset()
				add(t, client, jobOfRun("r", tc.ending), podOf("r", tc.pod))
				b := startWith(t, m, client, func(o *Options, _ *fake.Clientset) { o.IdleTimeout, o.DeleteFinished = time.Hour, true })
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				if d := cmp.Diff(tc.want, m.writes); d != "" {
					t.Errorf("writes (-want +got):\n%s\n%s", d, b.logs)
				}
				if len(tc.want) == 2 {
					told := strings.Join(m.infraLines("r"), "\n")
					if !strings.Contains(told, "WARNING Job job-r, which the run had from its last start, ended before it could take the run again, so the run was put back in the queue (1 of at most 3 times)") {
						t.Errorf("told: %s", told)
					}
				}
				b.stop()
			})
		})
	}
}
