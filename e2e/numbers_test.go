//go:build e2e && numbers

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/job/workpool"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// TestNumbers measures us beside the real worker, with the real server on PostgreSQL, and prints
// a table. `make numbers` runs it.
func TestNumbers(t *testing.T) {
	n := &numbers{t: t}
	t.Run("burst at the stand-in", n.burstAtTheStandIn)
	t.Run("from zero", n.fromZero)
	t.Run("the real worker, one by one", n.worker)
	t.Run("bare claims", n.bareClaims)
	t.Run("burst", n.burst)
	t.Run("burst of the real worker", n.workerBurst)
	t.Run("standing", n.standing)
	t.Log("\n" + strings.Join(n.rows, "\n"))
}

type numbers struct {
	t    *testing.T
	rows []string
}

func (n *numbers) row(what, ours, worker, goal string) {
	n.rows = append(n.rows, fmt.Sprintf("| %s | %s | %s | %s |", what, ours, worker, goal))
}

// spread are the median, 95 %, the worst and the mean.
func spread(delays []time.Duration) string {
	slices.Sort(delays)
	var sum time.Duration
	for _, d := range delays {
		sum += d
	}
	return fmt.Sprintf("p50 %s, p95 %s, worst %s, mean %s (n=%d)", seconds(delays[len(delays)/2]), seconds(delays[(len(delays)*95-1)/100]), seconds(delays[len(delays)-1]), seconds(sum/time.Duration(len(delays))), len(delays))
}

func (n *numbers) fromZero(t *testing.T) {
	e := suite.InstallForPools(t, nil, framework.PushOnly())
	e.WaitForStream()
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	var adHoc, late []time.Duration
	for range 20 {
		began := time.Now()
		run := e.CreateRuns(1, deployment, prefectapi.Order{})[0]
		adHoc = append(adHoc, e.WaitForJob(run, time.Minute).At.Sub(began))
		e.WaitForNoDemand(time.Minute)
		e.TakeDown(product.Launcher)
		due := time.Now().Add(13 * time.Second)
		run = e.CreateRuns(1, deployment, prefectapi.Order{At: due})[0]
		late = append(late, e.WaitForJob(run, time.Minute).At.Sub(due))
		e.WaitForNoDemand(time.Minute)
		e.TakeDown(product.Launcher)
	}
	n.row("ad hoc, due → Job, from zero (the worker: always on)", spread(adHoc), "see below", "p50 ≤ 2 s")
	n.row("scheduled, due → Job, from zero", spread(late), "–", "≤ 0.2 s at p95")
}

func (n *numbers) worker(t *testing.T) {
	e := suite.PoolsOnly(t)
	e.StartWorker(e.Pool)
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	var adHoc []time.Duration
	for range 10 {
		time.Sleep(rand.N(10 * time.Second)) // at any moment between its looks
		began := time.Now()
		run := e.CreateRuns(1, deployment, prefectapi.Order{})[0]
		adHoc = append(adHoc, e.WaitForJob(run, time.Minute).At.Sub(began))
	}
	_, peak := e.WorkerUse()
	n.row("ad hoc, due → Job, the worker", "–", spread(adHoc), "")
	n.row("memory that one pool needs all the time", "see below", fmt.Sprintf("%d MiB", peak>>20), "")
}

// ofBurst is how many runs a burst has.
const ofBurst = 150

// bareClaims are what the server can do: claims by four at once, and no Job; then claims with a
// bare Job for each, by as many at once as a launcher's.
func (n *numbers) bareClaims(t *testing.T) {
	e := suite.PoolsOnly(t)
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	claimAll := func(atOnce int, then func(run string) error) time.Duration {
		runs := e.CreateRuns(ofBurst, deployment, prefectapi.Order{})
		began := time.Now()
		if err := claimEach(t.Context(), e.Server, runs, atOnce, then); err != nil {
			t.Error(err)
		}
		return time.Since(began)
	}
	n.row("claims a second of a bare loop, four at once", rate(ofBurst, claimAll(4, func(string) error { return nil })), "", "")
	client := unlimited(t)
	n.row("claims and Jobs a second of a bare loop, sixteen at once", rate(ofBurst, claimAll(16, func(run string) error {
		_, err := client.BatchV1().Jobs(e.Flows).Create(t.Context(), bareJob(run), metav1.CreateOptions{})
		return err
	})), "", "")
}

