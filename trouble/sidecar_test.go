package trouble_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// container is a status as the kubelet writes it.
func container(name, state string) string {
	return fmt.Sprintf("{name: %s, ready: false, restartCount: 0, image: i, imageID: x, %s}", name, state)
}

const (
	up         = `state: {running: {startedAt: "2026-11-23T12:00:05Z"}}`
	crashes    = `state: {waiting: {reason: CrashLoopBackOff, message: back-off}}, lastState: {terminated: {exitCode: 1, reason: Error, finishedAt: "2026-11-23T12:05:00Z"}}`
	pauses     = `state: {terminated: {exitCode: 1, reason: Error, finishedAt: "2026-11-23T12:05:00Z"}}`
	noSecret   = `state: {waiting: {reason: CreateContainerConfigError, message: secret not found}}`
	noImage    = `state: {waiting: {reason: ImagePullBackOff, message: Back-off pulling image nope}}`
	waitsOwn   = `state: {waiting: {reason: PodInitializing}}`
	endedWell  = `state: {terminated: {exitCode: 0, reason: Completed, finishedAt: "2026-11-23T12:03:00Z"}}`
	endedBadly = `state: {terminated: {exitCode: 137, reason: OOMKilled, finishedAt: "2026-11-23T12:03:00Z"}}`
)

