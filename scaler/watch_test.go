package scaler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
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
	"k8s.io/apimachinery/pkg/runtime/schema"
	kwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

var jobsResource = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}

// kubeJob is a Job whose pod is under way.
func kubeJob(name, run, attempt string) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "flows", UID: "u", ResourceVersion: "7",
			Labels:      map[string]string{kubernetesrun.LabelFlowRunID: run, job.LabelAttempt: attempt, "app": "x"},
			Annotations: map[string]string{"big": "thing"},
		},
		Status: batchv1.JobStatus{Active: 1},
	}
}

func fakeKube(objects ...runtime.Object) *fake.Clientset { return fake.NewClientset(objects...) }

// unstreamed says, as the fake Clientset does, that it cannot stream its lists.
type unstreamed[L runtime.Object] struct{ informer.Lister[L] }

func (unstreamed[L]) IsWatchListSemanticsUnSupported() bool { return true }

func clients(c *fake.Clientset) func(namespace string) informer.Client {
	return func(ns string) informer.Client {
		return informer.Client{
			Jobs: unstreamed[*batchv1.JobList]{c.BatchV1().Jobs(ns)},
			Pods: unstreamed[*corev1.PodList]{c.CoreV1().Pods(ns)},
			UID:  func(ctx context.Context) (string, error) { return "here", ctx.Err() },
		}
	}
}

func claimed(run, job, attempt string) prefect.ClaimedRun {
	return prefect.ClaimedRun{ID: run, Place: prefect.Place{Labels: []string{"etl"}}, Claim: prefect.Claim{
		Launcher: "launcher-1", Namespace: "flows", Job: job, Attempt: prefect.Attempt(attempt),
	}}
}

func withJobs(f Source, kube *fake.Clientset) Options {
	o := bubbleOptions(f)
	o.Connections = map[string]Connection{"default": {Source: f, JobNamespaces: []string{"flows"}, Marks: kubernetesrun.Marks()}}
	o.Kubernetes = clients(kube)
	return o
}

func TestClaimWithoutItsJobIsDemandAfterTheGrace(t *testing.T) {
	f := &fakeSource{claim: []prefect.ClaimedRun{claimed("r1", "job-1", "v3")}}
	// An earlier attempt's Job that has ended is no Job of this claim.
	earlier := kubeJob("job-0", "r1", "v1")
	earlier.Status = batchv1.JobStatus{Succeeded: 1}
	kube := fakeKube(earlier)
	inBubble(t, withJobs(f, kube), func(t *testing.T, s *Server) {
		open(t, s, func(st *fakeStream) {
			began := time.Now()
			pass(4 * time.Second)
			wantActive(t, s, false, "labels=etl")
			pass(4 * time.Second)
			wantActive(t, s, true, "labels=etl")
			wantActive(t, s, false, "labels=other")
			got := st.got()
			if len(got) != 1 || got[0].Sub(began) < 5*time.Second || got[0].Sub(began) > 7*time.Second {
				t.Errorf("messages %v after %v, want one when the grace of 5s is over", got, began)
			}

			// The launcher that was woken creates it: trouble ends with the Job's
			// appearance, not with the next look.
			f.change(func(f *fakeSource) { f.hung = true })
			pass(2 * time.Second)
			if err := kube.Tracker().Create(jobsResource, kubeJob("job-1", "r1", "v3"), "flows"); err != nil {
				t.Fatal(err)
			}
			f.change(func(f *fakeSource) { f.hung = false })
			pass(20 * time.Second)
			wantActive(t, s, false, "labels=etl")

			if err := kube.Tracker().Delete(jobsResource, "flows", "job-1"); err != nil {
				t.Fatal(err)
			}
			pass(4 * time.Second)
			wantActive(t, s, false, "labels=etl")
			pass(2 * time.Second)
			wantActive(t, s, true, "labels=etl")
		}, "labels=etl")
	})
}

// A run that is claimed again has a claim that is young, whatever became of the one before.
func TestEachAttemptHasItsGrace(t *testing.T) {
	f := &fakeSource{claim: []prefect.ClaimedRun{claimed("r1", "job-1", "v3")}}
	inBubble(t, withJobs(f, fakeKube()), func(t *testing.T, s *Server) {
		pass(10 * time.Second)
		wantActive(t, s, true, "labels=etl")
		f.change(func(f *fakeSource) { f.claim = []prefect.ClaimedRun{claimed("r1", "job-2", "v4")} })
		pass(4 * time.Second)
		wantActive(t, s, false, "labels=etl")
		pass(4 * time.Second)
		wantActive(t, s, true, "labels=etl")
	})
}

