package trouble_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/trouble"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func rules() trouble.Rules {
	return trouble.Rules{Grace: time.Minute, PendingFor: 30 * time.Minute}
}

// The objects are real ones, cut to the fields that count.

func aJob(t *testing.T, more string) *batchv1.Job {
	t.Helper()
	j := &batchv1.Job{}
	read(t, `
metadata: {name: j, uid: u, namespace: flows, creationTimestamp: "2026-11-23T12:00:00Z", labels: {prefect.io/flow_run_id: r}}
`+more, j)
	return j
}

func aPod(t *testing.T, name, status string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	uid, _, _ := strings.Cut(name, "\n")
	read(t, `
metadata:
  uid: uid of `+uid+`
  name: `+name+`
  namespace: flows
  creationTimestamp: "2026-11-23T12:00:00Z"
  labels: {prefect.io/flow_run_id: r}
  ownerReferences: [{apiVersion: batch/v1, kind: Job, name: j, uid: u, controller: true}]
spec:
  restartPolicy: Never
  containers: [{name: flow}]
status:
`+status, p)
	return p
}

func read(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

const (
	active  = "status: {startTime: \"2026-11-23T12:00:00Z\", active: 1, ready: 0}\n"
	running = `
  phase: Running
  startTime: "2026-11-23T12:00:02Z"
  conditions: [{type: PodScheduled, status: "True"}]
  containerStatuses: [{name: flow, ready: true, restartCount: 0, image: i, imageID: x, state: {running: {startedAt: "2026-11-23T12:00:05Z"}}}]
`
	oomKilled = `
  phase: Failed
  startTime: "2026-11-23T12:00:02Z"
  containerStatuses:
    - {name: flow, ready: false, restartCount: 0, image: i, imageID: x, state: {terminated: {exitCode: 137, reason: OOMKilled, finishedAt: "2026-11-23T12:03:00Z"}}}
`
	evicted = `
  phase: Failed
  startTime: "2026-11-23T12:00:02Z"
  reason: Evicted
  message: "The node was low on resource: memory."
`
	unschedulable = `
  phase: Pending
  conditions:
    - {type: PodScheduled, status: "False", reason: Unschedulable, lastTransitionTime: "2026-11-23T12:00:01Z", message: "0/3 nodes are available: 3 Insufficient cpu."}
`
)

// waits is a pod; its container flow waits for the reason.
func waits(reason, message string) string {
	return `
  phase: Pending
  startTime: "2026-11-23T12:00:10Z"
  conditions: [{type: PodScheduled, status: "True"}]
  containerStatuses:
    - {name: flow, ready: false, restartCount: 0, image: i, imageID: "", state: {waiting: {reason: ` + reason + `, message: "` + message + `"}}}
`
}

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func TestJudge(t *testing.T) {
	conditions := func(kind, reason, message string) string {
		return `status: {failed: 1, conditions: [{type: ` + kind + `, status: "True", reason: ` + reason + `, message: "` + message + `", lastTransitionTime: "2026-11-23T12:09:00Z"}]}` + "\n"
	}
	type pods map[string]string
	pull := trouble.Finding{
		Kind: trouble.ImagePull, Final: true, From: at(70), Pods: []string{"p"}, Container: "flow",
		Message: `Kubernetes Error: Back-off pulling image nope`,
	}
	unsched := trouble.Finding{
		Kind: trouble.Unschedulable, From: at(61), Pods: []string{"p"},
		Message: "Kubernetes Error: pod p cannot be scheduled: 0/3 nodes are available: 3 Insufficient cpu.",
	}
	oom := trouble.Finding{Kind: trouble.Failed, Final: true, From: at(180), Pods: []string{"p"}, Message: "Kubernetes Error: pods ['p'] failed for this job: OOMKilled"}
	with := func(f trouble.Finding, change func(*trouble.Finding)) *trouble.Finding {
		change(&f)
		return &f
	}

	for _, tc := range []struct {
		name  string
		job   string
		note  string
		pods  pods
		owner types.UID // the pods' Job's, if it is not this one
		rules func(*trouble.Rules)
		want  *trouble.Finding
	}{
		{name: "runs", job: active, pods: pods{"p": running}},
		{
			name: "pulls its image, or waits for a volume", job: active, pods: pods{"p": waits("ContainerCreating", "")},
			want: &trouble.Finding{Kind: trouble.Unstarted, From: at(70), Pods: []string{"p"}, Message: "Kubernetes Error: pod p does not start"},
		},
		{name: "has begun to set itself up", job: active, pods: pods{"p": `
  phase: Pending
  startTime: "2026-11-23T12:00:10Z"
  initContainerStatuses:
    - {name: setup, ready: false, restartCount: 0, image: i, imageID: x, state: {running: {startedAt: "2026-11-23T12:00:12Z"}}}
  containerStatuses:
    - {name: flow, ready: false, restartCount: 0, image: i, imageID: "", state: {waiting: {reason: PodInitializing}}}
`}},
		{name: "just made", job: "", want: &trouble.Finding{Kind: trouble.NoPods, From: at(60), Message: "Kubernetes Error: no pod is created for Job j"}},
		{name: "pods counted that we do not see yet", job: active},
		{name: "pods are ready, as a newer API server counts them", job: "status: {succeeded: 1, conditions: [{type: Complete, status: \"True\"}]}"},
		{name: "suspended", job: "spec: {suspend: true, template: {spec: {containers: []}}}"},

		{name: "killed for its memory", job: "status: {failed: 1, active: 1}", pods: pods{"p": oomKilled}, want: &oom},
		{name: "a pod failed of a Job of the same name that was deleted", job: active, pods: pods{"p": oomKilled}, owner: "deleted"},
		{name: "killed for its memory, and the Job's count is late", job: active, pods: pods{"p": oomKilled}, want: &oom},
		{
			name: "evicted", job: "status: {failed: 1}", pods: pods{"p": evicted},
			want: with(oom, func(f *trouble.Finding) {
				f.From, f.Unbegun, f.Message = noon, true, "Kubernetes Error: pods ['p'] failed for this job: Evicted"
			}),
		},
		{
			name: "two pods failed", job: "status: {failed: 2}", pods: pods{"p": oomKilled, "q": oomKilled, "r": running},
			want: with(oom, func(f *trouble.Finding) {
				f.Pods, f.Message = []string{"p", "q"}, "Kubernetes Error: pods ['p', 'q'] failed for this job: OOMKilled"
			}),
		},
		{name: "a pod failed that Kubernetes will replace", job: "status: {failed: 1, active: 1}", pods: pods{"p": oomKilled}, rules: func(r *trouble.Rules) { r.PodRetries = true }},
		{
			name: "given up after its retries", job: conditions("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"),
			pods: pods{"p": oomKilled}, rules: func(r *trouble.Rules) { r.PodRetries = true }, want: &oom,
		},
		{name: "another pod succeeded after one failed", job: "status: {failed: 1, succeeded: 1, conditions: [{type: Complete, status: \"True\"}]}", pods: pods{"p": oomKilled}, want: &oom},
		{
			name: "past its deadline, its pods are gone", job: conditions("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"),
			want: &trouble.Finding{Kind: trouble.Failed, Final: true, From: at(540), Message: "Kubernetes Error: Job j failed: DeadlineExceeded: Job was active longer than specified deadline"},
		},
		{
			name: "a pod failed and is gone", job: "status: {failed: 1}",
			want: &trouble.Finding{Kind: trouble.Failed, Final: true, From: noon, Message: "Kubernetes Error: 1 pods failed for this job and are gone", Unbegun: true},
		},

		{name: "first pull failed", job: active, pods: pods{"p": waits("ErrImagePull", "Back-off pulling image nope")}, want: &pull},
		{name: "backs off from pulling", job: active, pods: pods{"p": waits("ImagePullBackOff", "Back-off pulling image nope")}, want: &pull},
		{
			name: "no such name of an image", job: active, pods: pods{"p": waits("InvalidImageName", "Failed to apply default image tag")},
			want: with(pull, func(f *trouble.Finding) {
				f.From, f.Message = at(10), "Kubernetes Error: Failed to apply default image tag"
			}),
		},
		{
			name: "an init container's image", job: active,
			pods: pods{"p": `
  phase: Pending
  startTime: "2026-11-23T12:00:10Z"
  initContainerStatuses:
    - {name: setup, ready: false, restartCount: 0, image: i, imageID: "", state: {waiting: {reason: ErrImagePull}}}
  containerStatuses:
    - {name: flow, ready: false, restartCount: 0, image: i, imageID: "", state: {waiting: {reason: PodInitializing}}}
`},
			want: with(pull, func(f *trouble.Finding) { f.Container, f.Message = "setup", "Kubernetes Error: ErrImagePull" }),
		},
		{
			name: "first pull failed, after an init container that took long", job: active,
			pods: pods{"p": `
  phase: Pending
  startTime: "2026-11-23T12:00:10Z"
  initContainerStatuses:
    - {name: setup, ready: true, restartCount: 0, image: i, imageID: x, state: {terminated: {exitCode: 0, finishedAt: "2026-11-23T12:02:00Z"}}}
  containerStatuses:
    - {name: flow, ready: false, restartCount: 0, image: i, imageID: "", state: {waiting: {reason: ErrImagePull}}}
`},
			want: with(pull, func(f *trouble.Finding) { f.From, f.Message = at(180), "Kubernetes Error: ErrImagePull" }),
		},
		{
			name: "first pull failed, after a sidecar whose image is large", job: active,
			pods: pods{"p": `
  phase: Pending
  startTime: "2026-11-23T12:00:10Z"
  containerStatuses:
    - {name: sidecar, ready: true, restartCount: 0, image: i, imageID: x, state: {running: {startedAt: "2026-11-23T12:03:00Z"}}}
    - {name: flow, ready: false, restartCount: 0, image: i, imageID: "", state: {waiting: {reason: ErrImagePull}}}
`},
			want: with(pull, func(f *trouble.Finding) { f.From, f.Message = at(240), "Kubernetes Error: ErrImagePull" }),
		},
		{
			name: "a pull failed when the container was to run again, hours later", job: active,
			pods: pods{"p": `
  phase: Running
  startTime: "2026-11-23T12:00:10Z"
  containerStatuses:
    - name: flow
      ready: false
      restartCount: 1
      image: i
      imageID: x
      state: {waiting: {reason: ErrImagePull}}
      lastState: {terminated: {exitCode: 1, reason: Error, finishedAt: "2026-11-23T15:00:00Z"}}
`},
			want: with(pull, func(f *trouble.Finding) {
				f.From, f.Message = at(3*3600+60), "Kubernetes Error: ErrImagePull"
			}),
		},
		{
			name: "its Secret is missing", job: active, pods: pods{"p": waits("CreateContainerConfigError", "secret not found")},
			want: with(pull, func(f *trouble.Finding) {
				f.Kind, f.Message = trouble.Container, "Kubernetes Error: secret not found"
			}),
		},
		{
			name: "crashes again and again", job: active,
			pods: pods{"p": `
  phase: Running
  startTime: "2026-11-23T12:00:10Z"
  containerStatuses:
    - name: flow
      ready: false
      restartCount: 5
      image: i
      imageID: x
      state: {waiting: {reason: CrashLoopBackOff, message: back-off 2m40s restarting failed container}}
      lastState: {terminated: {exitCode: 1, reason: Error, finishedAt: "2026-11-23T12:05:00Z"}}
`},
			want: with(pull, func(f *trouble.Finding) {
				f.Kind, f.From, f.Message = trouble.CrashLoop, at(360), "Kubernetes Error: back-off 2m40s restarting failed container"
			}),
		},
		{name: "the pod is on its way out", job: active, pods: pods{"p\n  deletionTimestamp: \"2026-11-23T12:01:00Z\"": waits("ErrImagePull", "m")}},

		{name: "no node takes it", job: active, pods: pods{"p": unschedulable}, want: &unsched},
		{
			name: "no node takes it, and the run was told", job: active, note: `{"told":"unschedulable"}`, pods: pods{"p": unschedulable},
			want: with(unsched, func(f *trouble.Finding) { f.Final, f.From = true, at(1801) }),
		},
		{name: "may wait for a node for ever", job: active, note: `{"told":"unschedulable"}`, pods: pods{"p": unschedulable}, rules: func(r *trouble.Rules) { r.PendingFor = 0 }},
		{name: "told of a quota, now no node takes it", job: active, note: `{"told":"no_pods"}`, pods: pods{"p": unschedulable}, want: &unsched},

		{name: "a launcher is at it", job: active, note: `{"by":"l","until":"2026-11-23T12:10:00Z"}`, pods: pods{"p": oomKilled}, want: with(oom, func(f *trouble.Finding) { f.From = at(600) })},
		{name: "the launcher that was at it is gone", job: active, note: `{"by":"l","until":"2026-11-23T12:02:00Z"}`, pods: pods{"p": oomKilled}, want: &oom},
		{name: "seen to and kept", job: active, note: `{"done":true}`, pods: pods{"p": oomKilled}},
		{
			name: "its run was told the end", job: active, note: `{"spent":true,"until":"2026-11-23T12:01:00Z"}`, pods: pods{"p": oomKilled},
			want: &trouble.Finding{Kind: trouble.Spent, Final: true, From: at(60)},
		},
		{name: "what failed was of an earlier attempt", job: "status: {failed: 1, active: 1}", note: `{"past":["uid of p"]}`, pods: pods{"p": oomKilled, "q": running}},
		{name: "what failed is gone, and another pod runs", job: "status: {failed: 2, active: 1}", note: `{"past":["gone 1","gone 2"]}`, pods: pods{"q": running}},
		{name: "what failed was of an earlier attempt, and is gone", job: "status: {failed: 1, active: 1}", note: `{"past":["uid of p"]}`, pods: pods{"q": running}},
		{
			name: "another pod failed since", job: "status: {failed: 2}", note: `{"past":["uid of p"]}`, pods: pods{"p": oomKilled, "q": oomKilled},
			want: with(oom, func(f *trouble.Finding) {
				f.Pods, f.Message = []string{"q"}, "Kubernetes Error: pods ['q'] failed for this job: OOMKilled"
			}),
		},
		{name: "a note that cannot be read", job: active, note: `{{`, pods: pods{"p": oomKilled}, want: &oom},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j, r := aJob(t, tc.job), rules()
			j.Annotations = map[string]string{trouble.Annotation: tc.note, "other": "x"}
			if tc.rules != nil {
				tc.rules(&r)
			}
			var all []*corev1.Pod
			for name, status := range tc.pods {
				p := aPod(t, name, status)
				if tc.owner != "" {
					p.OwnerReferences[0].UID = tc.owner
				}
				all = append(all, p)
			}
			// What watches keep must be judged as the whole is.
			slimmed := make([]*corev1.Pod, 0, len(all))
			for _, p := range all {
				slimmed = append(slimmed, trouble.SlimPod(p, kubernetesrun.Marks()))
			}
			for _, judged := range []struct {
				job  *batchv1.Job
				pods []*corev1.Pod
			}{{j, all}, {trouble.SlimJob(j, kubernetesrun.Marks()), slimmed}} {
				var got *trouble.Finding
				if f, found := trouble.Judge(judged.job, judged.pods, r); found {
					got = &f
				}
				if d := cmp.Diff(tc.want, got); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
			}
		})
	}
}

func TestLeavingJobIsNoTrouble(t *testing.T) {
	j := aJob(t, "status: {failed: 1}")
	j.DeletionTimestamp = &j.CreationTimestamp
	if f, found := trouble.Judge(j, nil, rules()); found {
		t.Errorf("found %+v", f)
	}
}
