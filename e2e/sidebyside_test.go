//go:build e2e && sidebyside

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/e2e/python"
	"github.com/prefect-keda/prefect-keda/e2e/reach"
	"github.com/prefect-keda/prefect-keda/e2e/sidebyside"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/job/workpool"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

//nolint:gochecknoglobals // flags
var (
	publish   = flag.Bool("publish", false, "put what was measured into docs/, in the place of what was there")
	idleFor   = flag.Duration("idle", 10*time.Minute, "how long nothing is due")
	profiles  = flag.String("profiles", "", "a folder for the CPU and heap profiles of our processes, which cost a little themselves")
	mostBurst = flag.Duration("most", 2*time.Minute, "how long a burst may take; then it is judged by the Jobs made so far")
)

// TestSideBySide measures us beside the real agent, the real worker and bare loops.
// `make bench-side-by-side` runs it.
func TestSideBySide(t *testing.T) {
	s := newSideBySide(t)
	for _, far := range []int{0, sidebyside.FarMS} {
		for _, runs := range []int{sidebyside.SmallBurst, sidebyside.LargeBurst} {
			t.Run(fmt.Sprintf("burst of %d at %d ms", runs, far), func(t *testing.T) { s.bursts(t, runs, far) })
		}
	}
	for _, c := range []sidebyside.Contender{sidebyside.Ours1, sidebyside.Ours3} {
		t.Run("drain/"+string(c), func(t *testing.T) { s.drain(t, c) })
	}
	t.Run("quiet", func(t *testing.T) {
		// Nearly all of these is waiting.
		for name, measure := range map[string]func(*testing.T){"idle": s.idle, "warm": s.warm, "zero": s.fromZero} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				measure(t)
			})
		}
	})
	t.Run("answers", s.answers)
}

type sideBySide struct {
	binary, bare, prefect1, worker string
	path                           string
	results                        sidebyside.Results
	// like is a Job that we made, for the bare loops, by its run's label.
	like map[string]*batchv1.Job
	// mu is for what is measured at the same time.
	mu sync.Mutex
}

func newSideBySide(t *testing.T) *sideBySide {
	s := &sideBySide{binary: ourBinary(t), bare: compile(t, "./sidebyside/cmd/bare", "build"), path: filepath.Join(suite.Root, "e2e/out/side-by-side.json"), like: map[string]*batchv1.Job{}}
	if *publish {
		s.path = filepath.Join(suite.Root, "docs/side-by-side.json")
	}
	for of, to := range map[*python.Environment]*string{new(python.Prefect1()): &s.prefect1, new(python.Prefect3()): &s.worker} {
		path, err := of.Interpreter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		*to = path
	}
	var err error
	if s.results, err = sidebyside.Read(s.path); err != nil {
		t.Fatal(err)
	}
	s.results.Machine = machine(t)
	return s
}

// ourBinary is the product, or, for profiles, the test binary that can be the product.
func ourBinary(t *testing.T) string {
	t.Helper()
	if *profiles == "" {
		return buildBinary(t)
	}
	return compile(t, "../cmd/prefect-keda", "test", "-c")
}

// profiled are the variables with which ourBinary is the product and leaves profiles.
func profiled(args []string) []string {
	if *profiles == "" {
		return nil
	}
	return []string{"PREFECT_KEDA_TEST_AS_PROCESS=" + strings.Join(args, " "), "PREFECT_KEDA_TEST_PROFILES=" + *profiles}
}

