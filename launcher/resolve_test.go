package launcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const oomStory = "ERROR Pod pod-r failed.\n\tContainer 'flow' state: terminated\n\t\tExit Code:: 137\n\t\tReason: OOMKilled"

// Every kind of trouble, what its run is told, what state it ends in and what
// becomes of the Job.
func TestTroubleIsResolved(t *testing.T) {
	type ends struct {
		State   string
		Lines   []string
		Job     string // gone, kept or as it was
		Deletes int
	}
	deleting := func(o *Options) { o.DeleteFinished = true }
	keeping := func(*Options) {}
	failedWith := func(message string) string { return "Failed Kubernetes Error: " + message }
	const podsFailed = "pods ['pod-r'] failed for this job: OOMKilled"
	for name, tc := range map[string]struct {
		state   string
		objects func() []any
		options func(*Options)
		after   time.Duration
		want    ends
	}{
		"a pod failed": {
			"Running", func() []any {
				return []any{jobOfRun("r"), podOf("r", oomKilled()), eventOf("Pod", "pod-r", "BackOff", "boo")}
			},
			deleting, 5 * time.Second,
			ends{failedWith(podsFailed), []string{
				"DEBUG Event: 'BackOff' on pod 'pod-r'\n\tMessage: boo", oomStory, "INFO The last lines of container 'flow' of pod pod-r:\nfake logs",
			}, "gone", 1},
		},
		"a pod failed, without its log": {
			"Submitted", func() []any { return []any{jobOfRun("r"), podOf("r", oomKilled())} },
			func(o *Options) { o.DeleteFinished, o.LogLines = true, 0 }, 5 * time.Second,
			ends{failedWith(podsFailed), []string{oomStory}, "gone", 1},
		},
		"a pod failed and Jobs are kept": {
			"Running", func() []any { return []any{jobOfRun("r", givenUp), podOf("r", oomKilled())} },
			keeping, 5 * time.Second,
			ends{failedWith(podsFailed), []string{oomStory, "INFO The last lines of container 'flow' of pod pod-r:\nfake logs"}, "kept, ttl 600", 0},
		},
		"a pod failed, another is to come, and failed Jobs are kept": {
			"Running", func() []any { return []any{jobOfRun("r"), podOf("r", oomKilled())} },
			func(o *Options) { o.DeleteFinished, o.KeepFailed, o.LogLines = true, true, 0 }, 5 * time.Second,
			ends{failedWith(podsFailed), []string{oomStory}, "kept, stopped", 0},
		},
		"the image cannot be pulled, in the grace": {
			"Submitted", func() []any { return []any{jobOfRun("r"), podOf("r", cannotPull())} },
			deleting, 58 * time.Second,
			ends{"Submitted ", nil, "as it was", 0},
		},
		"the image cannot be pulled": {
			"Submitted", func() []any { return []any{jobOfRun("r"), podOf("r", cannotPull())} },
			deleting, 65 * time.Second,
			ends{failedWith(`Back-off pulling image "nope"`), []string{`ERROR Kubernetes Error: Back-off pulling image "nope"`}, "gone", 1},
		},
		"no node takes the pod": {
			"Submitted", func() []any {
				return []any{jobOfRun("r"), podOf("r", noNode()), eventOf("Pod", "pod-r", "FailedScheduling", "0/3 nodes are available")}
			},
			func(o *Options) { o.Rules.PendingFor = time.Hour }, 30 * time.Minute,
			ends{"Submitted ", []string{
				"DEBUG Event: 'FailedScheduling' on pod 'pod-r'\n\tMessage: 0/3 nodes are available",
				"WARNING Kubernetes Error: pod pod-r cannot be scheduled: 0/3 nodes are available. The run waits for that to change, and fails if it has not by 2000-01-01 01:00:00 UTC (PREFECT_KEDA_PENDING_TIMEOUT)",
			}, "told unschedulable", 0},
		},
		"no node takes the pod for long": {
			"Submitted", func() []any { return []any{jobOfRun("r"), podOf("r", noNode())} },
			func(o *Options) { o.DeleteFinished, o.Rules.PendingFor = true, 10*time.Minute }, 11 * time.Minute,
			ends{failedWith("pod pod-r cannot be scheduled: 0/3 nodes are available"), []string{
				"WARNING Kubernetes Error: pod pod-r cannot be scheduled: 0/3 nodes are available. The run waits for that to change, and fails if it has not by 2000-01-01 00:10:00 UTC (PREFECT_KEDA_PENDING_TIMEOUT)",
				"ERROR Kubernetes Error: pod pod-r cannot be scheduled: 0/3 nodes are available",
			}, "gone", 1},
		},
		"the pod does not start on its node": {
			"Submitted", func() []any {
				unmounted := corev1.PodStatus{Phase: corev1.PodPending, StartTime: new(metav1.NewTime(time.Now().Add(-time.Hour)))}
				return []any{jobOfRun("r"), podOf("r", unmounted), eventOf("Pod", "pod-r", "FailedMount", "secret not found")}
			},
			deleting, 5 * time.Second,
			ends{"Submitted ", []string{
				"DEBUG Event: 'FailedMount' on pod 'pod-r'\n\tMessage: secret not found", "WARNING Kubernetes Error: pod pod-r does not start: secret not found. The run waits for that to change, for ever: PREFECT_KEDA_PENDING_TIMEOUT is not set",
			}, "told unstarted", 0},
		},
		"pods are never created": {
			"Submitted", func() []any {
				return []any{jobOfRun("r", func(j *batchv1.Job) { j.Status.Active = 0 }), eventOf("Job", "job-r", "FailedCreate", "exceeded quota")}
			},
			deleting, 5 * time.Second,
			ends{"Submitted ", []string{
				"DEBUG Event: 'FailedCreate' on job 'job-r'\n\tMessage: exceeded quota", "WARNING Kubernetes Error: no pod is created for Job job-r: exceeded quota. The run waits for that to change, for ever: PREFECT_KEDA_PENDING_TIMEOUT is not set",
			}, "told no_pods", 0},
		},
		"the run was cancelled": {
			"Cancelled", func() []any { return []any{jobOfRun("r")} }, deleting, 65 * time.Second, ends{"Cancelled ", nil, "gone", 1},
		},
		"the run was cancelled a moment ago": {
			"Cancelled", func() []any { return []any{jobOfRun("r")} }, deleting, 50 * time.Second, ends{"Cancelled ", nil, "as it was", 0},
		},
		"the run was cancelled and Jobs are kept": {
			"Cancelled", func() []any { return []any{jobOfRun("r")} }, keeping, 65 * time.Second, ends{"Cancelled ", nil, "kept, stopped, ttl 600", 0},
		},
		"a pod failed after its run had finished": {
			"Success", func() []any { return []any{jobOfRun("r"), podOf("r", oomKilled())} }, deleting, 5 * time.Second, ends{"Success ", nil, "gone", 1},
		},
		"a pod failed of a run that is due again": {
			"Scheduled", func() []any { return []any{jobOfRun("r", givenUp), podOf("r", oomKilled())} },
			deleting, 5 * time.Second,
			ends{"Scheduled ", nil, "gone", 1},
		},
		"a pod failed of a run that is due again and may go on with its Job": {
			"Scheduled", func() []any { return []any{jobOfRun("r"), podOf("r", oomKilled())} },
			deleting, 30 * time.Minute,
			ends{"Scheduled ", nil, "as it was", 0},
		},
		"a Job that just began": {
			"Running", func() []any {
				return []any{jobOfRun("r", func(j *batchv1.Job) { j.CreationTimestamp = metav1.Now() }), podOf("r", oomKilled())}
			},
			func(o *Options) { o.DeleteFinished, o.LogLines = true, 0 }, 115 * time.Second,
			ends{failedWith(podsFailed), []string{oomStory}, "spent, stopped", 0},
		},
		"a Job that just began, two minutes later": {
			"Running", func() []any {
				return []any{jobOfRun("r", func(j *batchv1.Job) { j.CreationTimestamp = metav1.Now() }), podOf("r", oomKilled())}
			},
			func(o *Options) { o.DeleteFinished, o.LogLines = true, 0 }, 125 * time.Second,
			ends{failedWith(podsFailed), []string{oomStory}, "gone", 1},
		},
		"an earlier Job failed": {
			"Running", func() []any {
				now := jobOfRun("r", func(j *batchv1.Job) {
					j.Name, j.UID, j.CreationTimestamp = "job-r2", "2", metav1.Now()
					j.Labels[job.LabelAttempt] = "v4"
				})
				return []any{jobOfRun("r", givenUp), podOf("r", oomKilled()), now}
			},
			deleting, 5 * time.Second,
			ends{"Running ", nil, "gone", 1},
		},
		"the flow died and a sidecar lives on": {
			"Submitted", func() []any { return []any{jobOfRun("r"), besideProxy(died(137), lives())} }, deleting, 5 * time.Second,
			ends{failedWith(podsFailed), []string{
				oomStory + "\n\tContainer 'proxy' state: running", "INFO The last lines of container 'flow' of pod pod-r:\nfake logs",
			}, "gone", 1},
		},
		"a sidecar crashes again and again beside the flow": {
			"Running", func() []any { return []any{jobOfRun("r"), besideProxy(lives(), crashing())} },
			func(o *Options) { o.DeleteFinished, o.Rules.PendingFor = true, 5*time.Minute }, 2 * time.Hour,
			ends{"Running ", []string{
				"WARNING Kubernetes Error: container 'proxy' of pod pod-r does not run beside the flow: CrashLoopBackOff: back-off 5m0s",
				"INFO The last lines of container 'proxy' of pod pod-r:\nfake logs",
			}, "told sidecar", 0},
		},
		"a sidecar crashes in the seconds between the run's end and the flow's": {
			"Success", func() []any { return []any{jobOfRun("r"), besideProxy(lives(), crashing())} }, deleting, 2 * time.Hour, ends{"Success ", nil, "told sidecar", 0},
		},
		"the run succeeded and a sidecar lives on, in the grace": {
			"Success", func() []any { return []any{jobOfRun("r"), besideProxy(died(0), lives())} }, deleting, 58 * time.Second, ends{"Success ", nil, "as it was", 0},
		},
		"the run succeeded and a sidecar lives on": {
			"Success", func() []any { return []any{jobOfRun("r"), besideProxy(died(0), lives())} }, deleting, 65 * time.Second, ends{"Success ", nil, "gone", 1},
		},
		"the run succeeded, a sidecar lives on and Jobs are kept": {
			"Success", func() []any { return []any{jobOfRun("r"), besideProxy(died(0), lives())} },
			func(o *Options) { o.KeepFailed = true }, 65 * time.Second,
			ends{"Success ", nil, "kept, stopped, ttl 600", 0},
		},
		"a flow ended without its run, which waits for a retry": {
			"Running", func() []any { return []any{jobOfRun("r"), besideProxy(died(0), lives())} }, deleting, time.Hour, ends{"Running ", nil, "as it was", 0},
		},
		"a flow ended well of a run that is due again": {
			"Scheduled", func() []any { return []any{jobOfRun("r"), besideProxy(died(0), lives())} }, deleting, 65 * time.Second, ends{"Scheduled ", nil, "gone", 1},
		},
		"a flow does not react to being cancelled, in its grace": {
			"Cancelling", func() []any { return []any{jobOfRun("r"), podOf("r", running())} },
			func(o *Options) { o.DeleteFinished, o.Rules.CancelGrace = true, 10*time.Minute }, 10*time.Minute - time.Second,
			ends{"Cancelling ", nil, "as it was", 0},
		},
		"a flow does not react to being cancelled": {
			"Cancelling", func() []any { return []any{jobOfRun("r"), podOf("r", running())} },
			func(o *Options) { o.DeleteFinished, o.KeepFailed, o.Rules.CancelGrace = true, true, 10*time.Minute }, 10*time.Minute + 31*time.Second,
			ends{"Cancelled " + notHeeded, []string{"WARNING " + notHeeded}, "gone", 1},
		},
		"a flow may take its time to react to being cancelled": {
			"Cancelling", func() []any { return []any{jobOfRun("r"), podOf("r", running())} }, deleting, 5 * time.Hour, ends{"Cancelling ", nil, "as it was", 0},
		},
		"a flow goes on whose run was set finished, in its grace": {
			"Failed", func() []any { return []any{jobOfRun("r"), podOf("r", running())} },
			func(o *Options) { o.DeleteFinished, o.Rules.FinishedGrace = true, 10*time.Minute }, 10*time.Minute - time.Second,
			ends{"Failed ", nil, "as it was", 0},
		},
		"a flow goes on whose run was set finished": {
			"Failed", func() []any { return []any{jobOfRun("r"), podOf("r", running())} },
			func(o *Options) { o.DeleteFinished, o.Rules.FinishedGrace = true, 10*time.Minute }, 10*time.Minute + 31*time.Second,
			ends{"Failed ", nil, "gone", 1},
		},
		"a flow may go on whose run was set finished": {
			"Failed", func() []any { return []any{jobOfRun("r"), podOf("r", running())} }, deleting, 5 * time.Hour, ends{"Failed ", nil, "as it was", 0},
		},
		"of a run for others": {
			"Running", func() []any { return []any{jobOfRun("r"), podOf("r", oomKilled())} },
			func(o *Options) { o.DeleteFinished, o.Scope.Labels = true, []string{"gpu"} }, 5 * time.Second,
			ends{"Running ", nil, "as it was", 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r").in(tc.state))
				b := start(t, m, func(o *Options, client *fake.Clientset) {
					o.IdleTimeout, o.LogLines = time.Hour, 20
					tc.options(o)
					add(t, client, tc.objects()...)
				})
				time.Sleep(tc.after)
				synctest.Wait()
				got := ends{State: fmt.Sprintf("%s %s", m.get("r").State.Name, m.get("r").State.Message), Lines: m.infraLines("r"), Job: b.fate("job-r")}
				for _, a := range b.client.Actions() {
					if a.GetVerb() == "delete" {
						got.Deletes++
					}
				}
				if d := cmp.Diff(tc.want, got); d != "" {
					t.Errorf("-want +got:\n%s\n%s", d, b.logs)
				}
				if told := m.count("fail") > 0; told != (m.failed["r"] == prefect.ByInfrastructure) {
					t.Errorf("set failed: %v, by a failure of kind %d; want one by the infrastructure", told, m.failed["r"])
				}
				b.stop()
			})
		})
	}
}

