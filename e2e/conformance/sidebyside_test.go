//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	typedbatchv1 "k8s.io/client-go/kubernetes/typed/batch/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// left is what one of the two left behind of a run, in words that are the same
// for both when they did the same. States have their versions and what they wrap.
type left struct {
	States, Tasks, Logs []string
	Jobs                int
}

// scene is a run, and what was done to it before anybody looks.
type scene struct {
	order prefecttest.Order
	state map[string]any
	// task is the state of the run's one task.
	task map[string]any
	// cluster is what Kubernetes has of the run: a Job with a pod, and the pod's events.
	cluster *cluster
}

type cluster struct {
	job    batchv1.Job
	pod    corev1.Pod
	events []corev1.Event
}

// submitted is a run whose Job's pod is in this status.
func submitted(name string, state map[string]any, pod corev1.PodStatus, events ...string) scene {
	long := metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
	c := &cluster{}
	// The Python client refuses objects without containers.
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "flow", Image: "flow:test"}}}
	c.job.Name, c.job.Namespace, c.job.UID, c.job.CreationTimestamp = name, "flows", types.UID(name), long
	c.job.Spec.Template.Spec = spec
	c.job.Status.Active = 1
	if pod.Phase == corev1.PodFailed {
		c.job.Status = batchv1.JobStatus{Failed: 1, Conditions: []batchv1.JobCondition{{
			Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", LastTransitionTime: long,
		}}}
	}
	c.pod.Name, c.pod.Namespace, c.pod.UID, c.pod.CreationTimestamp = name+"-x", "flows", types.UID(name+"-x"), long
	c.pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: name, UID: c.job.UID, Controller: new(true)}}
	c.pod.Spec, c.pod.Status = spec, pod
	for i, text := range events {
		reason, message, _ := strings.Cut(text, ": ")
		e := corev1.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message, LastTimestamp: metav1.NewTime(long.Add(time.Duration(i) * time.Minute))}
		e.Name, e.Namespace, e.UID = fmt.Sprint(name, ".", i), "flows", types.UID(fmt.Sprint(i, name))
		e.InvolvedObject = corev1.ObjectReference{Kind: "Pod", Name: c.pod.Name, UID: c.pod.UID, Namespace: "flows"}
		c.events = append(c.events, e)
	}
	return scene{state: state, cluster: c}
}

// of labels the objects for a run.
func (c cluster) of(id string) cluster {
	labels := map[string]string{kubernetesrun.LabelIdentifier: c.job.Name, kubernetesrun.LabelFlowRunID: id, job.LabelAttempt: "v1"}
	c.job.Labels, c.pod.Labels = labels, labels
	return c
}

func waiting(reason, message string) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "flow", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}}
}

func terminated(code int32, reason string) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "flow", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}},
	}}}
}

func iso(in time.Duration) string { return time.Now().Add(in).UTC().Format(time.RFC3339Nano) }