func machine(t *testing.T) sidebyside.Machine {
	t.Helper()
	version, err := suite.Client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	commit, err := exec.CommandContext(t.Context(), "git", "describe", "--always", "--dirty", "--tags").Output()
	if err != nil {
		t.Fatal(err)
	}
	m := sidebyside.Machine{CPUs: runtime.NumCPU(), Kubernetes: version.GitVersion, Commit: strings.TrimSpace(string(commit))}
	keda, err := suite.Client.AppsV1().Deployments("keda").Get(t.Context(), "keda-operator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, m.KEDA, _ = strings.Cut(keda.Spec.Template.Spec.Containers[0].Image, ":")
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	_, model, _ := strings.Cut(string(cpu), "model name")
	model, _, _ = strings.Cut(model, "\n")
	m.Processor = strings.TrimSpace(strings.TrimLeft(model, "\t :"))
	return m
}

// add keeps what was measured at once, so that an interrupted run keeps what it has.
func (s *sideBySide) add(t *testing.T, r sidebyside.Results) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Machine = s.results.Machine
	s.results.Add(r)
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.results.Write(s.path); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
}

// scene is one contender's: a Prefect with nothing due, and namespaces for its Jobs.
type scene struct {
	*framework.Env
	t  *testing.T
	of sidebyside.Contender

	one        *prefecttest.API
	three      *fake.API
	deployment string
	// url of Prefect, and kubeconfig, both as far away as wanted.
	url, kubeconfig string
}

func isPrefect3(c sidebyside.Contender) bool {
	return slices.Contains([]sidebyside.Contender{sidebyside.Ours3, sidebyside.Worker, sidebyside.Fair3}, c)
}

const pool = "k8s"

// newScene makes a scene whose APIs are so many milliseconds away.
func newScene(t *testing.T, of sidebyside.Contender, farMS int) *scene {
	t.Helper()
	s := &scene{t: t, of: of}
	if isPrefect3(of) {
		s.Env = suite.BareForPools(t)
		s.three = fake.New(fake.Options{})
		s.three.CreatePool(fake.Pool{Name: pool, Template: prefectapi.Template(map[string]any{"namespace": s.Flows, "image": "localhost:1/none:1"})})
		s.deployment = s.three.CreateDeployment(fake.Deployment{Pool: pool, JobVariables: framework.Suspended()})
		s.url = s.three.Start(t)
	} else {
		s.Env = suite.Bare(t)
		s.one = prefecttest.New(prefecttest.Options{})
		s.url = s.one.Start(t)
	}
	s.url = s.away(s.url, farMS)
	config, err := clientcmd.LoadFromFile(suite.Cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Clusters {
		c.Server = s.away(c.Server, farMS)
	}
	s.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, s.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return s
}

// away is the URL of a server that is so far away.
func (s *scene) away(of string, farMS int) string {
	s.t.Helper()
	if farMS == 0 {
		return of
	}
	u, err := url.Parse(of)
	if err != nil {
		s.t.Fatal(err)
	}
	if u.Host, err = sidebyside.Far(s.t.Context(), u.Host, time.Duration(farMS)*time.Millisecond); err != nil {
		s.t.Fatal(err)
	}
	return u.String()
}

// create creates flow runs that come due at a time.
func (s *scene) create(n int, at time.Time) []string {
	if s.three != nil {
		return s.three.CreateRuns(fake.Order{Deployment: s.deployment, Count: n, At: at})
	}
	return s.one.CreateRuns(prefecttest.Order{Count: n, In: prefecttest.Duration(time.Until(at)), RunConfig: framework.NoPods()})
}

// asked is how often Prefect was asked for anything.
func (s *scene) asked() int {
	if s.three != nil {
		return s.three.Counts()["requests"]
	}
	return s.one.Counts()["requests"]
}

// start starts the contender; the bare loops create Jobs for the runs, which the others find.
func (s *scene) start(by *sideBySide, runs []string, more ...string) *sidebyside.Process {
	s.t.Helper()
	home := s.t.TempDir()
	env := []string{"HOME=" + home, "KUBECONFIG=" + s.kubeconfig}
	var in io.Reader
	program, args := "", []string(nil)
	switch s.of {
	case sidebyside.Ours1:
		program, args = by.binary, []string{"launcher", "--namespace", s.Flows, "--ops-listen", "127.0.0.1:0"}
		env = append(env, "PREFECT__BACKEND=server", "PREFECT__CLOUD__API="+s.url)
	case sidebyside.Ours3:
		program, args = by.binary, []string{"launcher", "--namespace", s.Flows, "--ops-listen", "127.0.0.1:0", "--pool", pool}
		env = append(env, "PREFECT_API_URL="+s.url)
	case sidebyside.Agent:
		program, args = by.prefect1, []string{"-m", "prefect", "agent", "kubernetes", "start", "--namespace", s.Flows}
		env = append(env, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "PREFECT__HOME_DIR="+home, "PREFECT__BACKEND=server", "PREFECT__CLOUD__API="+s.url)
	case sidebyside.Worker:
		program, args = filepath.Join(filepath.Dir(by.worker), "prefect"), []string{"worker", "start", "--type", "kubernetes", "--pool", pool, "--name", "worker"}
		env = append(env, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "PREFECT_HOME="+home, "PREFECT_API_URL="+s.url, "DO_NOT_TRACK=1",
			"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES="+s.Flows)
	default:
		program, args = by.bare, []string{"--kubeconfig", s.kubeconfig, "--api", s.url}
		args = append(args, map[sidebyside.Contender][]string{sidebyside.Fair1: {"--claim", "prefect1"}, sidebyside.Fair3: {"--claim", "prefect3"}}[s.of]...)
		label := kubernetesrun.LabelFlowRunID
		if isPrefect3(s.of) {
			label = workpool.LabelFlowRunID
		}
		j := by.like[label].DeepCopy()
		j.Namespace = s.Flows
		order, err := json.Marshal(map[string]any{"job": j, "label": label, "runs": runs})
		if err != nil {
			s.t.Fatal(err)
		}
		in = bytes.NewReader(order)
	}
	args = append(args, more...)
	if program == by.binary {
		env = append(env, profiled(args)...)
	}
	p, err := sidebyside.Start(s.t.Context(), env, in, program, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := p.End(); err != nil {
			s.t.Error(err)
		}
	})
	return p
}