// fate is what has become of a Job, in words.
func (b *bench) fate(name string) string {
	b.t.Helper()
	j, err := b.client.BatchV1().Jobs("flows").Get(b.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return "gone"
	}
	n := trouble.NoteOf(j)
	switch {
	case n.Spent && j.Spec.ActiveDeadlineSeconds != nil:
		return "spent, stopped"
	case n.Spent:
		return "spent"
	case n.Told != "":
		return "told " + string(n.Told)
	case !n.Done:
		return "as it was"
	}
	words := []string{"kept"}
	if j.Spec.ActiveDeadlineSeconds != nil {
		words = append(words, "stopped")
	}
	if j.Spec.TTLSecondsAfterFinished != nil {
		words = append(words, fmt.Sprint("ttl ", *j.Spec.TTLSecondsAfterFinished))
	}
	return strings.Join(words, ", ")
}

// Who comes later, another launcher or the same after a restart, tells nothing
// twice.
func TestEventsAreToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, client := newMemory(run("r").in("Submitted")), fake.NewClientset()
		add(t, client, jobOfRun("r"), podOf("r", noNode()), eventOf("Pod", "pod-r", "FailedScheduling", "no"))
		for i := range 3 {
			o := options(fmt.Sprint("launcher-", i))
			o.IdleTimeout, o.Rules.PendingFor = 4*time.Minute, 10*time.Minute
			if i == 2 {
				add(t, client, eventOf("Pod", "pod-r", "NotTriggerScaleUp", "no"))
			}
			if err := mustNew(t, o, m, client).Run(t.Context()); err != nil {
				t.Error(err)
			}
		}
		want := []string{
			"DEBUG Event: 'FailedScheduling' on pod 'pod-r'\n\tMessage: no",
			"WARNING Kubernetes Error: pod pod-r cannot be scheduled: 0/3 nodes are available. The run waits for that to change, and fails if it has not by 2000-01-01 00:10:00 UTC (PREFECT_KEDA_PENDING_TIMEOUT)",
			"DEBUG Event: 'NotTriggerScaleUp' on pod 'pod-r'\n\tMessage: no",
			"ERROR Kubernetes Error: pod pod-r cannot be scheduled: 0/3 nodes are available",
		}
		if d := cmp.Diff(want, m.infraLines("r")); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	})
}

