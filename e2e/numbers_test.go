//go:build e2e && numbers

package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// TestNumbers measures us beside the real worker, with the real server on PostgreSQL, and prints
// a table. `make numbers` runs it.
func TestNumbers(t *testing.T) {
	n := &numbers{t: t}
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

// spread are the median and the worst, and the mean.
func spread(delays []time.Duration) string {
	slices.Sort(delays)
	var sum time.Duration
	for _, d := range delays {
		sum += d
	}
	return fmt.Sprintf("p50 %s, mean %s, worst %s (n=%d)", seconds(delays[len(delays)/2]), seconds(sum/time.Duration(len(delays))), seconds(delays[len(delays)-1]), len(delays))
}

func (n *numbers) fromZero(t *testing.T) {
	e := suite.InstallForPools(t, nil, framework.PushOnly())
	e.WaitForStream()
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	var adHoc, late []time.Duration
	for range 10 {
		began := time.Now()
		run := e.CreateRuns(1, deployment, prefectapi.Order{})[0]
		adHoc = append(adHoc, e.WaitForJob(run, time.Minute).At.Sub(began))
		e.TakeDown(product.Launcher)
		due := time.Now().Add(13 * time.Second)
		run = e.CreateRuns(1, deployment, prefectapi.Order{At: due})[0]
		late = append(late, e.WaitForJob(run, time.Minute).At.Sub(due))
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

// bareClaims are what the server can do: claims one after the other by four at once, and no Job.
func (n *numbers) bareClaims(t *testing.T) {
	e := suite.PoolsOnly(t)
	runs := e.CreateRuns(ofBurst, e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()}), prefectapi.Order{})
	began := time.Now()
	next := make(chan string)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for run := range next {
				if status, err := e.Server.SetState(t.Context(), run, "PENDING", "Pending", false); err != nil || status != "ACCEPT" {
					t.Errorf("claim of %s: %s, %v", run, status, err)
				}
			}
		})
	}
	for _, run := range runs {
		next <- run
	}
	close(next)
	all.Wait()
	n.row("claims a second of a bare loop, four at once", rate(ofBurst, time.Since(began)), "", "")
}

func (n *numbers) burst(t *testing.T) {
	e := suite.InstallForPools(t, nil)
	deployment := e.Deploy(prefectapi.Deployment{JobVariables: framework.Suspended()})
	due := time.Now().Add(40 * time.Second)
	runs := e.CreateRuns(ofBurst, deployment, prefectapi.Order{At: due})
	e.WaitForReplicas(product.Launcher, 1, 2*time.Minute)
	pod := e.Pods(product.Launcher)[0]
	e.WaitForJobs(runs, 3*time.Minute)
	time.Sleep(2 * time.Second) // what follows the last Job
	use, err := e.MetricsOf(t.Context(), pod.Name)
	if err != nil {
		t.Fatal(err)
	}
	first, last := e.JobsBetween(runs)
	n.row(fmt.Sprintf("burst of %d: Jobs a second", ofBurst), rate(ofBurst-1, last.Sub(first)), "see below", "≥ 60 % of the bare claims")
	n.row("burst: due → first Job, from zero", seconds(first.Sub(due)), "", "≤ 2 s")
	n.row("burst: launcher's requests a run", fmt.Sprintf("%.1f", float64(e.Requests()[pod.Status.PodIP])/ofBurst), "", "a third of the worker's")
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
	n.row("burst, the worker: requests a run", "", fmt.Sprintf("%.1f", float64(e.Requests()[pod.Status.PodIP])/ofBurst), "")
	n.row("burst, the worker: CPU a run, its start included", "", fmt.Sprintf("%.0f ms", float64(cpu.Milliseconds())/ofBurst), "")
	n.row("burst, the worker: memory at its peak", "", fmt.Sprintf("%d MiB", peak>>20), "")
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
			before := e.Requests()[pod.Status.PodIP]
			time.Sleep(time.Minute)
			n.row(fmt.Sprintf("idle: requests a minute for 50 pools and 50 ScaledObjects, events %s", events), fmt.Sprint(e.Requests()[pod.Status.PodIP]-before), "", map[string]string{"true": "≤ 20", "false": "≤ 75"}[events])
			own, working := e.MemoryOf(product.Scaler)
			n.row(fmt.Sprintf("idle: scaler's memory of its own (working set) for 50 pools, events %s", events), fmt.Sprintf("%.1f MiB (%.1f)", float64(own)/(1<<20), float64(working)/(1<<20)), "", "≤ 20 MiB")
		})
	}
}