// ready waits until a contender asks Prefect for work.
func (s *scene) ready(p *sidebyside.Process) {
	s.t.Helper()
	s.Eventually(2*time.Minute, string(s.of)+" asks for work", func(context.Context) (string, bool) {
		s.alive(p)
		if s.three != nil {
			return "it does not", s.three.Counts()["POST /work_pools/{pool}/get_scheduled_flow_runs"]+s.three.Counts()["POST /flow_runs/filter"] > 0
		}
		return "it does not", s.one.Counts()["get_runs_in_queue"]+s.one.Counts()["flow_run"] > 0
	})
}

// alive fails when the process has ended by itself.
func (s *scene) alive(p *sidebyside.Process) {
	s.t.Helper()
	select {
	case <-p.Ended():
		s.t.Fatalf("%s ended: %v", s.of, p.End())
	default:
	}
}

// clear deletes all Jobs and waits until they are gone, so that nobody pays for another's.
func (s *scene) clear() {
	s.t.Helper()
	background := metav1.DeletePropagationBackground
	s.Eventually(15*time.Minute, "the Jobs are gone", func(ctx context.Context) (string, bool) {
		_ = s.Client.BatchV1().Jobs(s.Flows).DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{}) // the next time, then
		left, err := s.Client.BatchV1().Jobs(s.Flows).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return err.Error(), false
		}
		return fmt.Sprintf("%d and %v more", len(left.Items), left.RemainingItemCount), len(left.Items) == 0
	})
}

// apiServerCPU is what the API server has used so far, by its own metrics.
func apiServerCPU(t *testing.T) time.Duration {
	t.Helper()
	text, err := suite.Client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "process_cpu_seconds_total "); ok {
			seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(seconds * float64(time.Second))
		}
	}
	t.Fatal("the API server tells nothing of its CPU")
	return 0
}