func scenes() map[string]scene {
	kubernetesRun := func(fields map[string]any) prefecttest.Order {
		config := map[string]any{"type": "KubernetesRun", "labels": []any{}}
		maps.Copy(config, fields)
		return prefecttest.Order{RunConfig: config}
	}
	running, taken := map[string]any{"type": "Running"}, map[string]any{"type": "Submitted"}
	unschedulable := corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/3 nodes are available",
		LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Hour)),
	}}}
	return map[string]scene{
		"Running, its pod was killed":     submitted("killed", running, terminated(137, "OOMKilled")),
		"Running, its pod ended in error": submitted("error", running, terminated(1, "Error"), "Pulled: the image was there"),
		"Submitted, its pod failed":       submitted("early", taken, terminated(127, "StartError")),
		"Success, its pod failed after":   submitted("after", map[string]any{"type": "Success"}, terminated(1, "Error")),
		"Cancelled, its pod failed":       submitted("stopped", map[string]any{"type": "Cancelled"}, terminated(143, "Error")),
		"its image cannot be pulled":      submitted("backoff", taken, waiting("ImagePullBackOff", `Back-off pulling image "nope"`)),
		"its image fails to be pulled":    submitted("pull", taken, waiting("ErrImagePull", "no such image"), "Pulling: pulling image", "Failed: no such image"),
		"no node takes its pod":           submitted("node", taken, unschedulable, "FailedScheduling: 0/3 nodes are available"),
		"its pod is being made":           submitted("making", taken, waiting("ContainerCreating", ""), "Scheduled: it has a node"),

		"no run config":             {},
		"UniversalRun":              {order: prefecttest.Order{RunConfig: map[string]any{"type": "UniversalRun", "labels": []any{}, "env": map[string]any{"A": "1"}}}},
		"KubernetesRun":             {order: kubernetesRun(map[string]any{"image": "flow:1", "cpu_limit": "2"})},
		"due in 3 s":                {order: prefecttest.Order{In: prefecttest.Duration(3 * time.Second)}},
		"due in a minute":           {order: prefecttest.Order{In: prefecttest.Duration(time.Minute)}},
		"of other labels":           {order: prefecttest.Order{Labels: []string{"elsewhere"}}},
		"LocalRun":                  {order: prefecttest.Order{RunConfig: map[string]any{"type": "LocalRun", "labels": []any{}}}},
		"DockerRun":                 {order: prefecttest.Order{RunConfig: map[string]any{"type": "DockerRun", "labels": []any{}}}},
		"unknown run config":        {order: prefecttest.Order{RunConfig: map[string]any{"type": "MoonRun", "labels": []any{}}}},
		"run config without type":   {order: prefecttest.Order{RunConfig: map[string]any{"labels": []any{}}}},
		"number for a quantity":     {order: kubernetesRun(map[string]any{"memory_limit": 5})},
		"labels null":               {order: kubernetesRun(map[string]any{"labels": nil})},
		"unknown pull policy":       {order: kubernetesRun(map[string]any{"image_pull_policy": "Sometimes"})},
		"two templates":             {order: kubernetesRun(map[string]any{"job_template": map[string]any{}, "job_template_path": "s3://bucket/job.yaml"})},
		"Cancelled":                 {state: map[string]any{"type": "Cancelled"}},
		"Success":                   {state: map[string]any{"type": "Success"}},
		"Submitted by someone":      {state: map[string]any{"type": "Submitted"}},
		"Paused":                    {state: map[string]any{"type": "Paused", "start_time": iso(-time.Minute)}},
		"Resume":                    {state: map[string]any{"type": "Resume", "start_time": iso(-time.Minute)}},
		"Queued":                    {state: map[string]any{"type": "Queued", "start_time": iso(-time.Minute)}},
		"Retrying":                  {state: map[string]any{"type": "Retrying", "start_time": iso(-time.Minute)}},
		"Running":                   {state: map[string]any{"type": "Running"}},
		"Running, a retry is due":   {state: map[string]any{"type": "Running"}, task: map[string]any{"type": "Retrying", "start_time": iso(-time.Minute)}},
		"Running, a retry is not":   {state: map[string]any{"type": "Running"}, task: map[string]any{"type": "Retrying", "start_time": iso(time.Hour)}},
		"Running, its task as well": {state: map[string]any{"type": "Running"}, task: map[string]any{"type": "Running"}},
	}
}

// difference is one that we want, and nothing but it.
type difference struct {
	why string
	// agent and launcher are the lines that only one of them writes; without any it
	// is the run that only the launcher takes.
	agent, launcher []string
	// ending is what the message of the launcher's last state has after the agent's.
	ending string
}

// level takes the lines and the ending out; false if they are not there.
func (d difference) level(theirs, ours *left) bool {
	if d.ending != "" {
		end := len(ours.States) - 1
		message, found := strings.CutSuffix(ours.States[end], d.ending)
		ours.States[end] = message
		return found
	}
	if d.agent == nil && d.launcher == nil {
		taken := len(ours.States) == len(theirs.States)+1 && ours.Jobs == theirs.Jobs+1
		*theirs = *ours
		return taken
	}
	without := func(lines, these []string) (others []string) {
		for _, l := range lines {
			if !slices.Contains(these, l) {
				others = append(others, l)
			}
		}
		return others
	}
	a, l := without(theirs.Logs, d.agent), without(ours.Logs, d.launcher)
	found := len(theirs.Logs)-len(a) == len(d.agent) && len(ours.Logs)-len(l) == len(d.launcher)
	theirs.Logs, ours.Logs = a, l
	return found
}

