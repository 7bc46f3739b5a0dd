package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
)

// A Job goes with its pods, and only if it is the one that was judged.
func TestJobIsRemovedWithItsPods(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, newMemory(run("r").in("Running")), func(o *Options, client *fake.Clientset) {
			o.DeleteFinished = true
			add(t, client, jobOfRun("r"), podOf("r", oomKilled()))
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		foreground, uid := metav1.DeletePropagationForeground, types.UID("uid of job-r")
		want := []metav1.DeleteOptions{{PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &uid}}}
		var got []metav1.DeleteOptions
		for _, a := range b.client.Actions() {
			if d, ok := a.(clienttesting.DeleteActionImpl); ok {
				got = append(got, d.DeleteOptions)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	})
}

// Whatever a delete is answered, its run is failed once, nothing is told twice,
// and no launcher stays for it.
func TestDeleteIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		most int // deletes in 12 hours
		fate string
	}{
		"not found":    {apierrors.NewNotFound(jobsResource, "job-r"), 1, "gone"},
		"another one":  {apierrors.NewConflict(jobsResource, "job-r", errors.New("the UID in the precondition does not match")), 1, "gone"},
		"server error": {apierrors.NewInternalError(errors.New("etcd is away")), 20, "spent, stopped"},
		"not allowed":  {apierrors.NewForbidden(jobsResource, "job-r", errors.New("no delete")), 20, "spent, stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, client := newMemory(run("r").in("Running")), fake.NewClientset()
				deletes := 0
				client.PrependReactor("delete", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
					deletes++
					if tc.fate == "gone" {
						_ = client.Tracker().Delete(batchv1.SchemeGroupVersion.WithResource("jobs"), "flows", "job-r")
					}
					return true, nil, tc.err
				})
				add(t, client, jobOfRun("r"), podOf("r", oomKilled()))
				began := time.Now()
				var b *bench
				for time.Since(began) < 12*time.Hour {
					b = startWith(t, m, client, func(o *Options, _ *fake.Clientset) {
						o.PollInterval, o.IdleTimeout, o.DeleteFinished = time.Minute, 15*time.Minute, true
					})
					if err := b.leave(); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(b.began); took > 2*time.Hour {
						t.Fatalf("a launcher was kept for %s", took)
					}
				}
				if deletes < 1 || deletes > tc.most {
					t.Errorf("%d deletes, want at most %d", deletes, tc.most)
				}
				if got := b.fate("job-r"); got != tc.fate {
					t.Errorf("the Job is %s, want %s", got, tc.fate)
				}
				if d := cmp.Diff([]string{oomStory}, m.infraLines("r")); d != "" || m.count("fail") != 1 {
					t.Errorf("the run was failed %d times and told (-want +got):\n%s", m.count("fail"), d)
				}
			})
		})
	}
}

// What cannot be read for good is said and stops nothing.
func TestWhatCannotBeRead(t *testing.T) {
	const (
		podsFailed = "Kubernetes Error: pods ['pod-r'] failed for this job: OOMKilled"
		event      = "DEBUG Event: 'BackOff' on pod 'pod-r'\n\tMessage: boo"
		lastLines  = "INFO The last lines of container 'flow' of pod pod-r:\nbye"
	)
	no := errors.New("not allowed")
	refusing := func(verb, resource string) func(*fake.Clientset, *jobs.Client) {
		return func(client *fake.Clientset, _ *jobs.Client) {
			client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, no })
		}
	}
	for name, tc := range map[string]struct {
		broken func(*fake.Clientset, *jobs.Client)
		state  string
		lines  []string
	}{
		"nothing": {func(*fake.Clientset, *jobs.Client) {}, podsFailed, []string{event, oomStory, lastLines}},
		"events": {
			refusing("list", "events"), podsFailed, []string{"DEBUG Events could not be read: list events: not allowed", oomStory, lastLines},
		},
		"the log": {
			func(_ *fake.Clientset, k *jobs.Client) {
				k.Log = func(context.Context, string, corev1.PodLogOptions) (io.ReadCloser, error) { return nil, no }
			}, podsFailed,
			[]string{event, oomStory, "INFO The log of container 'flow' of pod pod-r could not be read: read the log of pod pod-r: not allowed"},
		},
		"pods": {
			refusing("list", "pods"), "Kubernetes Error: Job job-r failed: BackoffLimitExceeded",
			[]string{"DEBUG The Job's pods could not be read: list the pods of flow run r: not allowed", "ERROR Kubernetes Error: Job job-r failed: BackoffLimitExceeded"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, client := newMemory(run("r").in("Running")), fake.NewClientset()
				add(t, client, podOf("r", oomKilled()), eventOf("Pod", "pod-r", "BackOff", "boo"), jobOfRun("r", givenUp, func(j *batchv1.Job) {
					j.Status.Conditions[0].LastTransitionTime = metav1.Now()
				}))
				k := kubernetes(client)("flows")
				k.Log = func(context.Context, string, corev1.PodLogOptions) (io.ReadCloser, error) {
					return io.NopCloser(strings.NewReader("bye\n")), nil
				}
				tc.broken(client, &k)
				o := options("me")
				o.PollInterval, o.IdleTimeout, o.LogLines = time.Minute, 15*time.Minute, 20
				l, err := New(o, m, template{}, only(k))
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := l.Run(ctx); err != nil {
					t.Error(err)
				}
				if got := m.get("r").State; got.Name != "Failed" || got.Message != tc.state {
					t.Errorf("the run is %s %s, want it Failed: %s", got.Name, got.Message, tc.state)
				}
				if d := cmp.Diff(tc.lines, m.infraLines("r")); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
			})
		})
	}
}