// bursts measures ours beside the loops that they are compared with, one right after the other,
// and three times in turns: the machine's speed changes within minutes. The middle one counts.
func (s *sideBySide) bursts(t *testing.T, runs, farMS int) {
	quick := []sidebyside.Contender{sidebyside.Ours1, sidebyside.Fair1, sidebyside.Bare, sidebyside.Ours3, sidebyside.Fair3}
	inTurn := slices.Concat(quick, quick, quick, []sidebyside.Contender{sidebyside.Agent, sidebyside.Worker})
	measured := map[sidebyside.Contender][]sidebyside.Burst{}
	for _, of := range inTurn {
		t.Run(string(of), func(t *testing.T) {
			measured[of] = append(measured[of], s.burst(t, of, runs, farMS))
			s.add(t, sidebyside.Results{Bursts: []sidebyside.Burst{sidebyside.Middle(measured[of])}})
		})
	}
}

func (s *sideBySide) burst(t *testing.T, of sidebyside.Contender, runs, farMS int) sidebyside.Burst {
	e := newScene(t, of, farMS)
	defer e.clear()
	standsBy := of == sidebyside.Agent || of == sidebyside.Worker
	var p *sidebyside.Process
	var before sidebyside.Use
	var err error
	if standsBy {
		// They import for seconds, which would hide what a run costs.
		p = e.start(s, nil)
		e.ready(p)
		time.Sleep(5 * time.Second)
		if before, err = p.Use(); err != nil {
			t.Fatal(err)
		}
	}
	apiServer := apiServerCPU(t)
	ids := e.create(runs, time.Now())
	if !standsBy {
		p = e.start(s, ids)
	}
	began := time.Now()
	for e.JobCount() < runs && time.Since(began) < *mostBurst {
		if _, err := p.Use(); err != nil { // which also keeps its memory, for when it has ended
			t.Fatalf("%s: %v, %v", of, err, p.End())
		}
		time.Sleep(20 * time.Millisecond)
	}
	jobs := e.JobCount()
	use, err := p.Use()
	if err != nil {
		t.Fatal(err)
	}
	spent := apiServerCPU(t) - apiServer
	if err := p.End(); err != nil {
		t.Fatal(err)
	}
	first, last := e.JobsBetween(ids)
	s.learn(t, e, ids[0])
	b := sidebyside.Burst{
		At: began.UTC().Truncate(time.Second), Contender: of, Runs: runs, RoundTripMS: farMS, Jobs: jobs,
		Rate:           float64(jobs-1) / last.Sub(first).Seconds(),
		CPUMS:          perJob(use.CPU-before.CPU, jobs),
		APIServerCPUMS: perJob(spent, jobs),
		PeakMiB:        float64(use.Peak) / (1 << 20),
	}
	t.Logf("%+v", b)
	return b
}

// learn keeps a Job that we made, for the bare loops.
func (s *sideBySide) learn(t *testing.T, e *scene, run string) {
	t.Helper()
	label := map[sidebyside.Contender]string{sidebyside.Ours1: kubernetesrun.LabelFlowRunID, sidebyside.Ours3: workpool.LabelFlowRunID}[e.of]
	if label == "" {
		return
	}
	j, err := e.Client.BatchV1().Jobs(e.Flows).Get(t.Context(), e.JobsOf(run)[0].Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.like[label] = likeJob(j)
}

func perJob(cpu time.Duration, jobs int) float64 {
	return float64(cpu.Microseconds()) / 1000 / float64(jobs)
}

func (s *sideBySide) drain(t *testing.T, of sidebyside.Contender) {
	e := newScene(t, of, 0)
	defer e.clear()
	const batch = 200
	var ids []string
	now := time.Now()
	for i := range sidebyside.DrainRuns / batch {
		ids = append(ids, e.create(batch, now.Add(-time.Duration(sidebyside.DrainRuns/batch-i)*time.Minute))...)
	}
	p := e.start(s, ids)
	var use sidebyside.Use
	for deadline := time.Now().Add(15 * time.Minute); e.JobCount() < sidebyside.DrainRuns; time.Sleep(100 * time.Millisecond) {
		var err error
		if use, err = p.Use(); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d Jobs; %v, %v", e.JobCount(), err, p.End())
		}
	}
	if err := p.End(); err != nil {
		t.Fatal(err)
	}
	first, last := e.JobsBetween(ids)
	turn := map[string]int{}
	for i, id := range ids {
		turn[id] = i
	}
	inOrder := slices.Clone(ids)
	made := map[string]time.Time{}
	for _, id := range ids {
		made[id] = e.JobsOf(id)[0].At
	}
	slices.SortStableFunc(inOrder, func(a, b string) int { return made[a].Compare(made[b]) })
	behind := 0
	for i, id := range inOrder {
		behind = max(behind, i-turn[id])
	}
	s.add(t, sidebyside.Results{Drains: []sidebyside.Drain{{
		At: now.UTC().Truncate(time.Second), Contender: of, Runs: sidebyside.DrainRuns,
		Rate:  float64(len(ids)-1) / last.Sub(first).Seconds(),
		CPUMS: perJob(use.CPU, len(ids)), PeakMiB: float64(use.Peak) / (1 << 20),
		BehindPercent: 100 * float64(behind) / float64(len(ids)),
	}}})
}