// A Prefect that will not have the run failed is asked ever more rarely, by all
// launchers together, and keeps none of them.
func TestPrefectRefusesToFailTheRun(t *testing.T) {
	skipLong(t)
	bubble(t, func(t *testing.T) {
		m, client := newMemory(run("r").in("Running")), fake.NewClientset()
		add(t, client, jobOfRun("r"), podOf("r", oomKilled()), eventOf("Pod", "pod-r", "BackOff", "boo"))
		m.fault = func(op, _ string, _ bool) error {
			if op == "fail" {
				return errors.New("the state is not valid")
			}
			return nil
		}
		began := time.Now()
		for time.Since(began) < 24*time.Hour {
			o := options("me")
			o.PollInterval, o.IdleTimeout, o.LogLines = 10*time.Second, 15*time.Minute, 20
			l := mustNew(t, o, m, client)
			started := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
			err := l.Run(ctx)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(started); took > 2*time.Hour {
				t.Fatalf("a launcher was kept for %s", took)
			}
			time.Sleep(time.Minute)
		}
		if n := m.count("fail"); n < 20 || n > 40 {
			t.Errorf("asked %d times in a day, want some 28", n)
		}
		once := []string{"DEBUG Event: 'BackOff' on pod 'pod-r'\n\tMessage: boo", oomStory, "INFO The last lines of container 'flow' of pod pod-r:\nfake logs"}
		if d := cmp.Diff(once, m.infraLines("r")); d != "" {
			t.Errorf("told in a day (-want +got):\n%s", d)
		}
		m.fault = nil
		o := options("me")
		o.IdleTimeout = 2 * time.Hour
		if err := mustNew(t, o, m, client).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.get("r").State.Name; got != "Failed" {
			t.Errorf("the run is %s once Prefect lets it", got)
		}
	})
}

