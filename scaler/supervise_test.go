package scaler

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

var podsResource = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// kubePod is the pod of a Job; change makes something of its status.
func kubePod(jobName, run string, change func(*corev1.PodStatus)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: jobName + "-pod", Namespace: "flows", CreationTimestamp: metav1.Now(),
			Labels:          map[string]string{kubernetesrun.LabelFlowRunID: run},
			OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: jobName, UID: "u", Controller: new(true)}},
		},
		Spec:   corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "flow"}, {Name: "proxy"}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	if change != nil {
		change(&p.Status)
	}
	return p
}

func waitsFor(reason string) func(*corev1.PodStatus) {
	return func(s *corev1.PodStatus) {
		s.ContainerStatuses = []corev1.ContainerStatus{{Name: "flow", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
	}
}

// flowEnded has a sidecar go on beside it.
func flowEnded(code int32) func(*corev1.PodStatus) {
	return func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.ContainerStatuses = []corev1.ContainerStatus{
			{Name: "flow", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()}}},
			{Name: "proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		}
	}
}

func sidecarCrashes(s *corev1.PodStatus) {
	s.Phase = corev1.PodRunning
	s.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "flow", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		{
			Name: "proxy", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: metav1.Now()}},
		},
	}
}

func hasFailed(s *corev1.PodStatus) { s.Phase = corev1.PodFailed }

func jobRun(id string, phase prefect.Phase) prefect.JobRun {
	return prefect.JobRun{ID: id, Place: prefect.Place{Labels: []string{"etl"}}, Phase: phase, StateAt: time.Now()}
}

// put puts an object into the cluster, new or changed.
func put(t *testing.T, kube *fake.Clientset, object runtime.Object) {
	t.Helper()
	resource := podsResource
	if _, ok := object.(*batchv1.Job); ok {
		resource = jobsResource
	}
	err := kube.Tracker().Update(resource, object, "flows")
	if err != nil {
		err = kube.Tracker().Create(resource, object, "flows")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestJobsInTroubleAreDemand(t *testing.T) {
	for name, tc := range map[string]struct {
		phase   prefect.Phase
		trouble func(t *testing.T, kube *fake.Clientset)
		// after is when it is demand; zero is never.
		after time.Duration
		kind  trouble.Kind
	}{
		"a pod failed": {prefect.Running, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", hasFailed))
		}, time.Second, trouble.Failed},
		"the image cannot be pulled": {prefect.Claimed, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", waitsFor("ImagePullBackOff")))
		}, time.Minute, trouble.ImagePull},
		"a pod failed, its run waits in the queue": {prefect.Waiting, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", hasFailed))
		}, 0, ""},
		"a pod failed, its run finished": {prefect.Finished, func(t *testing.T, kube *fake.Clientset) {
			j := kubeJob("job-1", "r1", "v1")
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
			put(t, kube, j)
			put(t, kube, kubePod("job-1", "r1", hasFailed))
		}, 0, ""},
		"the image cannot be pulled, its run finished": {prefect.Cancelled, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", waitsFor("ImagePullBackOff")))
		}, time.Minute, trouble.ImagePull},
		"a launcher stopped it, to be removed": {prefect.Finished, func(t *testing.T, kube *fake.Clientset) {
			j := kubeJob("job-1", "r1", "v1")
			j.Annotations = map[string]string{trouble.Annotation: trouble.Note{Spent: true, Until: time.Now().Add(40 * time.Second)}.String()}
			j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
			put(t, kube, j)
		}, 40 * time.Second, trouble.Spent},
		"its flow died beside a sidecar": {prefect.Claimed, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", flowEnded(137)))
		}, time.Second, trouble.Failed},
		"a sidecar crashes beside its flow": {prefect.Running, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", sidecarCrashes))
		}, time.Minute, trouble.Sidecar},
		"a sidecar crashes, its run finished": {prefect.Finished, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", sidecarCrashes))
		}, 0, ""},
		"a sidecar outlives its flow": {prefect.Finished, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", flowEnded(0)))
		}, time.Minute, trouble.Outlived},
		"a sidecar outlives its flow, not its run": {prefect.Running, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", flowEnded(0)))
		}, 0, ""},
		"no pods": {prefect.Claimed, func(t *testing.T, kube *fake.Clientset) {
			j := kubeJob("job-1", "r1", "v1")
			j.CreationTimestamp, j.Status.Active = metav1.Now(), 0
			put(t, kube, j)
		}, time.Minute, trouble.NoPods},
		"of a run that Prefect does not know": {prefect.Other, func(t *testing.T, kube *fake.Clientset) {
			put(t, kube, kubePod("job-1", "r1", hasFailed))
		}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, kube := &fakeSource{}, fakeKube()
			inBubble(t, withJobs(f, kube), func(t *testing.T, s *Server) {
				put(t, kube, kubeJob("job-1", "r1", "v1"))
				if tc.phase != prefect.Other {
					f.change(func(f *fakeSource) { f.supervision.Troubled = []prefect.JobRun{jobRun("r1", tc.phase)} })
				}
				pass(2 * time.Second)
				wantActive(t, s, false, "labels=etl")
				tc.trouble(t, kube)
				if tc.after == 0 {
					pass(10 * time.Minute)
					wantActive(t, s, false, "labels=etl")
					return
				}
				pass(tc.after - time.Second)
				wantActive(t, s, false, "labels=etl")
				pass(3 * time.Second)
				wantActive(t, s, true, "labels=etl")
				wantActive(t, s, false, "labels=other")
				got := s.service.report(time.Now()).Connections[0].Troubled
				if len(got) != 1 || got[0].Kind != tc.kind || got[0].Job != "job-1" {
					t.Errorf("reported %+v, want %s of job-1", got, tc.kind)
				}

				// The launcher that saw to it has noted that on the Job.
				j := kubeJob("job-1", "r1", "v1")
				j.Annotations = map[string]string{trouble.Annotation: trouble.Note{Done: true}.String()}
				put(t, kube, j)
				pass(time.Second)
				wantActive(t, s, false, "labels=etl")
			})
		})
	}
}