// counting leads to the API server, and counts the requests on the way.
type counting struct{ requests atomic.Int64 }

func (c *counting) start(t *testing.T) (kubeconfig string) {
	t.Helper()
	to, err := url.Parse(suite.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(suite.Config)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport, FlushInterval: -1}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := reach.WriteKubeconfig(kubeconfig, server.URL); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// idle has a scaler for each Prefect, the agent and the worker stand by at the same time. KEDA
// asks the scalers every 30 s, as the manifests say, and listens to their streams.
func (s *sideBySide) idle(t *testing.T) {
	type standing struct {
		*scene
		process *sidebyside.Process
		counter *counting
		asked   int
		sent    int64
		before  sidebyside.Use
		memory  float64
		looks   int
	}
	var all []*standing
	for _, of := range []sidebyside.Contender{sidebyside.Ours1, sidebyside.Ours3, sidebyside.Agent, sidebyside.Worker} {
		e := &standing{scene: newScene(t, of, 0), counter: &counting{}}
		e.kubeconfig = e.counter.start(t)
		if of == sidebyside.Ours1 || of == sidebyside.Ours3 {
			var address string
			e.process, address = e.scaler(s)
			keda(t, address, e.reference(0))
		} else {
			e.process = e.start(s, nil)
			e.ready(e.process)
		}
		all = append(all, e)
	}
	time.Sleep(30 * time.Second) // until it is quiet
	began := time.Now()
	for _, e := range all {
		var err error
		if e.before, err = e.process.Use(); err != nil {
			t.Fatalf("%s: %v, %v", e.of, err, e.process.End())
		}
		e.asked, e.sent = e.scene.asked(), e.counter.requests.Load()
	}
	for time.Since(began) < *idleFor {
		time.Sleep(5 * time.Second)
		for _, e := range all {
			use, err := e.process.Use()
			if err != nil {
				t.Fatalf("%s: %v, %v", e.of, err, e.process.End())
			}
			e.memory, e.looks = e.memory+float64(use.Own)/(1<<20), e.looks+1
		}
	}
	lasted := time.Since(began)
	anHour := time.Hour.Seconds() / lasted.Seconds()
	for _, e := range all {
		use, err := e.process.Use()
		if err != nil {
			t.Fatal(err)
		}
		s.add(t, sidebyside.Results{Idle: []sidebyside.Idle{{
			At: began.UTC().Truncate(time.Second), Contender: e.of, Minutes: lasted.Minutes(),
			MemoryMiB: e.memory / float64(e.looks), CPUSeconds: (use.CPU - e.before.CPU).Seconds() * anHour,
			PrefectRequests:    float64(e.scene.asked()-e.asked) * anHour,
			KubernetesRequests: float64(e.counter.requests.Load()-e.sent) * anHour,
		}}})
	}
}

// scaler starts a scaler of the scene.
func (s *scene) scaler(by *sideBySide) (*sidebyside.Process, string) {
	s.t.Helper()
	address, err := reach.FreeAddress()
	if err != nil {
		s.t.Fatal(err)
	}
	env := []string{"HOME=" + s.t.TempDir(), "KUBECONFIG=" + s.kubeconfig, "NAMESPACE=" + s.Flows, "PREFECT_KEDA_OPS_LISTEN=127.0.0.1:0", "PREFECT_KEDA_LISTEN=" + address}
	if s.three != nil {
		env = append(env, "PREFECT_API_URL="+s.url)
	} else {
		env = append(env, "PREFECT__BACKEND=server", "PREFECT__CLOUD__API="+s.url)
	}
	env = append(env, profiled([]string{"scaler"})...)
	p, err := sidebyside.Start(s.t.Context(), env, nil, by.binary, "scaler")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := p.End(); err != nil {
			s.t.Error(err)
		}
	})
	return p, address
}