// TestJobsChangesAreSeenBetweenLooks: with a look an hour away, only the watch
// can tell.
func TestJobsChangesAreSeenBetweenLooks(t *testing.T) {
	f := &fakeSource{claim: []prefect.ClaimedRun{claimed("r1", "job-1", "v3")}}
	kube := fakeKube()
	o := withJobs(f, kube)
	o.PollInterval, o.MaxStaleness = time.Hour, 24*time.Hour
	inBubble(t, o, func(t *testing.T, s *Server) {
		pass(time.Minute)
		// The first look was before the first list; this Job has the claim noticed.
		if err := kube.Tracker().Create(jobsResource, kubeJob("other", "r2", "v1"), "flows"); err != nil {
			t.Fatal(err)
		}
		pass(6 * time.Second)
		wantActive(t, s, true, "labels=etl")
		if err := kube.Tracker().Create(jobsResource, kubeJob("job-1", "r1", "v3"), "flows"); err != nil {
			t.Fatal(err)
		}
		pass(time.Millisecond)
		wantActive(t, s, false, "labels=etl")
		if err := kube.Tracker().Delete(jobsResource, "flows", "job-1"); err != nil {
			t.Fatal(err)
		}
		pass(6 * time.Second)
		wantActive(t, s, true, "labels=etl")
	})
}

func TestLacksJob(t *testing.T) {
	ended := kubeJob("job-6", "r6", "v1")
	ended.Status = batchv1.JobStatus{Succeeded: 1}
	kube := fakeKube(
		kubeJob("job-1", "r1", "v3"), kubeJob("job-2-renamed", "r2", "v4"), kubeJob("job-4", "r5", "v1"), ended,
		kubePod("job-7", "r7", func(s *corev1.PodStatus) { s.Phase = corev1.PodRunning }),
	)
	w := newWatch(clients(kube), kubernetesrun.Marks(), []string{"flows", "flows"}, trouble.Rules{}, slog.New(slog.DiscardHandler))
	if w.lacksJob(claimed("r3", "job-3", "v1")) {
		t.Error("trouble is claimed before Jobs were listed")
	}
	if diff := cmp.Diff([]string{"flows"}, w.unsynced([]string{"flows"})); diff != "" {
		t.Error(diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	eventually(t, "Jobs are listed", func() bool { return len(w.unsynced([]string{"flows"})) == 0 })
	eventually(t, "the namespace and pods are known", func() bool {
		return w.namespaces["flows"].Knows(informer.Namespace) && w.namespaces["flows"].Knows(informer.Pods)
	})

	elsewhere := claimed("r3", "job-3", "v1")
	elsewhere.Claim.Namespace = "not-watched"
	marked, abroad := claimed("r3", "job-3", "v1"), claimed("r3", "job-3", "v1")
	marked.Claim.NamespaceUID, abroad.Claim.NamespaceUID = "here", "there"
	for name, tc := range map[string]struct {
		claim prefect.ClaimedRun
		want  bool
	}{
		"its Job is there":                    {claimed("r1", "job-1", "v3"), false},
		"claimed again with the Job it has":   {claimed("r1", "job-1", "v9"), false},
		"the name had to change":              {claimed("r2", "job-2", "v4"), false},
		"none":                                {claimed("r3", "job-3", "v1"), true},
		"an earlier attempt's can take it":    {claimed("r1", "job-9", "v9"), false},
		"an earlier attempt's has ended":      {claimed("r6", "job-6", "v9"), true},
		"its own has ended":                   {claimed("r6", "job-6", "v1"), false},
		"its pod lives":                       {claimed("r7", "job-7", "v1"), false},
		"the name is taken by another run":    {claimed("r4", "job-4", "v1"), true},
		"none, and the UID says where":        {marked, true},
		"in another cluster":                  {abroad, false},
		"in a namespace that is not our care": {elsewhere, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.lacksJob(tc.claim); got != tc.want {
				t.Errorf("lacks its Job: %v, want %v", got, tc.want)
			}
		})
	}
}

// Whoever listens is told of what may change the answers at once, and not of each
// change of a Job that runs.
func TestListenersAreToldOfWhatMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := fakeKube()
		w := newWatch(clients(kube), kubernetesrun.Marks(), []string{"flows"}, trouble.Rules{}, slog.New(slog.DiscardHandler))
		told := make(chan struct{}, 1)
		w.listen(told)
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { w.run(ctx) })
		pass(time.Second)
		running := func(s *corev1.PodStatus) { s.Phase = corev1.PodRunning }
		started, noted := kubeJob("job-1", "r1", "v1"), kubeJob("job-1", "r1", "v1")
		started.Status.StartTime = new(metav1.Now())
		noted.Annotations = map[string]string{trouble.Annotation: trouble.Note{Done: true}.String()}
		for _, step := range []struct {
			name string
			do   func()
			want bool
		}{
			{"a Job comes", func() { put(t, kube, kubeJob("job-1", "r1", "v1")) }, true},
			{"its pod runs", func() { put(t, kube, kubePod("job-1", "r1", running)) }, false},
			{"its pod changes", func() { put(t, kube, kubePod("job-1", "r1", running)) }, false},
			{"it changes", func() { put(t, kube, started) }, false},
			{"its pod fails", func() { put(t, kube, kubePod("job-1", "r1", hasFailed)) }, true},
			{"it changes again", func() { put(t, kube, started) }, false},
			{"a launcher has seen to it", func() { put(t, kube, noted) }, true},
			{"it goes", func() {
				if err := kube.Tracker().Delete(jobsResource, "flows", "job-1"); err != nil {
					t.Fatal(err)
				}
			}, true},
		} {
			step.do()
			pass(time.Second)
			if got := len(told) > 0; got != step.want {
				t.Errorf("%s: told %v, want %v", step.name, got, step.want)
			}
			select {
			case <-told:
			default:
			}
		}
		cancel()
		watching.Wait()
	})
}

