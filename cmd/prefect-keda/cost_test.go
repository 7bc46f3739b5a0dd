package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/job/workpool"
	"github.com/prefect-keda/prefect-keda/jobs/informer/crowd"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// asProcess has this test's binary be the product, or a bare loop, so that what it costs can
// be told from what the stand-ins cost.
const asProcess = "PREFECT_KEDA_TEST_AS_PROCESS"

// beProcess is called before any test.
func beProcess() {
	switch as := os.Getenv(asProcess); as {
	case "":
	case "bare":
		if err := bareLoop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	default:
		os.Exit(profiled(func() int {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			defer stop()
			return run(ctx, strings.Fields(as), standard(), os.Environ())
		}))
	}
}

// profileTo is where a process leaves its profiles, for pprof; nowhere if it is not set.
const profileTo = "PREFECT_KEDA_TEST_PROFILES"

func profiled(process func() int) int {
	dir := os.Getenv(profileTo)
	if dir == "" {
		return process()
	}
	begin := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pprof", name, os.Getpid()))) //nolint:gosec // whoever measures says where
		if err != nil {
			panic(err)
		}
		return f
	}
	cpu, heap := begin("cpu"), begin("allocs")
	if err := pprof.StartCPUProfile(cpu); err != nil {
		panic(err)
	}
	code := process()
	pprof.StopCPUProfile()
	_ = pprof.Lookup("allocs").WriteTo(heap, 0)
	_, _ = cpu.Close(), heap.Close()
	return code
}

// bareLoop creates as many Jobs as BARE_JOBS says, sixteen at a time.
func bareLoop() error {
	n, err := strconv.Atoi(os.Getenv("BARE_JOBS"))
	if err != nil {
		return err
	}
	config, _, err := kube.Config(kube.Options{Kubeconfig: os.Getenv("KUBECONFIG"), QPS: -1})
	if err != nil {
		return err
	}
	client, err := kube.NewClient(config)
	if err != nil {
		return err
	}
	like := (&crowd.Crowd{Active: 1, RunLabel: workpool.LabelFlowRunID}).Job(0)
	like.ObjectMeta = metav1.ObjectMeta{Labels: like.Labels}
	var all errgroup.Group
	all.SetLimit(16)
	for i := range n {
		all.Go(func() error {
			j := like.DeepCopy()
			j.Name = fmt.Sprint("bare-", i)
			_, err := client.Jobs("flows").Create(context.Background(), j, metav1.CreateOptions{})
			return err
		})
	}
	return all.Wait()
}

// cost is what a process took.
type cost struct {
	cpu  time.Duration
	most uint64 // bytes of memory that it had at a time
}

// process is the product, in a process of its own.
type process struct {
	*exec.Cmd
	out bytes.Buffer
}

func startProcess(b *testing.B, as string, env ...string) *process {
	b.Helper()
	p := &process{Cmd: exec.CommandContext(b.Context(), os.Args[0])} //nolint:gosec // it is this binary
	p.Env = append([]string{asProcess + "=" + as, profileTo + "=" + os.Getenv(profileTo), "PREFECT_KEDA_OPS_LISTEN=127.0.0.1:0", "PREFECT_KEDA_LISTEN=127.0.0.1:0", "NAMESPACE=flows", "HOME=" + b.TempDir()}, env...)
	p.Stdout, p.Stderr = &p.out, &p.out
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	return p
}

// stop ends the process, if it has not ended, and tells what it took.
func (p *process) stop(b *testing.B) cost {
	b.Helper()
	most := p.highest()
	_ = p.Process.Signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != -1 {
			b.Fatalf("%v\n%s", err, p.out.String())
		}
	}
	return cost{p.ProcessState.UserTime() + p.ProcessState.SystemTime(), most}
}

// highest is the most memory that the process had so far. The binary's own pages, of which the
// kernel frees what it likes, do not count.
func (p *process) highest() uint64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	return (kilobytes(status, "VmHWM:") - kilobytes(status, "RssFile:")) << 10
}

func kilobytes(status []byte, field string) uint64 {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			n, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}