// A Prefect that will not have the run failed must not keep launchers awake: what
// they note on the Job is respected.
func TestBackOffIsRespected(t *testing.T) {
	f, kube := &fakeSource{}, fakeKube()
	inBubble(t, withJobs(f, kube), func(t *testing.T, s *Server) {
		f.change(func(f *fakeSource) { f.supervision.Troubled = []prefect.JobRun{jobRun("r1", prefect.Running)} })
		j := kubeJob("job-1", "r1", "v1")
		j.Annotations = map[string]string{trouble.Annotation: trouble.Note{Tries: 3, Until: time.Now().Add(time.Hour)}.String()}
		put(t, kube, j)
		put(t, kube, kubePod("job-1", "r1", hasFailed))
		pass(59 * time.Minute)
		wantActive(t, s, false, "labels=etl")
		pass(2 * time.Minute)
		wantActive(t, s, true, "labels=etl")
	})
}

// The Job of a run that should end is demand once its grace is over: a cancelled
// run's, and those of the others as far as they were given one.
func TestJobThatShouldEndIsDemandAfterTheGrace(t *testing.T) {
	for state, grace := range map[prefect.Phase]time.Duration{prefect.Cancelled: time.Minute, prefect.Cancelling: 10 * time.Minute, prefect.Finished: 20 * time.Minute} {
		for name, give := range map[string]func(*Options, trouble.Rules){
			"no grace": nil,
			"a grace":  func(o *Options, r trouble.Rules) { o.Rules = r },
			"a connection's own": func(o *Options, r trouble.Rules) {
				c := o.Connections["default"]
				c.Rules = &r
				o.Connections["default"] = c
			},
		} {
			t.Run(fmt.Sprintf("%s, %s", state, name), func(t *testing.T) {
				f, kube := &fakeSource{}, fakeKube()
				o := withJobs(f, kube)
				if give != nil {
					give(&o, trouble.Rules{CancelGrace: 10 * time.Minute, FinishedGrace: 20 * time.Minute})
				}
				inBubble(t, o, func(t *testing.T, s *Server) {
					put(t, kube, kubeJob("job-1", "r1", "v1"))
					pass(5 * time.Minute)
					f.change(func(f *fakeSource) { f.supervision.Ending = []prefect.JobRun{jobRun("r1", state)} })
					pass(grace - time.Second)
					wantActive(t, s, false, "labels=etl")
					pass(2 * time.Second)
					wantActive(t, s, give != nil || state == prefect.Cancelled, "labels=etl")
					if err := kube.Tracker().Delete(jobsResource, "flows", "job-1"); err != nil {
						t.Fatal(err)
					}
					pass(time.Millisecond)
					wantActive(t, s, false, "labels=etl")
				})
			})
		}
	}
}