// TestJobsAreSelected: a namespace may be full of Jobs that are none of our
// business, and the fake client's watch hands them all out.
func TestJobsAreSelected(t *testing.T) {
	kube := fakeKube()
	selectors := make(chan string, 100)
	kube.PrependReactor("list", "*", func(a kubetesting.Action) (bool, runtime.Object, error) {
		selectors <- a.(kubetesting.ListAction).GetListRestrictions().Labels.String()
		return false, nil, nil
	})
	kube.PrependWatchReactor("*", func(a kubetesting.Action) (bool, kwatch.Interface, error) {
		selectors <- a.(kubetesting.WatchAction).GetWatchRestrictions().Labels.String()
		return false, nil, nil
	})
	inBubble(t, withJobs(&fakeSource{}, kube), func(t *testing.T, _ *Server) {
		for range 4 { // of Jobs and of pods a list and a watch
			if got := <-selectors; got != kubernetesrun.LabelFlowRunID {
				t.Errorf("Jobs are selected by %q", got)
			}
		}
	})
}

func TestFailingWatchIsReportedOnce(t *testing.T) {
	kube := fakeKube()
	kube.PrependReactor("list", "jobs", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("jobs.batch is forbidden")
	})
	var log strings.Builder
	o := withJobs(&fakeSource{claim: []prefect.ClaimedRun{claimed("r1", "job-1", "v3")}}, kube)
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	inBubble(t, o, func(t *testing.T, s *Server) {
		pass(50 * time.Second)
		wantActive(t, s, false, "labels=etl")
		if n := strings.Count(log.String(), "jobs.batch is forbidden"); n != 1 {
			t.Errorf("the reason is logged %d times in a minute:\n%s", n, log.String())
		}
		rep := s.service.report(time.Now())
		if diff := cmp.Diff([]string{"flows"}, rep.Connections[0].Unsynced); diff != "" {
			t.Error(diff)
		}
	})
}

// What cannot be read shows while it cannot. Prefect 1 and Prefect 3 may have a namespace in
// common, in which the watch of one of them fails.
func TestFailingWatchShows(t *testing.T) {
	kube, broken := fakeKube(), atomic.Bool{}
	kube.PrependReactor("list", "pods", func(a kubetesting.Action) (bool, runtime.Object, error) {
		ofPrefect1 := a.(kubetesting.ListAction).GetListRestrictions().Labels.String() == kubernetesrun.LabelFlowRunID
		return broken.Load() && ofPrefect1, nil, errors.New("pods is forbidden")
	})
	broken.Store(true)
	f := &fakeSource{}
	o := withJobs(f, kube)
	o.Connections["prefect3"] = Connection{Source: f, JobNamespaces: []string{"flows"}, Marks: job.Marks{Run: "prefect.io/flow-run-id"}}
	inBubble(t, o, func(t *testing.T, s *Server) {
		shows := func(pods int) {
			t.Helper()
			wantGauges(t, newGauges(s.service), `watch_failing{jobs_namespace="flows",resource="jobs"} 0`,
				`watch_failing{jobs_namespace="flows",resource="namespace"} 0`, fmt.Sprintf(`watch_failing{jobs_namespace="flows",resource="pods"} %d`, pods))
		}
		pass(50 * time.Second)
		shows(1)
		broken.Store(false)
		pass(2 * time.Minute)
		shows(0)
	})
}

// Whatever the API answers, it is not asked in a hot loop (prefect1 §9.1-B1).
func TestNoAnswerMakesTheWatchSpin(t *testing.T) {
	for name, answer := range map[string]error{
		"500": apierrors.NewInternalError(errors.New("no")), "403": apierrors.NewForbidden(jobsResource.GroupResource(), "", errors.New("no")),
		"410": apierrors.NewResourceExpired("too old resource version"), "429": apierrors.NewTooManyRequests("later", 1),
		"no connection": errors.New("connection refused"),
	} {
		for _, verb := range []string{"list", "watch"} {
			for _, resource := range []string{"jobs", "pods"} {
				t.Run(strings.Join([]string{name, verb, resource}, " "), func(t *testing.T) {
					kube := fakeKube()
					var asked atomic.Int64
					if verb == "list" {
						kube.PrependReactor("list", resource, func(kubetesting.Action) (bool, runtime.Object, error) {
							asked.Add(1)
							return true, nil, answer
						})
					} else {
						kube.PrependWatchReactor(resource, func(kubetesting.Action) (bool, kwatch.Interface, error) {
							asked.Add(1)
							return true, nil, answer
						})
					}
					inBubble(t, withJobs(&fakeSource{}, kube), func(t *testing.T, _ *Server) {
						pass(10 * time.Minute)
						if n := asked.Load(); n < 5 || n > 100 {
							t.Errorf("asked %d times in 10 minutes, want some 25", n)
						}
					})
				})
			}
		}
	}
}
