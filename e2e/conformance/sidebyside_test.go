//go:build conformance

package conformance

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	typedbatchv1 "k8s.io/client-go/kubernetes/typed/batch/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// left is what one of the two left behind of a run, in words that are the same
// for both when they did the same.
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
}

func iso(in time.Duration) string { return time.Now().Add(in).UTC().Format(time.RFC3339Nano) }

func scenes() map[string]scene {
	kubernetesRun := func(fields map[string]any) prefecttest.Order {
		config := map[string]any{"type": "KubernetesRun", "labels": []any{}}
		maps.Copy(config, fields)
		return prefecttest.Order{RunConfig: config}
	}
	return map[string]scene{
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

// differences are those we want, each for the reason it is given.
func differences() map[string]string {
	const family = "the server hands these out with the scheduled ones, and agent 1.4.1 drops them, so they wait for ever and fill its queue"
	return map[string]string{"Paused": family, "Resume": family, "Queued": family, "Retrying": family}
}

// The real agent and our launcher get the same runs; what each leaves behind is
// compared, state by state and line by line.
func TestLauncherLeavesBehindWhatTheAgentDoes(t *testing.T) {
	scenes := scenes()
	theirs := play(t, scenes, func(api string) map[string]int {
		k := &kubernetes{jobs: map[string]*batchv1.Job{}}
		agent(t, api, k, 8)
		jobs := map[string]int{}
		for _, j := range k.jobs {
			jobs[j.Labels[job.LabelFlowRunID]]++
		}
		return jobs
	})
	ours := play(t, scenes, func(api string) map[string]int { return launch(t, api) })
	wanted := differences()
	for name := range scenes {
		diff := cmp.Diff(theirs[name], ours[name])
		why, different := wanted[name]
		switch {
		case diff != "" && !different:
			t.Errorf("%s (-agent +launcher):\n%s", name, diff)
		case diff == "" && different:
			t.Errorf("%s: there is no difference any more, so this needs no reason: %s", name, why)
		}
	}
}

// play sets every scene before an API of its own and has somebody act on it.
func play(t *testing.T, scenes map[string]scene, act func(api string) map[string]int) map[string]left {
	t.Helper()
	api := prefecttest.New(prefecttest.Options{})
	flow := api.CreateFlow(prefecttest.FlowSpec{Name: "side-by-side", Tasks: []string{"task"}})
	ids := map[string]string{}
	for name, s := range scenes {
		s.order.FlowID = flow
		id := api.CreateRuns(s.order)[0]
		ids[name] = id
		if s.state != nil {
			if err := api.SetState(id, s.state); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if s.task != nil {
			if err := api.SetTaskState(api.Runs(id)[0].TaskRuns[0].ID, s.task); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	jobs := act(api.Start(t))
	behind := map[string]left{}
	for name, id := range ids {
		r := api.Runs(id)[0]
		l := left{Jobs: jobs[id]}
		for _, s := range r.History {
			l.States = append(l.States, strings.ReplaceAll(s.Type+": "+s.Message, id, "ID"))
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

// jobsClient and podsClient say, as the fake Clientset does, that they cannot
// stream their lists.
type (
	jobsClient struct{ typedbatchv1.JobInterface }
	podsClient struct{ typedcorev1.PodInterface }
)

func (jobsClient) IsWatchListSemanticsUnSupported() bool { return true }
func (podsClient) IsWatchListSemanticsUnSupported() bool { return true }

func launch(t *testing.T, api string) map[string]int {
	t.Helper()
	backend, err := prefect1.New(prefect1.Options{API: api, Backend: prefect1.Server, AgentName: "agent", RequestTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	cluster := fake.NewClientset()
	client := cluster.BatchV1().Jobs("flows")
	l, err := launcher.New(
		launcher.Options{Name: "launcher", AgentName: "agent", Namespace: "flows", IdleTimeout: 6 * time.Second},
		backend, job.Renderer{Settings: job.Settings{Namespace: "flows", Backend: "server", API: api}},
		launcher.Kubernetes{
			Jobs: jobsClient{client}, Pods: podsClient{cluster.CoreV1().Pods("flows")}, Events: cluster.CoreV1().Events("flows"),
			Log: func(context.Context, string, corev1.PodLogOptions) ([]byte, error) { return nil, nil },
			UID: func(context.Context) (string, error) { return "the namespace's", nil },
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
		jobs[j.Labels[job.LabelFlowRunID]]++
	}
	return jobs
}