// A run that was cancelled before a pod began it is ended by nobody else, so it is demand
// as soon as a poll tells of it.
func TestCancelledRunThatNeverBeganIsDemandAtOnce(t *testing.T) {
	for _, neverBegan := range []bool{true, false} {
		t.Run(fmt.Sprint("never began: ", neverBegan), func(t *testing.T) {
			f, kube := &fakeSource{}, fakeKube()
			o := withJobs(f, kube)
			o.Rules.CancelGrace = 2 * time.Minute
			inBubble(t, o, func(t *testing.T, s *Server) {
				put(t, kube, kubeJob("job-1", "r1", "v1"))
				pass(95 * time.Second) // it has just asked about Jobs
				wantActive(t, s, false, "labels=etl")
				cancelling := jobRun("r1", prefect.Cancelling)
				cancelling.NeverBegan = neverBegan
				f.change(func(f *fakeSource) { f.end = []prefect.JobRun{cancelling} })
				pass(2 * time.Second)
				wantActive(t, s, neverBegan, "labels=etl")
				wantActive(t, s, false, "labels=gpu")
				f.change(func(f *fakeSource) { f.supervision.Ending = f.end })
				pass(time.Minute)
				if got := s.service.report(time.Now()).Connections[0].Troubled; len(got) != 1 || got[0].Kind != trouble.Cancelling {
					t.Errorf("reported %+v, want the Job once", got)
				}
				pass(time.Minute)
				wantActive(t, s, true, "labels=etl")
				if err := kube.Tracker().Delete(jobsResource, "flows", "job-1"); err != nil {
					t.Fatal(err)
				}
				pass(time.Millisecond)
				wantActive(t, s, false, "labels=etl")
			})
		})
	}
}

func TestRunWhoseJobIsGoneIsDemandForAWhile(t *testing.T) {
	f, kube := &fakeSource{}, fakeKube()
	inBubble(t, withJobs(f, kube), func(t *testing.T, s *Server) {
		silent := jobRun("r1", prefect.Running)
		silent.Claim = prefect.Claim{Namespace: "flows", Job: "job-1"}
		elsewhere, abroad := silent, silent
		elsewhere.ID, elsewhere.Claim.Namespace = "r2", "not-watched"
		abroad.ID, abroad.Claim.NamespaceUID = "r3", "there" // it runs in another cluster
		put(t, kube, kubeJob("job-1", "r1", "v1"))
		f.change(func(f *fakeSource) { f.supervision.Silent = []prefect.JobRun{silent, elsewhere, abroad} })
		pass(5 * time.Minute)
		wantActive(t, s, false, "labels=etl")

		// Its pod goes last.
		put(t, kube, kubePod("job-1", "r1", nil))
		if err := kube.Tracker().Delete(jobsResource, "flows", "job-1"); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Minute)
		wantActive(t, s, false, "labels=etl")
		if err := kube.Tracker().Delete(podsResource, "flows", "job-1-pod"); err != nil {
			t.Fatal(err)
		}
		pass(31 * time.Second)
		wantActive(t, s, true, "labels=etl")
		if got := s.service.report(time.Now()).Connections[0].Troubled; len(got) != 1 || got[0].Kind != trouble.JobGone {
			t.Errorf("reported %+v", got)
		}
		pass(goneFor + time.Minute)
		wantActive(t, s, false, "labels=etl")
	})
}

// Nor does a run go on whose Job has ended by itself. What else there is to do for
// such a Job wakes nobody.
func TestSilentRunWhoseJobHasEndedIsDemand(t *testing.T) {
	f, kube := &fakeSource{}, fakeKube()
	inBubble(t, withJobs(f, kube), func(t *testing.T, s *Server) {
		ended := kubeJob("job-1", "r1", "v1")
		ended.Status = batchv1.JobStatus{Succeeded: 1, Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}}
		ended.Annotations = map[string]string{trouble.Annotation: `{"told":"unschedulable"}`}
		put(t, kube, ended)
		put(t, kube, kubePod("job-1", "r1", func(s *corev1.PodStatus) { s.Phase = corev1.PodSucceeded }))
		pass(5 * time.Minute)
		wantActive(t, s, false, "labels=etl")
		silent := jobRun("r1", prefect.Running)
		silent.Claim = prefect.Claim{Namespace: "flows", Job: "job-1"}
		f.change(func(f *fakeSource) { f.supervision.Silent = []prefect.JobRun{silent} })
		pass(31 * time.Second)
		wantActive(t, s, true, "labels=etl")
	})
}