// reference is the nth ScaledObject of the scene.
func (s *scene) reference(n int) *externalscaler.ScaledObjectRef {
	ref := &externalscaler.ScaledObjectRef{Name: fmt.Sprint("launcher-", n), Namespace: s.Namespace, ScalerMetadata: map[string]string{}}
	if s.three != nil {
		ref.ScalerMetadata["workPools"] = pool
	}
	return ref
}

// keda listens to a scaler's stream and asks it every 30 s, until the test ends.
func keda(t *testing.T, address string, ref *externalscaler.ScaledObjectRef) {
	t.Helper()
	client := dialScaler(t, address)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if stream, err := client.StreamIsActive(ctx, ref, grpc.WaitForReady(true)); err == nil {
				go func() {
					for {
						if _, err := stream.Recv(); err != nil {
							return
						}
					}
				}()
				break
			}
		}
		for tick := time.NewTicker(30 * time.Second); ; {
			_, _ = client.IsActive(ctx, ref) // it may just be ending
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

func dialScaler(t *testing.T, address string) externalscaler.ExternalScalerClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return externalscaler.NewExternalScalerClient(conn)
}

// samples is how many runs a delay is measured with.
const samples = 12

// warm measures those that stand by: the agent, the worker, and a launcher that does not leave.
func (s *sideBySide) warm(t *testing.T) {
	for _, of := range []sidebyside.Contender{sidebyside.Ours1, sidebyside.Ours3, sidebyside.Agent, sidebyside.Worker} {
		t.Run(string(of), func(t *testing.T) {
			t.Parallel()
			e := newScene(t, of, 0)
			var more []string
			if of == sidebyside.Ours1 || of == sidebyside.Ours3 {
				more = []string{"--idle-timeout", "1h"}
			}
			e.ready(e.start(s, nil, more...))
			time.Sleep(5 * time.Second)
			delays := map[string][]time.Duration{}
			for range samples {
				time.Sleep(rand.N(10 * time.Second)) // at any moment between their looks
				began := time.Now()
				delays["ad hoc"] = append(delays["ad hoc"], e.WaitForJob(e.create(1, began)[0], time.Minute).At.Sub(began))
				due := time.Now().Add(12*time.Second + rand.N(10*time.Second))
				delays["scheduled"] = append(delays["scheduled"], e.WaitForJob(e.create(1, due)[0], 2*time.Minute).At.Sub(due))
			}
			for _, kind := range []string{"ad hoc", "scheduled"} {
				s.add(t, sidebyside.Results{Delays: []sidebyside.Delay{sidebyside.DelayOf(time.Now().UTC().Truncate(time.Second), of, kind, "warm", delays[kind])}})
			}
		})
	}
}