// differences are the reviewed ones, by scene.
func differences() map[string]difference {
	family := difference{why: "the server hands these out with the scheduled ones, and agent 1.4.1 drops them, so they wait for ever and fill its queue"}
	const reason, over = "what fails a run is in its log as well as in its state", "a run that has ended is not told what its pods did after; the Job goes without a word"
	const kubernetes = "Kubernetes' reason stands in the message, where the author looks first"
	return map[string]difference{
		"Running, its pod was killed": {why: kubernetes, ending: ": OOMKilled"},
		"Submitted, its pod failed":   {why: kubernetes, ending: ": StartError"},
		"Paused":                      family, "Resume": family, "Queued": family, "Retrying": family,
		"its image cannot be pulled":   {why: reason, launcher: []string{`ERROR k8s-infra: Kubernetes Error: Back-off pulling image "nope"`}},
		"its image fails to be pulled": {why: reason, launcher: []string{"ERROR k8s-infra: Kubernetes Error: no such image"}},
		"no node takes its pod": {
			why:      "why a run waits is said in its log, once the grace is over",
			launcher: []string{"WARNING k8s-infra: Kubernetes Error: pod node-x cannot be scheduled: 0/3 nodes are available. The run waits for that to change, for ever: PREFECT_KEDA_PENDING_TIMEOUT is not set"},
		},
		"Running, its pod ended in error": {
			why:      "a failed pod's events are told too",
			launcher: []string{"DEBUG k8s-infra: Event: 'Pulled' on pod 'error-x'\n\tMessage: the image was there"},
		},
		"its pod is being made": {
			why:   "no trouble is nothing to tell",
			agent: []string{"DEBUG k8s-infra: Event: 'Scheduled' on pod 'making-x'\n\tMessage: it has a node"},
		},
		"Success, its pod failed after": {why: over, agent: []string{"ERROR k8s-infra: Pod after-x failed.\n\tContainer 'flow' state: terminated\n\t\tExit Code:: 1\n\t\tReason: Error"}},
		"Cancelled, its pod failed":     {why: over, agent: []string{"ERROR k8s-infra: Pod stopped-x failed.\n\tContainer 'flow' state: terminated\n\t\tExit Code:: 143\n\t\tReason: Error"}},
	}
}

// The real agent and our launcher get the same runs; what each leaves behind is
// compared, state by state and line by line.
func TestLauncherLeavesBehindWhatTheAgentDoes(t *testing.T) {
	scenes := scenes()
	theirs := play(t, scenes, func(api string, there []cluster) map[string]int {
		k := &kubernetes{jobs: map[string]*batchv1.Job{}}
		for _, c := range there {
			k.jobs[c.job.Name], k.pods, k.events = &c.job, append(k.pods, c.pod), append(k.events, c.events...)
		}
		agent(t, api, k, 8)
		jobs := map[string]int{}
		for _, j := range k.jobs {
			jobs[j.Labels[kubernetesrun.LabelFlowRunID]]++
		}
		return jobs
	})
	ours := play(t, scenes, func(api string, there []cluster) map[string]int { return launch(t, api, there) })
	wanted := differences()
	for name := range scenes {
		agents, launchers := theirs[name], ours[name]
		if d, different := wanted[name]; different && !d.level(&agents, &launchers) {
			t.Errorf("%s: this difference is not there any more: %s\nagent    %+v\nlauncher %+v", name, d.why, theirs[name], ours[name])
		}
		if diff := cmp.Diff(agents, launchers); diff != "" {
			t.Errorf("%s (-agent +launcher):\n%s", name, diff)
		}
	}
}