// However many Jobs there are, Prefect is asked twice a minute and once more for
// what is new.
func TestPrefectIsAskedRarely(t *testing.T) {
	f, kube := &fakeSource{}, fakeKube()
	inBubble(t, withJobs(f, kube), func(t *testing.T, _ *Server) {
		for i := range 50 {
			put(t, kube, kubeJob(fmt.Sprint("job-", i), fmt.Sprint("r", i), "v1"))
		}
		pass(5 * time.Minute)
		if n := len(f.supervised); n != 10 {
			t.Errorf("asked %d times in five minutes, want 10", n)
		}
		if last := f.supervised[len(f.supervised)-1]; len(last.active) != 50 || len(last.troubled) != 0 {
			t.Errorf("asked about %+v", last)
		}
		f.change(func(f *fakeSource) { f.supervised = nil })
		put(t, kube, kubePod("job-7", "r7", hasFailed))
		pass(6 * time.Second) // nobody asks, so looks are rare
		if n := len(f.supervised); n != 1 || !cmp.Equal(f.supervised[0].troubled, []string{"r7"}) {
			t.Errorf("asked %+v, want once about r7", f.supervised)
		}
		f.change(func(f *fakeSource) { f.superviseErr, f.supervised = errors.New("502"), nil })
		put(t, kube, kubePod("job-8", "r8", hasFailed))
		pass(5 * time.Minute)
		if n := len(f.supervised); n > 12 {
			t.Errorf("asked %d times in five minutes of failures", n)
		}
	})
}

// knowing is supervision of a namespace with these Jobs in trouble.
func knowing(jobs ...found) *supervision {
	n := &namespace{name: "flows", judged: map[string]judgement{}}
	for _, f := range jobs {
		n.judged[f.Job] = judgement{found: &f}
	}
	return &supervision{watch: &watch{namespaces: map[string]*namespace{"flows": n}}, namespaces: []string{"flows", "flows"}, next: noon}
}

func TestWhenPrefectIsAskedAboutJobs(t *testing.T) {
	from := func(from time.Time) *supervision {
		return knowing(found{Finding: trouble.Finding{From: from}, Job: "job-1", Run: "r1"})
	}
	answered := func(s *supervision, runs ...string) *supervision {
		s.apply(reply{question: question{troubled: runs}})
		return s
	}
	asking := from(noon)
	asking.asking = true
	unanswered := from(at(-time.Hour))
	unanswered.apply(reply{err: errors.New("502")})
	for name, tc := range map[string]struct {
		s     *supervision
		after time.Duration
		want  bool
	}{
		"its turn has come":                {knowing(), 0, true},
		"not yet":                          {knowing(), -1, false},
		"a question is under way":          {asking, 0, false},
		"new trouble":                      {answered(from(at(-time.Hour))), -1, true},
		"new trouble, from now on":         {answered(from(at(-1))), -1, true},
		"new trouble that is in its grace": {answered(from(noon)), -1, false},
		"trouble that was asked about":     {answered(from(at(-time.Hour)), "r1"), -1, false},
		"no answer to the last question":   {unanswered, -1, false},
	} {
		if got := tc.s.due(at(tc.after)); got != tc.want {
			t.Errorf("%s: due %v, want %v", name, got, tc.want)
		}
	}
}

// Each run is asked about once, however many Jobs it has.
func TestWhatPrefectIsAskedAboutJobs(t *testing.T) {
	kube := fakeKube(kubeJob("job-1", "r2", "v1"), kubeJob("job-2", "r1", "v1"), kubeJob("job-3", "r2", "v2"),
		kubePod("job-1", "r2", hasFailed), kubePod("job-2", "r1", hasFailed), kubePod("job-3", "r2", hasFailed))
	elsewhere := kubeJob("job-4", "r1", "v2")
	elsewhere.Namespace = "others"
	if err := kube.Tracker().Create(jobsResource, elsewhere, "others"); err != nil {
		t.Fatal(err)
	}
	f := &fakeSource{supervision: prefect.Supervision{Troubled: []prefect.JobRun{jobRun("r1", prefect.Running)}}}
	o := withJobs(f, kube)
	o.Connections = map[string]Connection{"default": {Source: f, JobNamespaces: []string{"flows", "others", "flows"}, Marks: kubernetesrun.Marks()}}
	inBubble(t, o, func(t *testing.T, s *Server) {
		pass(time.Minute)
		want := asked{troubled: []string{"r1", "r2"}, active: []string{"r1", "r2"}}
		if got := f.supervised[len(f.supervised)-1]; !cmp.Equal(got.troubled, want.troubled) || !cmp.Equal(got.active, want.active) {
			t.Errorf("asked about %+v, want %+v", got, want)
		}
		// A namespace that is named twice is one.
		if got := s.service.report(time.Now()).Connections[0].Troubled; len(got) != 1 || got[0].Job != "job-2" {
			t.Errorf("reported %+v, want job-2 once", got)
		}
	})
}