// beside is a pod with another container of a kind, in some trouble, beside the flow's.
func beside(t *testing.T, kind, flow, other string) *corev1.Pod {
	t.Helper()
	init, ordinary, phase := "", container("flow", flow), "Running"
	switch kind {
	case "ordinary":
		ordinary += ", " + container("other", other)
		if other == noSecret || other == noImage {
			phase = "Pending" // as long as one of them has not run
		}
	case "init":
		if other == up {
			other = endedWell
		}
		init = container("other", other)
	default:
		init = container("other", other)
	}
	if flow == waitsOwn {
		phase = "Pending"
	}
	p := aPod(t, "p", fmt.Sprintf(`
  phase: %s
  startTime: "2026-11-23T12:00:02Z"
  initContainerStatuses: [%s]
  containerStatuses: [%s]
`, phase, init, ordinary))
	switch kind {
	case "init":
		p.Spec.InitContainers = []corev1.Container{{Name: "other"}}
	case "native":
		p.Spec.InitContainers = []corev1.Container{{Name: "other", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
	}
	return p
}

// judgedAlike judges whole objects and slim ones, and wants the same finding.
func judgedAlike(t *testing.T, j *batchv1.Job, p *corev1.Pod, r trouble.Rules) trouble.Finding {
	t.Helper()
	whole, _ := trouble.Judge(j, []*corev1.Pod{p}, r)
	slim, _ := trouble.Judge(trouble.SlimJob(j, kubernetesrun.Marks()), []*corev1.Pod{trouble.SlimPod(p, kubernetesrun.Marks())}, r)
	if d := cmp.Diff(whole, slim); d != "" {
		t.Errorf("a watch finds other things (-whole +slim):\n%s", d)
	}
	return whole
}

// Trouble of other containers fails a run only if the flow cannot start because of it.
func TestTroubleBesideTheFlow(t *testing.T) {
	others := []string{up, crashes, noSecret, noImage, pauses}
	told, toldOfPauses := []string{"", "sidecar", "sidecar", "sidecar", ""}, []string{"", "sidecar", "sidecar", "sidecar", "sidecar"}
	fails := []string{"", "crash_loop, final", "container, final", "image_pull, final", ""}
	failsInPauses := slices.Concat(fails[:4], []string{"crash_loop, final"})
	all := func(what string) []string { return []string{what, what, what, what, what} }
	for _, tc := range []struct {
		name, state string
		restart     corev1.RestartPolicy
		want        map[string][]string // by kind, for each of the others
	}{
		{"waits for its turn", waitsOwn, corev1.RestartPolicyNever, map[string][]string{"ordinary": {"", "sidecar", "unstarted", "unstarted", ""}, "native": failsInPauses, "init": fails}},
		{"runs", up, corev1.RestartPolicyNever, map[string][]string{"ordinary": told, "native": toldOfPauses, "init": told}},
		{"has failed and is started again", endedBadly, corev1.RestartPolicyOnFailure, map[string][]string{"ordinary": told, "native": toldOfPauses, "init": told}},
		{"has failed", endedBadly, corev1.RestartPolicyNever, map[string][]string{"ordinary": all("failed, final"), "native": all("failed, final")}},
		{"has ended well", endedWell, corev1.RestartPolicyNever, map[string][]string{"ordinary": all("outlived, final"), "native": all("outlived, final")}},
		{"has ended well, and would be started again had it failed", endedWell, corev1.RestartPolicyOnFailure, map[string][]string{"ordinary": all("outlived, final")}},
	} {
		for kind, want := range tc.want {
			for i, other := range others {
				t.Run(fmt.Sprintf("the flow %s, %s container: %s", tc.name, kind, other), func(t *testing.T) {
					p := beside(t, kind, tc.state, other)
					p.Spec.RestartPolicy = tc.restart
					f := judgedAlike(t, aJob(t, active), p, rules())
					got := string(f.Kind)
					if f.Final {
						got += ", final"
					}
					if got != want[i] {
						t.Errorf("found %q, want %q", got, want[i])
					}
					if f.Kind == trouble.Sidecar || f.Kind != "" && want[i] == failsInPauses[i] {
						if f.Container != "other" {
							t.Errorf("found it of container %q", f.Container)
						}
					}
				})
			}
		}
	}
}

// A sidecar's trouble is told once, and no setting makes it the run's end. The kubelet's
// words for its pauses depend on the pod.
func TestSidecarsTroubleIsToldOnce(t *testing.T) {
	for state, said := range map[string]string{crashes: "back-off", pauses: "back-off restarting container other, which ended with exit code 1"} {
		p := beside(t, "native", up, state)
		want := trouble.Finding{
			Kind: trouble.Sidecar, From: at(360), Pods: []string{"p"}, Container: "other",
			Message: "Kubernetes Error: container 'other' of pod p does not run beside the flow: CrashLoopBackOff: " + said,
		}
		if d := cmp.Diff(want, judgedAlike(t, aJob(t, active), p, rules())); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		j := aJob(t, active)
		j.Annotations = map[string]string{trouble.Annotation: `{"told":"sidecar"}`}
		if f := judgedAlike(t, j, p, rules()); f.Kind != "" {
			t.Errorf("found %+v once it was told", f)
		}
		if f, found := trouble.Chore(j, []*corev1.Pod{p}, trouble.Rules{}); found {
			t.Errorf("told that it is over: %+v", f)
		}
	}
}

// A sidecar does not hinder the flow once a later container has begun; and when a pod is
// over, its sidecars have ended for good.
func TestSidecarThatIsInNobodysWay(t *testing.T) {
	p := beside(t, "native", waitsOwn, pauses)
	p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: "fetches"})
	statuses := &p.Status.InitContainerStatuses
	fetches := corev1.ContainerStatus{Name: "fetches", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}}
	*statuses = append(*statuses, fetches)
	if f := judgedAlike(t, aJob(t, active), p, rules()); f.Kind != trouble.CrashLoop || !f.Final {
		t.Errorf("found %+v before it has let another begin", f)
	}
	(*statuses)[1].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: p.CreationTimestamp}}
	if f := judgedAlike(t, aJob(t, active), p, rules()); f.Kind != trouble.Sidecar {
		t.Errorf("found %+v once another has begun", f)
	}
	p.Status.Phase = corev1.PodSucceeded
	if f := judgedAlike(t, aJob(t, active), p, rules()); f.Kind != "" {
		t.Errorf("found %+v of a pod that is over", f)
	}
}

// With retries Kubernetes gets the time to report a failed pod by itself.
func TestDeadFlowOfAPodThatLivesOn(t *testing.T) {
	p := beside(t, "ordinary", endedBadly, up)
	want := trouble.Finding{Kind: trouble.Failed, Final: true, From: at(180), Pods: []string{"p"}, Message: "Kubernetes Error: pods ['p'] failed for this job: OOMKilled"}
	if d := cmp.Diff(want, judgedAlike(t, aJob(t, active), p, rules())); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	r := rules()
	r.PodRetries = true
	want.From = at(240)
	if d := cmp.Diff(want, judgedAlike(t, aJob(t, active), p, r)); d != "" {
		t.Errorf("with retries (-want +got):\n%s", d)
	}
	p.DeletionTimestamp = &p.CreationTimestamp
	if f := judgedAlike(t, aJob(t, active), p, rules()); f.Kind != "" {
		t.Errorf("found %+v of a pod that is being deleted", f)
	}
}