// play sets every scene before an API of its own and has somebody act on it.
func play(t *testing.T, scenes map[string]scene, act func(api string, there []cluster) map[string]int) map[string]left {
	t.Helper()
	api := prefecttest.New(prefecttest.Options{})
	flow := api.CreateFlow(prefecttest.FlowSpec{Name: "side-by-side", Tasks: []string{"task"}})
	ids := map[string]string{}
	var there []cluster
	for name, s := range scenes {
		s.order.FlowID = flow
		id := api.CreateRuns(s.order)[0]
		ids[name] = id
		if s.state != nil {
			if err := api.SetState(id, s.state); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if s.cluster != nil {
			there = append(there, s.cluster.of(id))
		}
		if s.task != nil {
			if err := api.SetTaskState(api.Runs(id)[0].TaskRuns[0].ID, s.task); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	url := api.Start(t)
	jobs := act(url, there)
	behind := map[string]left{}
	for name, id := range ids {
		r := api.Runs(id)[0]
		l := left{Jobs: jobs[id]}
		for _, s := range statesOf(t, url, id) {
			l.States = append(l.States, strings.ReplaceAll(s, id, "ID"))
		}
		for _, task := range r.TaskRuns {
			l.Tasks = append(l.Tasks, task.State+": "+task.Message)
		}
		for _, line := range r.Logs {
			text, _, isJob := strings.Cut(line.Message, "Submitted for execution: Job ")
			if isJob {
				text += "Submitted for execution: Job NAME"
			}
			l.Logs = append(l.Logs, line.Level+" "+line.Name+": "+strings.ReplaceAll(text, id, "ID"))
		}
		slices.Sort(l.Logs)
		behind[name] = l
	}
	return behind
}

// statesOf are a run's states as the API returns them: version, type, message, and
// the state that a Submitted one wraps.
func statesOf(t *testing.T, url, id string) []string {
	t.Helper()
	query := `{ flow_run_by_pk(id: "` + id + `") { states(order_by: [{version: asc}]) { version serialized_state } } }`
	resp, err := http.Post(url, "application/json", bytes.NewReader(marshal(t, map[string]any{"query": query})))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	type state struct {
		Type, Message string
		State         *state
	}
	var answer struct {
		Data struct {
			Run struct {
				States []struct {
					Version int
					State   state `json:"serialized_state"`
				}
			} `json:"flow_run_by_pk"`
		}
		Errors json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Errors != nil {
		t.Fatalf("states of %s: %v, %s", id, err, answer.Errors)
	}
	var states []string
	for _, s := range answer.Data.Run.States {
		text := fmt.Sprintf("v%d %s: %s", s.Version, s.State.Type, s.State.Message)
		for wrapped := s.State.State; wrapped != nil; wrapped = wrapped.State {
			text += fmt.Sprintf(" (wraps %s: %s)", wrapped.Type, wrapped.Message)
		}
		states = append(states, text)
	}
	return states
}

// jobsClient and podsClient say, as the fake Clientset does, that they cannot
// stream their lists.
type (
	jobsClient struct{ typedbatchv1.JobInterface }
	podsClient struct{ typedcorev1.PodInterface }
)

func (jobsClient) IsWatchListSemanticsUnSupported() bool { return true }
func (podsClient) IsWatchListSemanticsUnSupported() bool { return true }

func launch(t *testing.T, api string, there []cluster) map[string]int {
	t.Helper()
	backend, err := prefect1.New(prefect1.Options{API: api, Backend: prefect1.Server, AgentName: "agent", RequestTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var objects []runtime.Object
	for _, c := range there {
		objects = append(objects, &c.job, &c.pod)
		for _, e := range c.events {
			objects = append(objects, &e)
		}
	}
	cluster := fake.NewClientset(objects...)
	client := cluster.BatchV1().Jobs("flows")
	l, err := launcher.New(
		launcher.Options{Name: "launcher", AgentName: "agent", Namespace: "flows", Marks: kubernetesrun.Marks(), IdleTimeout: 6 * time.Second, DeleteFinished: true},
		backend, kubernetesrun.Renderer{Settings: kubernetesrun.Settings{Namespace: "flows", Backend: "server", API: api}},
		func(string) jobs.Client {
			return jobs.Client{
				Jobs: jobsClient{client}, Pods: podsClient{cluster.CoreV1().Pods("flows")}, Events: cluster.CoreV1().Events("flows"), Secrets: cluster.CoreV1().Secrets("flows"),
				Log:    func(context.Context, string, corev1.PodLogOptions) (io.ReadCloser, error) { return http.NoBody, nil },
				UID:    func(context.Context) (string, error) { return "the namespace's", nil },
				MayUse: func(context.Context, string) (bool, error) { return true, nil },
			}
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	list, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	jobs := map[string]int{}
	for _, j := range list.Items {
		jobs[j.Labels[kubernetesrun.LabelFlowRunID]]++
	}
	return jobs
}
