package explain_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/explain"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

var (
	now   = time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC)
	claim = prefect.Claim{Launcher: "launcher-abc", Namespace: "flows", Job: "prefect-job-1", Attempt: "v1"}
)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// inState is a state with a name of Prefect 1.x's.
func inState(name string) prefect.State {
	phase := map[string]prefect.Phase{
		"Scheduled": prefect.Waiting, "Queued": prefect.Waiting, "Paused": prefect.Held, "Submitted": prefect.Claimed, "Running": prefect.Running,
		"Cancelling": prefect.Cancelling, "Cancelled": prefect.Cancelled, "Success": prefect.Finished, "Failed": prefect.Finished,
	}
	return prefect.State{Phase: phase[name], Name: name, Limited: name == "Queued"}
}

// facts of a run in a state since some time, with a ScaledObject that serves gpu.
func facts(state string, since time.Duration, changes ...func(*explain.Facts)) explain.Facts {
	f := explain.Facts{
		At:         now,
		Run:        prefect.FlowRun{ID: "r", Name: "cat", FlowName: "etl", Place: prefect.Place{Labels: []string{"gpu"}}, State: inState(state), StateAt: ago(since)},
		Asked:      true,
		Serving:    []explain.Served{{Namespace: "keda", Name: "launcher", Scope: prefect.Scope{Labels: []string{"gpu", "prod"}}, Active: true, Reason: "1 due", LastAsked: ago(time.Second), WarmUpLead: 10 * time.Second}},
		Namespaces: []string{"flows"},
		Rules:      trouble.Rules{Grace: time.Minute, CancelGrace: 10 * time.Minute},
		ClaimGrace: 30 * time.Second,
	}
	if state == "Submitted" {
		f.Run.Claim = new(claim)
	}
	for _, change := range changes {
		change(&f)
	}
	return f
}

func due(at time.Time) func(*explain.Facts) {
	return func(f *explain.Facts) { f.Run.State.StartTime, f.Run.Due = at, at }
}

func message(text string) func(*explain.Facts) {
	return func(f *explain.Facts) { f.Run.State.Message = text }
}

func served(change func(*explain.Served)) func(*explain.Facts) {
	return func(f *explain.Facts) { change(&f.Serving[0]) }
}

func labels(all ...string) func(*explain.Facts) {
	return func(f *explain.Facts) { f.Run.Place.Labels = all }
}

// claimed is what past states tell of a run that is no longer Submitted.
func claimed(f *explain.Facts) {
	f.Past = []prefect.PastState{{State: f.Run.State, At: f.Run.StateAt}, {State: inState("Submitted"), At: f.Run.StateAt.Add(-time.Minute), Claim: new(claim)}}
}

func withJob(changes ...func(*batchv1.Job)) func(*explain.Facts) {
	return func(f *explain.Facts) {
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: claim.Job, Namespace: "flows", UID: "j", CreationTimestamp: metav1.NewTime(ago(12 * time.Minute)), Labels: map[string]string{kubernetesrun.LabelFlowRunID: "r", job.LabelAttempt: "v1"}}}
		for _, change := range changes {
			change(j)
		}
		f.Jobs = append(f.Jobs, j)
	}
}

func withPod(phase corev1.PodPhase, changes ...func(*corev1.Pod)) func(*explain.Facts) {
	return func(f *explain.Facts) {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: "pod-1", Namespace: "flows", UID: "p", CreationTimestamp: metav1.NewTime(ago(12 * time.Minute)), Labels: map[string]string{kubernetesrun.LabelFlowRunID: "r"},
				OwnerReferences: []metav1.OwnerReference{{Kind: "Job", UID: "j", Controller: new(true)}},
			},
			Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "flow"}}, RestartPolicy: corev1.RestartPolicyNever},
			Status: corev1.PodStatus{Phase: phase},
		}
		for _, change := range changes {
			change(p)
		}
		f.Pods = append(f.Pods, p)
	}
}

func flow(state corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.NodeName, p.Status.StartTime = "node-1", new(metav1.NewTime(ago(11*time.Minute)))
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "flow", State: state}}
	}
}