func TestJobOutlivesItsFlow(t *testing.T) {
	p := beside(t, "ordinary", endedWell, up)
	want := trouble.Finding{Kind: trouble.Outlived, Final: true, From: at(240), Pods: []string{"p"}, Message: "the flow of Job j has ended; what goes on of it is stopped"}
	if d := cmp.Diff(want, judgedAlike(t, aJob(t, active), p, rules())); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if f, found := trouble.Judge(aJob(t, active), []*corev1.Pod{p, aPod(t, "q", running)}, rules()); found {
		t.Errorf("found %+v beside a pod that runs the flow", f)
	}
}

// The flow's container is the one with the run's id, even behind injected sidecars.
func TestSidecarInFrontOfTheFlow(t *testing.T) {
	for name, tc := range map[string]struct {
		env  []corev1.EnvVar
		want trouble.Kind
	}{
		"the second was told its run": {[]corev1.EnvVar{{Name: "PREFECT__CONTEXT__FLOW_RUN_ID", Value: "r"}}, trouble.Failed},
		"none was":                    {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := beside(t, "ordinary", endedBadly, up)
			p.Spec.Containers = []corev1.Container{{Name: "other"}, {Name: "flow", Env: tc.env}}
			if f := judgedAlike(t, aJob(t, active), p, rules()); f.Kind != tc.want {
				t.Errorf("found %+v, want %q", f, tc.want)
			}
		})
	}
}

// A container may have rules of its own for its restarts.
func TestFlowStartsAgain(t *testing.T) {
	always, never := corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever
	rule := func(op corev1.ContainerRestartRuleOnExitCodesOperator, codes ...int32) []corev1.ContainerRestartRule {
		return []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: op, Values: codes}}}
	}
	for name, tc := range map[string]struct {
		pod   corev1.RestartPolicy
		flow  corev1.Container
		state string
		want  trouble.Kind
	}{
		"its pod never does":                    {corev1.RestartPolicyNever, corev1.Container{}, endedBadly, trouble.Failed},
		"its pod does":                          {corev1.RestartPolicyOnFailure, corev1.Container{}, endedBadly, ""},
		"its pod does after a failure":          {corev1.RestartPolicyOnFailure, corev1.Container{}, endedWell, trouble.Outlived},
		"it does by itself":                     {corev1.RestartPolicyNever, corev1.Container{RestartPolicy: &always}, endedWell, ""},
		"it does not, though its pod does":      {corev1.RestartPolicyOnFailure, corev1.Container{RestartPolicy: &never}, endedBadly, trouble.Failed},
		"it does after this exit code":          {corev1.RestartPolicyNever, corev1.Container{RestartPolicy: &never, RestartPolicyRules: rule(corev1.ContainerRestartRuleOnExitCodesOpIn, 42, 137)}, endedBadly, ""},
		"it does after another exit code":       {corev1.RestartPolicyNever, corev1.Container{RestartPolicy: &never, RestartPolicyRules: rule(corev1.ContainerRestartRuleOnExitCodesOpIn, 42)}, endedBadly, trouble.Failed},
		"it does after all exit codes but this": {corev1.RestartPolicyNever, corev1.Container{RestartPolicy: &never, RestartPolicyRules: rule(corev1.ContainerRestartRuleOnExitCodesOpNotIn, 137)}, endedBadly, trouble.Failed},
		"it does after all exit codes but one":  {corev1.RestartPolicyNever, corev1.Container{RestartPolicy: &never, RestartPolicyRules: rule(corev1.ContainerRestartRuleOnExitCodesOpNotIn, 42)}, endedBadly, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := beside(t, "ordinary", tc.state, up)
			tc.flow.Name = "flow"
			p.Spec.RestartPolicy, p.Spec.Containers = tc.pod, []corev1.Container{tc.flow, {Name: "other"}}
			if f := judgedAlike(t, aJob(t, active), p, rules()); f.Kind != tc.want {
				t.Errorf("found %+v, want %q", f, tc.want)
			}
		})
	}
}