// A note that cannot be written must not have the run told again and again.
func TestJobCannotBePatched(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").in("Running"))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout = time.Hour
			client.PrependReactor("patch", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, errors.New("the server is overloaded")
			})
			add(t, client, jobOfRun("r"), podOf("r", oomKilled()))
		})
		time.Sleep(10 * time.Minute)
		if n := len(m.infraLines("r")); n != 0 || m.count("fail") != 0 {
			t.Errorf("%d lines told, %d tries to fail, without a note that says so", n, m.count("fail"))
		}
		if n := m.count("read"); n > 25 {
			t.Errorf("the run was read %d times in 10 minutes", n)
		}
		b.stop()
	})
}

// What goes wrong for good with a Job in trouble is asked about less and less, and
// then keeps no launcher.
func TestCaseThatCannotBeTakenKeepsNoLauncher(t *testing.T) {
	for name, broken := range map[string]func(*memory, *fake.Clientset){
		"its run cannot be read": func(m *memory, _ *fake.Clientset) {
			m.fault = func(op, _ string, _ bool) error {
				if op == "read" {
					return errors.New("an answer that cannot be read")
				}
				return nil
			}
		},
		"its pods cannot be listed": func(_ *memory, client *fake.Clientset) {
			client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, errors.New("not allowed")
			})
		},
		"its run is due in a week": func(m *memory, _ *fake.Clientset) {
			later := run("r").in("Scheduled")
			later.State.StartTime = time.Now().Add(7 * 24 * time.Hour)
			m.set(later)
		},
		"it cannot be patched": func(_ *memory, client *fake.Clientset) {
			client.PrependReactor("patch", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, errors.New("not allowed")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r").in("Running"))
				b := start(t, m, func(o *Options, client *fake.Clientset) {
					o.IdleTimeout = 15 * time.Minute
					add(t, client, jobOfRun("r", func(j *batchv1.Job) { j.Status = batchv1.JobStatus{} }))
					broken(m, client)
				})
				if err := b.leave(); err != nil {
					t.Error(err)
				}
				if n := m.count("read"); n < 1 || n > 15 {
					t.Errorf("the run was read %d times, want once or some 10 times", n)
				}
				if took := time.Since(b.began); took > time.Hour {
					t.Errorf("a launcher was kept for %s", took)
				}
			})
		})
	}
}