// claimEach claims the runs, so many at once, and does then what follows each.
func claimEach(ctx context.Context, server *prefectapi.Client, runs []string, atOnce int, then func(run string) error) error {
	var loop errgroup.Group
	loop.SetLimit(atOnce)
	for _, run := range runs {
		loop.Go(func() error {
			if status, err := server.SetState(ctx, run, "PENDING", "Pending", false); err != nil || status != "ACCEPT" {
				return fmt.Errorf("claim of %s: %s, %w", run, status, err)
			}
			return then(run)
		})
	}
	return loop.Wait()
}

// bareJob is about as large as a flow run's.
func bareJob(run string) *batchv1.Job {
	container := corev1.Container{Name: "prefect-job", Image: "localhost:1/none:1", Args: []string{"prefect", "flow-run", "execute"}}
	for i := range 12 {
		container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprint("VARIABLE_", i), Value: run})
	}
	labels := map[string]string{}
	for i := range 10 {
		labels[fmt.Sprint("prefect.io/label-", i)] = run
	}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "bare-" + run, Labels: labels},
		Spec: batchv1.JobSpec{
			Suspend: new(true), BackoffLimit: new(int32),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{container}}},
		},
	}
}

func (n *numbers) burst(t *testing.T) {
	e := suite.InstallForPools(t, nil)
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	due := time.Now().Add(40 * time.Second)
	runs := e.CreateRuns(ofBurst, deployment, prefectapi.Order{At: due})
	e.WaitForReplicas(product.Launcher, 1, 2*time.Minute)
	pod := e.Pods(product.Launcher)[0]
	e.WaitForJobs(runs, 3*time.Minute)
	// Prefect is told of the Jobs after the burst, and then the launcher leaves soon.
	var use map[string]float64
	for range 30 {
		now, err := e.MetricsOf(t.Context(), pod.Name)
		if err != nil {
			break
		}
		use = now
		if e.Requests()[pod.Status.PodIP]["PATCH /flow_runs/{id}/labels"] >= ofBurst {
			break
		}
		time.Sleep(time.Second)
	}
	first, last := e.JobsBetween(runs)
	n.row(fmt.Sprintf("burst of %d: Jobs a second", ofBurst), rate(ofBurst-1, last.Sub(first)), "see below", "≥ 60 % of the bare claims")
	n.row("burst: due → first Job, from zero", seconds(first.Sub(due)), "", "≤ 2 s")
	t.Logf("the launcher's requests: %v", e.Requests()[pod.Status.PodIP])
	t.Logf("the scaler's requests: %v", e.Requests()[e.Pods(product.Scaler)[0].Status.PodIP])
	n.row("burst: launcher's requests a run", fmt.Sprintf("%.1f", float64(e.Requests()[pod.Status.PodIP].Total())/ofBurst), "", "a third of the worker's")
	n.row("burst: launcher's CPU a run", fmt.Sprintf("%.1f ms", use["process_cpu_seconds_total"]*1000/ofBurst), "", "a twentieth of the worker's")
	n.row("burst: launcher's memory", fmt.Sprintf("%.0f MiB", use["process_resident_memory_bytes"]/(1<<20)), "", "")
	e.WaitForZero(2 * time.Minute)
}

func (n *numbers) workerBurst(t *testing.T) {
	e := suite.PoolsOnly(t)
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	runs := e.CreateRuns(ofBurst, deployment, prefectapi.Order{})
	began := time.Now()
	e.StartWorker(e.Pool)
	started := time.Now()
	pod := e.Pods(framework.Worker)[0]
	e.WaitForJobs(runs, 5*time.Minute)
	time.Sleep(2 * time.Second)
	cpu, peak := e.WorkerUse()
	first, last := e.JobsBetween(runs)
	n.row("burst, the worker: Jobs a second", "", rate(ofBurst-1, last.Sub(first)), "")
	n.row("burst, the worker: Deployment made → first Job (ready → first Job)", "", fmt.Sprintf("%s (%s)", seconds(first.Sub(began)), seconds(first.Sub(started))), "")
	t.Logf("the worker's requests: %v", e.Requests()[pod.Status.PodIP])
	n.row("burst, the worker: requests a run", "", fmt.Sprintf("%.1f", float64(e.Requests()[pod.Status.PodIP].Total())/ofBurst), "")
	n.row("burst, the worker: CPU a run, its start included", "", fmt.Sprintf("%.0f ms", float64(cpu.Milliseconds())/ofBurst), "")
	n.row("burst, the worker: memory at its peak", "", fmt.Sprintf("%d MiB", peak>>20), "")
}