// fromZero measures us with real KEDA, from no launcher at all.
func (s *sideBySide) fromZero(t *testing.T) {
	e := suite.Install(t, framework.PushOnly())
	e.WaitForStream()
	delays := map[string][]time.Duration{}
	for range samples {
		began := time.Now()
		run := e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods()})[0]
		delays["ad hoc"] = append(delays["ad hoc"], e.WaitForJob(run, time.Minute).At.Sub(began))
		e.WaitForNoDemand(time.Minute)
		e.TakeDown(product.Launcher)
		const in = 13 * time.Second
		due := time.Now().Add(in)
		run = e.CreateRuns(prefecttest.Order{RunConfig: framework.NoPods(), In: prefecttest.Duration(in)})[0]
		delays["scheduled"] = append(delays["scheduled"], e.WaitForJob(run, time.Minute).At.Sub(due))
		e.WaitForNoDemand(time.Minute)
		e.TakeDown(product.Launcher)
	}
	for _, kind := range []string{"ad hoc", "scheduled"} {
		s.add(t, sidebyside.Results{Delays: []sidebyside.Delay{sidebyside.DelayOf(time.Now().UTC().Truncate(time.Second), sidebyside.Ours1, kind, "zero", delays[kind])}})
	}
}

// answers measures a scaler that is asked for a thousand ScaledObjects.
func (s *sideBySide) answers(t *testing.T) {
	const objects, perSecond, lasting = 1000, 500, 30 * time.Second
	measure := func(t *testing.T, objects, perSecond int) (answers []time.Duration, requests float64, used sidebyside.Use, mib float64) {
		e := newScene(t, sidebyside.Ours3, 0)
		for i := range objects {
			e.three.CreatePool(fake.Pool{Name: fmt.Sprint("pool-", i), Template: map[string]any{}})
		}
		e.create(100, time.Now().Add(time.Hour))
		p, address := e.scaler(s)
		client := dialScaler(t, address)
		refs := make([]*externalscaler.ScaledObjectRef, objects)
		for i := range refs {
			refs[i] = e.reference(i)
			refs[i].ScalerMetadata["workPools"] = fmt.Sprint("pool-", i)
			if _, err := client.IsActive(t.Context(), refs[i], grpc.WaitForReady(true)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		asked := e.asked()
		before, err := p.Use()
		if err != nil {
			t.Fatal(err)
		}
		// A call that is late does not delay the next: each begins at its own time.
		took := make(chan time.Duration, int(lasting.Seconds())*perSecond)
		failed := make(chan error, 1)
		began := time.Now()
		for i := range cap(took) {
			time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				sent := time.Now()
				var err error
				if ref := refs[i/2%objects]; i%2 == 0 {
					_, err = client.IsActive(ctx, ref)
				} else {
					_, err = client.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: ref, MetricName: "prefect-runs"})
				}
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
				took <- time.Since(sent)
			}()
		}
		for range cap(took) {
			answers = append(answers, <-took)
		}
		select {
		case err := <-failed:
			t.Fatal(err)
		default:
		}
		after, err := p.Use()
		if err != nil {
			t.Fatal(err)
		}
		requests = float64(e.asked()-asked) / time.Since(began).Minutes()
		slices.Sort(answers)
		return answers, requests, sidebyside.Use{CPU: after.CPU - before.CPU}, float64(after.Own) / (1 << 20)
	}
	var one float64
	t.Run("one", func(t *testing.T) { _, one, _, _ = measure(t, 1, 1) })
	t.Run("many", func(t *testing.T) {
		began := time.Now()
		took, requests, use, mib := measure(t, objects, perSecond)
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		s.add(t, sidebyside.Results{Answers: sidebyside.Answers{
			At: began.UTC().Truncate(time.Second), ScaledObjects: objects, CallsPerSecond: perSecond,
			P50MS: ms(took[len(took)/2]), P99MS: ms(took[len(took)*99/100]), WorstMS: ms(took[len(took)-1]),
			RequestsPerMin: requests, RequestsForOne: one, MemoryMiB: mib,
			CPUMSPerThousand: ms(use.CPU) * 1000 / float64(len(took)),
		}})
	})
}