func TestJobOfAnUnknownRunIsLeftAlone(t *testing.T) {
	skipLong(t)
	bubble(t, func(t *testing.T) {
		m := newMemory()
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout, o.DeleteFinished = time.Hour, true
			for i := range 40 { // Prefect was set up anew
				run := fmt.Sprint("r", i)
				add(t, client, jobOfRun(run), podOf(run, oomKilled()))
			}
		})
		time.Sleep(25 * time.Minute)
		if got := b.fate("job-r0"); got != "as it was" {
			t.Errorf("the Job is %s", got)
		}
		all, whole := b.logs.count("do not exist"), b.logs.count("do not exist (any more); these Jobs are left alone\" count=40 jobs=\"[job-r")
		if all != whole || all < 1 || all > 3 {
			t.Errorf("complained %d times in 25 minutes, %d of them about all Jobs", all, whole)
		}
		b.stop()

		// Nor does it keep a launcher.
		b = startWith(t, m, b.client, func(o *Options, _ *fake.Clientset) { o.PollInterval, o.IdleTimeout = time.Minute, 15*time.Minute })
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if took := time.Since(b.began); took > 17*time.Minute {
			t.Errorf("a launcher was kept for %s", took)
		}
	})
}

// Kubernetes would give the Job another pod: once its run has failed, that pod
// must not run beside those of the attempt that a person asks for meanwhile, and
// the pod that failed is no news to that attempt.
func TestJobOfAFailedRunIsStoppedBeforeTheRunGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").in("Running"))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout, o.DeleteFinished = time.Hour, true
			add(t, client, jobOfRun("r", func(j *batchv1.Job) { j.CreationTimestamp = metav1.Now() }), podOf("r", oomKilled()))
		})
		time.Sleep(20 * time.Second)
		if got := b.fate("job-r"); got != "spent, stopped" {
			t.Errorf("the Job of a failed run is %s", got)
		}
		again := run("r").version(6).due(time.Now())
		m.set(again)
		time.Sleep(4 * time.Second)
		if n := len(b.jobs()); n != 1 || m.get("r").State.Name != "Scheduled" {
			t.Errorf("%d Jobs while the first may still have pods, and the run is %s", n, m.get("r").State.Name)
		}
		// The Job controller does as it was told.
		j := &b.jobs()[0]
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "DeadlineExceeded"}}
		if _, err := b.client.BatchV1().Jobs("flows").Update(t.Context(), j, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := b.fate("job-r"); got != "gone" {
			t.Errorf("the first Job is %s", got)
		}
		if got := m.get("r"); got.State.Name != "Submitted" || len(b.jobs()) != 1 {
			t.Errorf("the run is %s and has %d Jobs, want it Submitted with one\n%s", got.State.Name, len(b.jobs()), b.logs)
		}
		if d := cmp.Diff([]string{oomStory}, m.infraLines("r")); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		b.stop()
	})
}