// A slow answer about Jobs holds up nothing: neither what is due nor what became
// of Jobs meanwhile, and there are never two such questions under way.
func TestSlowSupervisionHoldsNothingUp(t *testing.T) {
	f, kube := &fakeSource{mute: true}, fakeKube(kubeJob("job-0", "r0", "v1"))
	o := withJobs(f, kube)
	o.PollTimeout = 45 * time.Second
	inBubble(t, o, func(t *testing.T, s *Server) {
		open(t, s, func(st *fakeStream) {
			pass(5 * time.Second)
			if n := f.supervisions(); n != 1 {
				t.Fatalf("%d questions about Jobs, want the 1 that hangs", n)
			}
			began := time.Now()
			f.set(run("1", began, "etl"))
			f.change(func(f *fakeSource) { f.claim = []prefect.ClaimedRun{claimed("r1", "job-1", "v3")} })
			pass(1200 * time.Millisecond)
			if got := st.got(); len(got) != 1 {
				t.Errorf("messages %v in the interval after a run fell due at %s, want 1", got, began)
			}
			pass(6 * time.Second)
			reason := s.service.report(time.Now()).ScaledObjects[0].Reason
			if want := "1 due, 1 claimed without a Job"; reason != want {
				t.Errorf("counted %s, want %s", reason, want)
			}
			put(t, kube, kubeJob("job-1", "r1", "v3"))
			pass(time.Millisecond)
			if got := s.service.report(time.Now()).ScaledObjects[0].Reason; got != "1 due" {
				t.Errorf("counted %s once the Job is there", got)
			}
			pass(30 * time.Second) // time to ask again, if it could
			if n := f.supervisions(); n != 1 {
				t.Errorf("%d questions about Jobs, want the 1 that hangs", n)
			}
			pass(5 * time.Second)
			if n := f.supervisions(); n != 2 {
				t.Errorf("%d questions about Jobs after the first timed out, want 2", n)
			}
		}, "labels=etl")
	})
}

// Without the right to see pods the rest goes on.
func TestPodsCannotBeWatched(t *testing.T) {
	f, kube := &fakeSource{claim: []prefect.ClaimedRun{claimed("r1", "job-1", "v3")}}, fakeKube()
	kube.PrependReactor("list", "pods", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("pods is forbidden")
	})
	inBubble(t, withJobs(f, kube), func(t *testing.T, s *Server) {
		pass(8 * time.Second)
		wantActive(t, s, true, "labels=etl")
	})
}

func TestTroubleIsMeasuredByKind(t *testing.T) {
	f, kube := &fakeSource{}, fakeKube()
	o := withJobs(f, kube)
	registry := prometheus.NewPedanticRegistry()
	o.Registerer = registry
	inBubble(t, o, func(t *testing.T, _ *Server) {
		f.change(func(f *fakeSource) { f.supervision.Troubled = []prefect.JobRun{jobRun("r1", prefect.Running)} })
		put(t, kube, kubeJob("job-1", "r1", "v1"))
		put(t, kube, kubePod("job-1", "r1", hasFailed))
		pass(3 * time.Second)
		want := `
# HELP prefect_keda_scaler_jobs_in_trouble Jobs that need a launcher now or later, because something is wrong with them.
# TYPE prefect_keda_scaler_jobs_in_trouble gauge
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="cancelled"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="cancelling"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="container"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="crash_loop"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="failed"} 1
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="image_pull"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="job_gone"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="no_pods"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="outlived"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="sidecar"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="spent"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="unschedulable"} 0
prefect_keda_scaler_jobs_in_trouble{connection="default",kind="unstarted"} 0
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "prefect_keda_scaler_jobs_in_trouble"); err != nil {
			t.Error(err)
		}
	})
}