func runs(f *corev1.Pod) {
	flow(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(ago(10 * time.Minute))}})(f)
}

func noNode(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		LastTransitionTime: metav1.NewTime(ago(12 * time.Minute)), Message: "0/3 nodes are available: 3 Insufficient memory.",
	}}
}

func warning(of, text string) func(*explain.Facts) {
	return func(f *explain.Facts) {
		f.Events = append(f.Events, corev1.Event{Type: corev1.EventTypeWarning, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: of}, Reason: "Failed", Message: text, LastTimestamp: metav1.NewTime(ago(time.Minute))})
	}
}

func launcherPod(change func(*corev1.Pod)) func(*explain.Facts) {
	return func(f *explain.Facts) {
		f.Watched = true
		if change == nil {
			return
		}
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "launcher-x", Namespace: "keda"}}
		change(p)
		f.Launchers = append(f.Launchers, p)
	}
}

func dueTask(at time.Time) func(*explain.Facts) {
	return func(f *explain.Facts) {
		f.Run.JobFirst, f.Run.Due = true, at
	}
}

// Each row is a situation that somebody may ask about, and the one sentence or two
// that they read first.
func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		name  string
		facts explain.Facts
		want  string
	}{
		// Scheduled.
		{
			"ahead", facts("Scheduled", time.Hour, due(now.Add(5*time.Minute))),
			"It is Scheduled for 14:05:00 (in 5m); a launcher is woken at 14:04:50.",
		},
		{
			"ahead, on another day", facts("Scheduled", time.Hour, due(now.Add(25*time.Hour)), served(func(s *explain.Served) { s.WarmUpLead = 0 })),
			"It is Scheduled for 2026-11-29 15:00:00 (in 1d1h); a launcher is woken then.",
		},
		{
			"ahead, of nobody", facts("Scheduled", time.Hour, due(now.Add(5*time.Minute)), labels("tpu")),
			"It is Scheduled for 14:05:00 (in 5m), and will not start then. No ScaledObject of this scaler serves [tpu]: keda/launcher serves [gpu, prod]. (Another installation or an agent may.) All of a run's labels must be among a launcher's, and a run without labels is for launchers without.",
		},
		{
			"due", facts("Scheduled", time.Hour, due(ago(3*time.Second))),
			"It is due since 13:59:57 (3s). It starts as soon as a launcher takes it: keda/launcher wants one.",
		},
		{
			"due since its state was written", facts("Scheduled", 3*time.Minute),
			"It is due since 13:57:00 (3m). It starts as soon as a launcher takes it: keda/launcher wants one.",
		},
		{
			"other labels", facts("Scheduled", time.Hour, due(ago(time.Hour)), labels("GPU")),
			"It is due since 13:00:00 (1h0m). It does not start here. No ScaledObject of this scaler serves [GPU]: keda/launcher serves [gpu, prod]. (Another installation or an agent may.) All of a run's labels must be among a launcher's, and a run without labels is for launchers without. \"GPU\" and \"gpu\" are two names to Prefect.",
		},
		{
			"no labels", facts("Scheduled", time.Hour, due(ago(time.Hour)), labels()),
			"It is due since 13:00:00 (1h0m). It does not start here. No ScaledObject of this scaler serves runs without labels: keda/launcher serves [gpu, prod]. (Another installation or an agent may.) All of a run's labels must be among a launcher's, and a run without labels is for launchers without.",
		},
		{
			"no ScaledObject at all", facts("Scheduled", time.Hour, due(ago(time.Hour)), func(f *explain.Facts) { f.Serving = nil }),
			"It is due since 13:00:00 (1h0m). It does not start here. No ScaledObject has asked this scaler lately. Check that one exists and is Ready.",
		},
		{
			"many others", facts("Scheduled", time.Hour, due(ago(time.Hour)), func(f *explain.Facts) {
				f.Serving = slices.Repeat([]explain.Served{{Namespace: "a", Name: "b", Scope: prefect.Scope{Labels: []string{"x"}}}}, 12)
			}),
			"It is due since 13:00:00 (1h0m). It does not start here. No ScaledObject of this scaler serves [gpu]: " + strings.Repeat("a/b serves [x], ", 10) + "and 2 others serve others. (Another installation or an agent may.) All of a run's labels must be among a launcher's, and a run without labels is for launchers without.",
		},
		{
			"nobody to ask who serves", facts("Scheduled", time.Hour, due(ago(time.Hour)), func(f *explain.Facts) { f.Asked, f.Scope.Labels = false, []string{"gpu"} }),
			"It is due since 13:00:00 (1h0m). It is unknown which ScaledObjects serve [gpu]. A launcher with these settings serves [gpu] and would take it.",
		},
		{
			"nor would we", facts("Scheduled", time.Hour, due(now.Add(time.Minute)), func(f *explain.Facts) { f.Asked = false }),
			"It is Scheduled for 14:01:00 (in 1m). It is unknown which ScaledObjects serve [gpu]. A launcher with these settings serves runs without labels and would not take it.",
		},
		{
			"too few for the threshold", facts("Scheduled", time.Hour, due(ago(time.Hour)), served(func(s *explain.Served) { s.Active, s.Reason = false, "1 due, and the threshold is 5" })),
			"It is due since 13:00:00 (1h0m). No launcher is woken for it by keda/launcher: 1 due, and the threshold is 5.",
		},
		{
			"the scaler has no answer", facts("Scheduled", time.Hour, due(ago(time.Hour)), served(func(s *explain.Served) { s.Err = "Prefect has not answered for 5m" })),
			"It is due since 13:00:00 (1h0m). It does not start: the scaler answers KEDA with an error about keda/launcher: Prefect has not answered for 5m.",
		},
		{
			"a typo in the trigger", facts("Scheduled", time.Hour, due(ago(time.Hour)), served(func(s *explain.Served) { s.Refused, s.NotReady = `unknown key "runsPerLaunchr"`, "TriggerError" })),
			"It is due since 13:00:00 (1h0m). It does not start: the scaler refuses the trigger of keda/launcher: unknown key \"runsPerLaunchr\". Fix its metadata: kubectl -n keda edit scaledobject launcher.",
		},
		{
			"a typo from the start", facts("Scheduled", time.Hour, due(ago(time.Hour)), func(f *explain.Facts) {
				f.Serving, f.Refused = nil, []explain.Served{{Namespace: "keda", Name: "launcher", Err: `unknown key "x"`}}
			}),
			"It is due since 13:00:00 (1h0m). It does not start here. No ScaledObject has asked this scaler lately. Check that one exists and is Ready. It refuses the trigger of keda/launcher: unknown key \"x\".",
		},
		{
			"the ScaledObject is paused", facts("Scheduled", time.Hour, due(ago(time.Hour)), served(func(s *explain.Served) { s.Paused = true })),
			"It is due since 13:00:00 (1h0m). It does not start: keda/launcher is paused. Remove the annotations autoscaling.keda.sh/paused... from it.",
		},
		{
			"KEDA cannot make an HPA", facts("Scheduled", time.Hour, due(ago(time.Hour)), served(func(s *explain.Served) { s.NotReady = "failed to ensure HPA" })),
			"It is due since 13:00:00 (1h0m). It does not start: KEDA says that keda/launcher is not Ready: failed to ensure HPA. Its events say more.",
		},
		{
			"KEDA has only just met it", facts("Scheduled", time.Hour, due(ago(time.Second)), served(func(s *explain.Served) { s.NotReady = "it does not say why" })),
			"It is due since 13:59:59 (1s). It starts as soon as a launcher takes it: keda/launcher wants one.",
		},
		{
			"KEDA is away", facts("Scheduled", time.Hour, due(ago(time.Hour)), served(func(s *explain.Served) { s.LastAsked = ago(10 * time.Minute) })),
			"It is due since 13:00:00 (1h0m). It does not start: KEDA has not asked about keda/launcher for 10m. Check that KEDA runs and that the ScaledObject is not paused.",
		},
		{
			"KEDA asks seldom and listens", facts("Scheduled", time.Hour, due(ago(3*time.Second)), served(func(s *explain.Served) { s.LastAsked, s.Listens = ago(10*time.Minute), true })),
			"It is due since 13:59:57 (3s). It starts as soon as a launcher takes it: keda/launcher wants one.",
		},
		{
			"the active one of two", facts("Scheduled", time.Hour, due(ago(time.Hour)), func(f *explain.Facts) {
				f.Serving = append([]explain.Served{{Namespace: "a", Name: "idle", Scope: prefect.Scope{Labels: []string{"gpu"}}, Reason: "below its threshold", LastAsked: now}}, f.Serving...)
			}),
			"It is due since 13:00:00 (1h0m). It starts as soon as a launcher takes it: keda/launcher wants one.",
		},
		{
			"no launcher comes", facts("Scheduled", time.Hour, due(ago(time.Hour)), launcherPod(nil)),
			"It is due since 13:00:00 (1h0m). It starts as soon as a launcher takes it: keda/launcher wants one, and there is no pod yet: see the events of the ScaledObject and of the Deployment.",
		},
		{
			"no launcher comes, as the scaler knows", facts("Scheduled", time.Hour, due(ago(time.Hour)), served(func(s *explain.Served) {
				s.Untaken = "1 run is due and no launcher has taken any for 2m0s: see its pods"
			})),
			"It is due since 13:00:00 (1h0m). It starts as soon as a launcher takes it: keda/launcher wants one. The scaler says: 1 run is due and no launcher has taken any for 2m0s: see its pods.",
		},
		{
			"a launcher that does not come up", facts("Scheduled", time.Hour, due(ago(time.Hour)), launcherPod(func(p *corev1.Pod) {
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "launcher", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: "configmap \"x\" not found"}}}}
			})),
			"It is due since 13:00:00 (1h0m). It starts as soon as a launcher takes it: keda/launcher wants one, and its pod launcher-x does not run: configmap \"x\" not found.",
		},
		{
			"a launcher without a node", facts("Scheduled", time.Hour, due(ago(time.Hour)), launcherPod(noNode)),
			"It is due since 13:00:00 (1h0m). It starts as soon as a launcher takes it: keda/launcher wants one, and its pod launcher-x has no node: 0/3 nodes are available: 3 Insufficient memory.",
		},
		{
			"a launcher that does not take it", facts("Scheduled", time.Hour, due(ago(time.Hour)), launcherPod(runs)),
			"It is due since 13:00:00 (1h0m). It starts as soon as a launcher takes it: keda/launcher wants one, and its pod launcher-x is up since 13:50:00: see its log.",
		},
		{
			"nor on Cloud", facts("Scheduled", time.Hour, due(ago(time.Hour)), launcherPod(runs), func(f *explain.Facts) { f.Cloud = true }),
			"It is due since 13:00:00 (1h0m). It starts as soon as a launcher takes it: keda/launcher wants one, and its pod launcher-x is up since 13:50:00: see its log; or a concurrency limit of Prefect's holds the run back.",
		},
		{
			"put back", facts("Scheduled", time.Minute, due(ago(time.Second)), message("No pod of Job j began the flow."), claimed),
			"It is due since 13:59:59 (1s), having been put back at 13:59:00: No pod of Job j began the flow. It starts as soon as a launcher takes it: keda/launcher wants one.",
		},
		{
			"a fault of its author's", facts("Scheduled", time.Minute, due(ago(time.Second)), func(f *explain.Facts) { f.Run.Fault = &prefect.AuthorError{Message: "too large."} }),
			"It is due since 13:59:59 (1s). The first launcher that takes it fails it: too large.",
		},
		{"paused", facts("Paused", time.Minute), "It is Paused until somebody resumes it."},
		{"held back by Cloud", facts("Queued", time.Minute, due(ago(time.Second)), message("Queued due to concurrency limits")), "It is Queued since 13:59:00 (1m), by Prefect: Queued due to concurrency limits."},
		{"pending", facts("Pending", time.Minute), "It is Pending and not scheduled: launchers take only what is."},
		{"a state of the future", facts("Levitating", time.Minute), "It is Levitating and not scheduled: launchers take only what is."},

		// Submitted.
		{"claimed just now", facts("Submitted", 5*time.Second), "It was launched at 13:59:55 (5s ago) by launcher-abc, who is about to create its Job prefect-job-1."},
		{
			"a Job that is missing", facts("Submitted", 5*time.Minute),
			"It was launched at 13:55:00 (5m ago) by launcher-abc, and its Job prefect-job-1 is not there: the next launcher creates it unless a quota of Jobs or a permission is in the way, which its log and the run's say. It starts as soon as a launcher takes it: keda/launcher wants one.",
		},
		{
			"a Job nobody may look for", facts("Submitted", 5*time.Minute, func(f *explain.Facts) { f.Namespaces = nil }),
			"It was launched at 13:55:00 (5m ago) by launcher-abc, and whether its Job prefect-job-1 is in namespace flows could not be read.",
		},
		{
			"a pod without its Job", facts("Submitted", 5*time.Minute, withPod(corev1.PodRunning)),
			"It was launched at 13:55:00 (5m ago) by launcher-abc; its Job prefect-job-1 was deleted, and is created again once its pod pod-1 has ended.",
		},
		{
			"another cluster", facts("Submitted", 5*time.Minute, func(f *explain.Facts) { f.Elsewhere = true }),
			"It was launched at 13:55:00 (5m ago) by launcher-abc into namespace flows of another cluster: ask there.",
		},
		{
			"an agent's", facts("Submitted", 5*time.Minute, func(f *explain.Facts) { f.Run.Claim = nil }),
			"It was submitted at 13:55:00 (5m ago) by somebody else, an agent perhaps, and has no Job here: only who submitted it goes on with it, or Prefect puts it back after ten minutes.",
		},
		{
			"no node, for ever", facts("Submitted", 12*time.Minute, withJob(), withPod(corev1.PodPending, noNode)),
			"It has waited 12m for a node: 0/3 nodes are available: 3 Insufficient memory. It waits for ever; PREFECT_KEDA_PENDING_TIMEOUT would end that.",
		},
		{
			"no node, though the run was told", facts("Submitted", 12*time.Minute, withJob(func(j *batchv1.Job) {
				j.Annotations = map[string]string{trouble.Annotation: trouble.Note{Told: trouble.Unschedulable}.String()}
			}), withPod(corev1.PodPending, noNode), func(f *explain.Facts) { f.Rules.PendingFor = time.Hour }),
			"It has waited 12m for a node: 0/3 nodes are available: 3 Insufficient memory. It is failed at 14:48:00 if that lasts (PREFECT_KEDA_PENDING_TIMEOUT).",
		},
		{
			"a quota", facts("Submitted", 12*time.Minute, withJob(), warning(claim.Job, "pods \"x\" is forbidden: exceeded quota: none")),
			"It has waited 12m for its pod, which Kubernetes does not create: pods \"x\" is forbidden: exceeded quota: none. It waits for ever; PREFECT_KEDA_PENDING_TIMEOUT would end that.",
		},
		{
			"a volume", facts("Submitted", 12*time.Minute, withJob(), withPod(corev1.PodPending, flow(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}})), warning("pod-1", "MountVolume.SetUp failed")),
			"It has waited 11m for its pod pod-1 to start, which has a node: MountVolume.SetUp failed. It waits for ever; PREFECT_KEDA_PENDING_TIMEOUT would end that.",
		},
		{
			"an image", facts("Submitted", 12*time.Minute, withJob(), withPod(corev1.PodPending, flow(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}}))),
			"Its pod pod-1 cannot start for 11m: no such image. A launcher is about to fail the run.",
		},
		{
			"an image, lately", facts("Submitted", time.Minute, withJob(), withPod(corev1.PodPending, flow(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}}), func(p *corev1.Pod) {
				p.Status.StartTime = new(metav1.NewTime(ago(20 * time.Second)))
			})),
			"Its pod pod-1 cannot start for 20s: no such image. If that lasts, the run is failed at 14:00:40 (PREFECT_KEDA_POD_GRACE).",
		},
		{
			"a pod that failed", facts("Submitted", time.Minute, withJob(), withPod(corev1.PodFailed, flow(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}}))),
			"Its pod, or its Job, has failed, and a launcher is about to tell the run: pods ['pod-1'] failed for this job.",
		},
		{
			"a pod that starts", facts("Submitted", 20*time.Second, withJob(), withPod(corev1.PodPending, func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(ago(20 * time.Second)) })),
			"It was launched at 13:59:40 (20s ago) by launcher-abc; its pod pod-1 of Job prefect-job-1 is starting: Pending.",
		},
		{
			"a suspended Job", facts("Submitted", time.Hour, withJob(func(j *batchv1.Job) { j.Spec.Suspend = new(true) })),
			"It was launched at 13:00:00 (1h0m ago) by launcher-abc; its Job prefect-job-1 is suspended: whatever queues Jobs here lets it wait.",
		},
		{
			"a flow that has not told yet", facts("Submitted", time.Minute, withJob(), withPod(corev1.PodRunning, runs)),
			"It was launched at 13:59:00 (1m ago) by launcher-abc; its pod pod-1 runs since 13:50:00 and has not told Prefect yet: see kubectl -n flows logs pod-1.",
		},
		{
			"an agent's Job", facts("Submitted", time.Minute, withJob(), withPod(corev1.PodRunning, runs), func(f *explain.Facts) { f.Run.Claim = nil }),
			"It was submitted at 13:59:00 (1m ago); its pod pod-1 runs since 13:50:00 and has not told Prefect yet: see kubectl -n flows logs pod-1.",
		},

		// Running.
		{"runs", facts("Running", time.Minute, claimed, withJob(), withPod(corev1.PodRunning, runs)), "It runs since 13:50:00: pod pod-1 of Job prefect-job-1, on node node-1."},
		{
			"its Job is gone", facts("Running", time.Minute, claimed, func(f *explain.Facts) { f.Run.Heartbeat = ago(40 * time.Second) }),
			"It is Running since 13:59:00 (1m) as far as Prefect knows, but its Job prefect-job-1 does not exist: after two minutes without a sign of life (the last one was at 13:59:20) a launcher fails it.",
		},
		{"runs elsewhere", facts("Running", time.Minute, claimed, func(f *explain.Facts) { f.Elsewhere = true }), "It is Running since 13:59:00 (1m), in namespace flows of another cluster: ask there."},
		{"nobody may look", facts("Running", time.Minute, claimed, func(f *explain.Facts) { f.Namespaces = nil }), "It is Running since 13:59:00 (1m), and whether its Job prefect-job-1 is in namespace flows could not be read."},
		{"not ours", facts("Running", time.Minute), "It is Running since 13:59:00 (1m), and was not launched by a launcher of ours: no Job of it is here."},
		{
			"a retry", facts("Running", time.Hour, claimed, dueTask(ago(2*time.Second))),
			"It is Running since 13:00:00 (1h0m), and a task's retry is due since 13:59:58 (2s). It starts as soon as a launcher takes it: keda/launcher wants one.",
		},
		{"a retry that waits", facts("Running", time.Hour, claimed, dueTask(now.Add(time.Minute))), "It is Running since 13:00:00 (1h0m) and waits for a task's retry, due at 14:01:00."},

		// The end.
		{"cancelling", facts("Cancelling", time.Minute, claimed, withJob(), withPod(corev1.PodRunning, runs)), "It is being cancelled since 13:59:00 (1m); its flow stops by itself, or a launcher stops it at 14:09:00 (PREFECT_KEDA_CANCEL_GRACE)."},
		{"cancelling for ever", facts("Cancelling", time.Minute, claimed, withJob(), func(f *explain.Facts) { f.Rules.CancelGrace = 0 }), "It is being cancelled since 13:59:00 (1m); its flow has to stop by itself."},
		{"cancelling without a Job", facts("Cancelling", time.Minute, claimed), "It is being cancelled since 13:59:00 (1m), and no Job of it is here."},
		{"cancelling elsewhere", facts("Cancelling", time.Minute, claimed, func(f *explain.Facts) { f.Elsewhere = true }), "It is being cancelled since 13:59:00 (1m), in another cluster."},
		{"failed", facts("Failed", time.Minute, message("Kubernetes Error: pods ['p'] failed for this job")), "It ended as Failed at 13:59:00 (1m ago): Kubernetes Error: pods ['p'] failed for this job."},
		{"cancelled, and it goes on", facts("Cancelled", time.Minute, withJob(), withPod(corev1.PodRunning, runs)), "It ended as Cancelled at 13:59:00 (1m ago). Its pod pod-1 goes on all the same."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, tc.facts.Verdict()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// Somebody else's words are one line, and no more of them than can be read.
func TestWordsAreBounded(t *testing.T) {
	f := facts("Failed", time.Minute, message(strings.Repeat("many\nwords ", 1000)))
	if got := f.Verdict(); len(got) > 1000 || strings.Contains(got, "\n") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// In Prefect 3 a run waits in a work pool, and Prefect may hold it back.
func TestVerdictOfWorkPools(t *testing.T) {
	inPool := func(f *explain.Facts) {
		f.Run.Place, f.Serving[0].Scope = prefect.Place{Pool: "etl", Queue: "high"}, prefect.Scope{}
	}
	for _, tc := range []struct {
		want string
		f    explain.Facts
	}{
		{
			"It is Scheduled since 13:59:00 (1m), and Prefect holds it back: work pool etl limit 2 reached. It starts when that is over; nothing here has to be changed for it.",
			facts("Scheduled", time.Minute, inPool, due(now.Add(30*time.Second)), func(f *explain.Facts) { f.HeldBack = "work pool etl limit 2 reached" }),
		},
		{
			"It is due since 13:59:00 (1m). It starts as soon as a launcher takes it: keda/launcher wants one.",
			facts("Scheduled", time.Minute, inPool, due(ago(time.Minute))),
		},
		{
			"It is due since 13:59:00 (1m). It does not start here. No ScaledObject of this scaler serves work pool etl, queue high: keda/launcher serves work pools [ETL]. " +
				`(Another installation or an agent may.) A run's work pool and its queue must be among a launcher's, if it names any. "etl" and "ETL" are two names to Prefect.`,
			facts("Scheduled", time.Minute, inPool, due(ago(time.Minute)), func(f *explain.Facts) { f.Serving[0].Scope.Pools = []string{"ETL"} }),
		},
		{
			"It is due since 13:59:00 (1m). It is unknown which ScaledObjects serve work pool etl, queue high. A launcher with these settings serves all work pools and would take it.",
			facts("Scheduled", time.Minute, inPool, due(ago(time.Minute)), func(f *explain.Facts) { f.Asked = false }),
		},
		{
			"It was submitted at 13:55:00 (5m ago) by somebody else, a worker perhaps, and has no Job here: only who submitted it goes on with it; nobody else does.",
			facts("Submitted", 5*time.Minute, inPool, func(f *explain.Facts) { f.Run.Claim = nil }),
		},
		{
			"It was launched at 13:55:00 (5m ago) by launcher-abc; its Job prefect-job-1 was deleted: a launcher ends the run within minutes.",
			facts("Submitted", 5*time.Minute, inPool, func(f *explain.Facts) { f.Run.HasJob = true }),
		},
		{
			"It is Running since 13:59:00 (1m) as far as Prefect knows, but its Job prefect-job-1 does not exist: within minutes a launcher fails it.",
			facts("Running", time.Minute, claimed, inPool),
		},
	} {
		if d := cmp.Diff(tc.want, tc.f.Verdict()); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
}