// Of a container that crashes again and again, the lines of the last time it ran
// are told. The kubelet may show that as the present.
func TestCrashLoopTellsOfTheLastTime(t *testing.T) {
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}
	waits := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 5m0s"}}
	initializing := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}
	for name, tc := range map[string]struct {
		pod       corev1.PodStatus
		container string
		previous  bool
		want      []string
	}{
		"the flow's": {
			corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "flow", State: waits, LastTerminationState: ended}}},
			"flow", true,
			[]string{"ERROR Kubernetes Error: back-off 5m0s", "INFO The last lines of container 'flow' of pod pod-r:\nboom"},
		},
		"a native sidecar that is in the flow's way": {
			corev1.PodStatus{
				Phase:                 corev1.PodPending,
				InitContainerStatuses: []corev1.ContainerStatus{{Name: "vpn", State: ended, LastTerminationState: ended}},
				ContainerStatuses:     []corev1.ContainerStatus{{Name: "flow", State: initializing}},
			},
			"vpn", false,
			[]string{
				"ERROR Kubernetes Error: back-off restarting container vpn, which ended with exit code 1",
				"INFO The last lines of container 'vpn' of pod pod-r:\nboom",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, client := newMemory(run("r").in("Submitted")), fake.NewClientset()
				p := podOf("r", tc.pod)
				p.Spec.InitContainers = []corev1.Container{{Name: "vpn", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
				add(t, client, jobOfRun("r"), p)
				var asked []corev1.PodLogOptions
				k := kubernetes(client)("flows")
				k.Log = func(_ context.Context, _ string, o corev1.PodLogOptions) (io.ReadCloser, error) {
					asked = append(asked, o)
					return io.NopCloser(strings.NewReader("boom")), nil
				}
				o := options("me")
				o.IdleTimeout, o.LogLines = 10*time.Minute, 7
				l, err := New(o, m, template{}, only(k))
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Run(t.Context()); err != nil {
					t.Error(err)
				}
				want := []corev1.PodLogOptions{{Container: tc.container, Previous: tc.previous, TailLines: new(int64(7))}}
				if d := cmp.Diff(want, asked); d != "" {
					t.Errorf("asked for (-want +got):\n%s", d)
				}
				if d := cmp.Diff(tc.want, m.infraLines("r")); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
			})
		})
	}
}