// burstAtTheStandIn compares a launcher with a bare loop, both outside the cluster, at a server
// that costs little. The loop does the least that has to be done: it sends the claim and creates
// the same Job, as many at once as the launcher.
func (n *numbers) burstAtTheStandIn(t *testing.T) {
	const runs, atOnce = 600, 16
	e := suite.BareForPools(t)
	api := fake.New(fake.Options{})
	url := api.Start(t)
	api.CreatePool(fake.Pool{Name: "k8s", Template: prefectapi.Template(map[string]any{"namespace": e.Flows, "image": "localhost:1/none:1"})})
	deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s", JobVariables: framework.Suspended()})
	ours := api.CreateRuns(fake.Order{Deployment: deployment, Count: runs, At: time.Now()})
	before := api.Counts()
	launcher := exec.CommandContext(t.Context(), buildBinary(t), "launcher", "--kubeconfig", suite.Cluster.Kubeconfig,
		"--api", url, "--pool", "k8s", "--namespace", e.Flows, "--idle-timeout", "5s", "--ops-listen", "127.0.0.1:0")
	launcher.Env = []string{"HOME=" + t.TempDir()}
	out, err := launcher.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	first, last := e.JobsBetween(ours)
	if made := e.JobCount(); made != runs {
		t.Fatalf("%d Jobs for %d runs", made, runs)
	}
	use, after := launcher.ProcessState, api.Counts()
	const claims = "POST /flow_runs/{id}/set_state"
	beside := after["requests"] - before["requests"] - (after[claims] - before[claims])

	// The same Job, by another name for another run.
	like, err := e.Client.BatchV1().Jobs(e.Flows).Get(t.Context(), e.JobsOf(ours[0])[0].Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	like = likeJob(like)
	like.GenerateName = "bare-"
	client := unlimited(t)
	server := prefectapi.New(url, "", nil)
	bare := api.CreateRuns(fake.Order{Deployment: deployment, Count: runs, At: time.Now()})
	err = claimEach(t.Context(), server, bare, atOnce, func(id string) error {
		j := like.DeepCopy()
		j.Labels[workpool.LabelFlowRunID] = id
		_, err := client.BatchV1().Jobs(e.Flows).Create(t.Context(), j, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	e.WaitForJobs(bare, time.Minute)
	bareFirst, bareLast := e.JobsBetween(bare)
	rated := func(first, last time.Time) float64 { return (runs - 1) / last.Sub(first).Seconds() }
	n.row(fmt.Sprintf("burst of %d at the stand-in: Jobs a second, of those of a bare loop", runs),
		fmt.Sprintf("%.0f of %.0f, %.0f %%", rated(first, last), rated(bareFirst, bareLast), 100*rated(first, last)/rated(bareFirst, bareLast)), "–", "≥ 80 %")
	n.row("burst at the stand-in: requests a run beyond the claim", fmt.Sprintf("%.2f", float64(beside)/runs), "–", "≤ 2.5")
	n.row("burst at the stand-in: CPU a run", fmt.Sprintf("%.1f ms", float64((use.UserTime()+use.SystemTime()).Microseconds())/1000/runs), "–", "")
	n.row("burst at the stand-in: memory at its peak", fmt.Sprintf("%d MiB", use.SysUsage().(*syscall.Rusage).Maxrss>>10), "–", "")
}

// standing measures what is there when nothing is due, for fifty pools.
func (n *numbers) standing(t *testing.T) {
	var pools []string
	for i := range 49 {
		pools = append(pools, fmt.Sprintf("-%d", i))
	}
	for _, events := range []string{"true", "false"} {
		t.Run("events "+events, func(t *testing.T) {
			e := suite.InstallForPools(t, pools, framework.LauncherForEachPool(), framework.Variable("PREFECT_KEDA_EVENTS", events, product.Scaler))
			pod := e.Pods(product.Scaler)[0]
			time.Sleep(30 * time.Second) // until it is quiet
			before := e.Requests()[pod.Status.PodIP].Total()
			time.Sleep(time.Minute)
			n.row(fmt.Sprintf("idle: requests a minute for 50 pools and 50 ScaledObjects, events %s", events), fmt.Sprint(e.Requests()[pod.Status.PodIP].Total()-before), "", map[string]string{"true": "≤ 20", "false": "≤ 75"}[events])
			own, working := e.MemoryOf(product.Scaler)
			n.row(fmt.Sprintf("idle: scaler's memory of its own (working set) for 50 pools, events %s", events), fmt.Sprintf("%.1f MiB (%.1f)", float64(own)/(1<<20), float64(working)/(1<<20)), "", "≤ 20 MiB")
		})
	}
}