// A run that is started again may be claimed with the Job it has. The pod that
// failed before says nothing of it; the next one does.
func TestPodOfAnEarlierAttemptFailsNoRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		began := time.Now()
		failedBefore, failedSince := podOf("r", oomKilled()), podOf("r", oomKilled())
		failedBefore.CreationTimestamp = metav1.NewTime(began.Add(-time.Minute))
		failedSince.Name, failedSince.UID, failedSince.CreationTimestamp = "pod-r2", "2", metav1.NewTime(began.Add(time.Minute))
		m := newMemory(run("r").version(6).claimedBy("l", "v5", "job-r", began.Add(-10*time.Second)))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout, o.DeleteFinished = time.Hour, true
			add(t, client, jobOfRun("r"), failedBefore)
		})
		time.Sleep(time.Minute)
		if got := m.get("r").State; got.Name != "Submitted" || len(m.infraLines("r")) != 0 {
			t.Errorf("the run is %s %s, and was told %q", got.Name, got.Message, m.infraLines("r"))
		}
		add(t, b.client, failedSince)
		time.Sleep(10 * time.Second)
		if got := m.get("r").State; got.Name != "Failed" || got.Message != "Kubernetes Error: pods ['pod-r2'] failed for this job: OOMKilled" {
			t.Errorf("the run is %s %s", got.Name, got.Message)
		}
		b.stop()
	})
}