// The state names every pod that failed; the stories of the first three are told.
func TestStoriesOfManyPods(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, client := newMemory(run("r").in("Running")), fake.NewClientset()
		add(t, client, jobOfRun("r"))
		for i := range 5 {
			pod := podOf("r", oomKilled())
			pod.Name, pod.UID = fmt.Sprint("pod-", i), types.UID(fmt.Sprint(i))
			add(t, client, pod)
		}
		if err := mustNew(t, options("me"), m, client).Run(t.Context()); err != nil {
			t.Error(err)
		}
		if got, want := m.get("r").State.Message, "Kubernetes Error: pods ['pod-0', 'pod-1', 'pod-2', 'pod-3', 'pod-4'] failed for this job: OOMKilled"; got != want {
			t.Errorf("the run failed with %q, want %q", got, want)
		}
		var told []string
		for _, line := range m.infraLines("r") {
			first, _, _ := strings.Cut(line, "\n")
			told = append(told, first)
		}
		if d := cmp.Diff([]string{"ERROR Pod pod-0 failed.", "ERROR Pod pod-1 failed.", "ERROR Pod pod-2 failed."}, told); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	})
}

// One Job that cannot be dealt with holds up no other (prefect1 §9.1-B9).
func TestOneBadJobHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("bad").in("Running"), run("good-1").in("Running"), run("good-2").in("Running"))
		m.fault = func(op, id string, _ bool) error {
			if op == "read" && id == "bad" {
				return errors.New("an answer that cannot be read")
			}
			return nil
		}
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout, o.Concurrency = time.Hour, 1
			for _, id := range []string{"bad", "good-1", "good-2", "unknown"} {
				add(t, client, jobOfRun(id), podOf(id, oomKilled()))
			}
		})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		got := []string{m.get("bad").State.Name, m.get("good-1").State.Name, m.get("good-2").State.Name}
		if d := cmp.Diff([]string{"Running", "Failed", "Failed"}, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		b.stop()
	})
}

// Jobs without the label of a flow run are none of ours, and not even asked for.
func TestOnlyLabelledJobsAreAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").in("Running"))
		var selectors []string
		b := start(t, m, func(_ *Options, client *fake.Clientset) {
			client.PrependReactor("list", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
				selectors = append(selectors, a.GetResource().Resource+" "+a.(clienttesting.ListAction).GetListRestrictions().Labels.String())
				return false, nil, nil
			})
			add(t, client, jobOfRun("r", givenUp, func(j *batchv1.Job) { delete(j.Labels, kubernetesrun.LabelFlowRunID) }))
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		slices.Sort(selectors)
		if d := cmp.Diff([]string{"jobs " + kubernetesrun.LabelFlowRunID, "pods " + kubernetesrun.LabelFlowRunID}, slices.Compact(selectors)); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		if b.fate("job-r") != "as it was" || m.count("read") != 0 {
			t.Errorf("the Job is %s, %d runs were read", b.fate("job-r"), m.count("read"))
		}
	})
}

// The agent asked in a hot loop when a list was refused (prefect1 §9.1-B1).
// Whatever the API answers, it is not asked much.
func TestNoAnswerMakesTheLauncherSpin(t *testing.T) {
	for name, answer := range map[string]error{
		"500":                    apierrors.NewInternalError(errors.New("no")),
		"410":                    apierrors.NewResourceExpired("too old resource version"),
		"429":                    apierrors.NewTooManyRequests("later", 1),
		"401":                    apierrors.NewUnauthorized("no"),
		"404":                    apierrors.NewGenericServerResponse(http.StatusNotFound, "list", jobsResource, "", "no", 0, true),
		"no connection":          errors.New("connection refused"),
		"a watch that ends soon": nil,
	} {
		for _, verb := range []string{"list", "watch"} {
			for _, resource := range []string{"jobs", "pods"} {
				// That there are no Jobs means that there is no namespace, which ends a launcher
				// at its start.
				if answer == nil && verb == "list" || name == "404" && resource == "jobs" {
					continue
				}
				t.Run(strings.Join([]string{name, verb, resource}, " "), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						var asked atomic.Int64
						b := start(t, newMemory(run("r").in("Running")), func(o *Options, client *fake.Clientset) {
							o.PollInterval, o.IdleTimeout = time.Minute, time.Hour
							if verb == "list" {
								client.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
									asked.Add(1)
									return true, nil, answer
								})
								return
							}
							client.PrependWatchReactor(resource, func(clienttesting.Action) (bool, watch.Interface, error) {
								asked.Add(1)
								w := watch.NewFake()
								w.Stop()
								return true, w, answer
							})
						})
						time.Sleep(10 * time.Minute)
						if n := asked.Load(); n < 5 || n > 100 {
							t.Errorf("asked %d times in 10 minutes, want some 25", n)
						}
						b.stop()
					})
				})
			}
		}
	}
}