// kubeconfigOf leads to a stand-in API server.
func kubeconfigOf(b *testing.B, c *crowd.Crowd) string {
	b.Helper()
	server := httptest.NewServer(c)
	b.Cleanup(server.Close)
	path := filepath.Join(b.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": {"server": %q}}],
		"users": [{"name": "u", "user": {}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "flows"}}]}`, server.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// await waits until something is so.
func await(b *testing.B, p *process, is func() bool) {
	b.Helper()
	for deadline := time.Now().Add(15 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("it does not come:\n%.4000s", p.out.String())
		}
	}
}

// burst has a launcher process launch so many due runs.
func burst(b *testing.B, of string, runs int) cost {
	b.Helper()
	c := &crowd.Crowd{RunLabel: workpool.LabelFlowRunID}
	env := []string{"KUBECONFIG=" + kubeconfigOf(b, c), "PREFECT_KEDA_CONCURRENCY=16"}
	if of == "prefect3" {
		api := fake.New(fake.Options{})
		deployment := api.CreateDeployment(fake.Deployment{Pool: "etl"})
		api.CreateRuns(fake.Order{Deployment: deployment, Count: runs, At: time.Now()})
		env = append(env, "PREFECT_API_URL="+api.Start(b))
	} else {
		c.RunLabel = kubernetesrun.LabelFlowRunID
		api := prefecttest.New(prefecttest.Options{})
		api.CreateRuns(prefecttest.Order{Count: runs})
		server := httptest.NewServer(api)
		b.Cleanup(server.Close)
		env = append(env, "PREFECT__BACKEND=server", "PREFECT__CLOUD__API="+server.URL)
	}
	p := startProcess(b, "launcher", append(env, fmt.Sprint("GOMEMLIMIT=", goalOf(shipped(b, "launcher"))))...)
	await(b, p, func() bool { return c.Created() >= runs })
	return p.stop(b)
}

// bareCost has a process create so many Jobs, and nothing else.
func bareCost(b *testing.B, jobs int) cost {
	b.Helper()
	c := &crowd.Crowd{RunLabel: workpool.LabelFlowRunID}
	p := startProcess(b, "bare", "KUBECONFIG="+kubeconfigOf(b, c), fmt.Sprint("BARE_JOBS=", jobs))
	await(b, p, func() bool { return c.Created() >= jobs })
	return p.stop(b)
}

// BenchmarkBurst is the CPU that a launcher takes a run in a burst, from its settings to the
// Job, over HTTP at stand-ins, beside that of a bare loop that only creates Jobs, and what it
// takes to launch a single one.
func BenchmarkBurst(b *testing.B) {
	const runs = 2000
	for _, of := range []string{"prefect3", "prefect1"} {
		b.Run(of, func(b *testing.B) {
			var ours, bare, begins time.Duration
			for b.Loop() { // one after the other, so that both meet the same machine
				none, some := burst(b, of, 1), burst(b, of, runs)
				noJob, jobs := bareCost(b, 1), bareCost(b, runs)
				ours, bare, begins = ours+some.cpu-none.cpu, bare+jobs.cpu-noJob.cpu, begins+none.cpu
			}
			b.ReportMetric(float64(ours.Microseconds())/float64(b.N*runs), "cpu-µs/run")
			b.ReportMetric(float64(bare.Microseconds())/float64(b.N*runs), "bare-cpu-µs/job")
			b.ReportMetric(float64(ours)/float64(bare), "x-bare")
			b.ReportMetric(float64(begins.Milliseconds())/float64(b.N), "start-cpu-ms")
		})
	}
}

// BenchmarkDrain is the most memory that a launcher has while it launches 20,000 due runs.
func BenchmarkDrain(b *testing.B) {
	for b.Loop() {
		most := burst(b, "prefect3", 20_000).most
		b.ReportMetric(float64(most)/(1<<20), "peak-MiB")
	}
}

// shipped is the memory limit of a process' container, as the manifests have it.
func shipped(b *testing.B, process string) int64 {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "manifests", "base", process, "deployment.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	var d appsv1.Deployment
	if err := yaml.Unmarshal(text, &d); err != nil {
		b.Fatal(err)
	}
	return d.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().Value()
}

// BenchmarkResident is the most memory that scaler and launcher have, with the goal that they
// have in their containers, when they get to know so many finished Jobs with their pods.
func BenchmarkResident(b *testing.B) {
	for _, as := range []string{"scaler", "launcher"} {
		for _, n := range []int{1_000, 10_000, 50_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", as, n), func(b *testing.B) {
				for b.Loop() {
					c := &crowd.Crowd{RunLabel: workpool.LabelFlowRunID, Finished: n}
					api := fake.New(fake.Options{})
					p := startProcess(b, as, "KUBECONFIG="+kubeconfigOf(b, c), "PREFECT_API_URL="+api.Start(b), fmt.Sprint("GOMEMLIMIT=", goalOf(shipped(b, as))))
					await(b, p, func() bool { return c.Watching() == 2 })
					time.Sleep(5 * time.Second) // for two looks
					b.ReportMetric(float64(p.stop(b).most)/(1<<20), "peak-MiB")
				}
			})
		}
	}
}
