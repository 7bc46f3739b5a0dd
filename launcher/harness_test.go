// The tests' shared harness. What it offers:
//
//   - start and startWith run a whole launcher against a Prefect in memory (memory_test.go)
//     and a fake cluster, in a bubble of virtual time; leave and stop end it.
//   - kubernetes and plainCluster are the fake cluster, refusing and quota what it refuses;
//     objects_test.go has the Jobs and pods to put into it.
//   - run, with its builder (runs_test.go), says which flow runs there are, and template
//     (template_test.go) renders their Jobs.
//   - alone (alone_test.go) is for one action without the loop around it.

package launcher

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	typedbatchv1 "k8s.io/client-go/kubernetes/typed/batch/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
)

// bench is a launcher at work in a bubble of its own time.
type bench struct {
	*Launcher
	t      *testing.T
	m      *memory
	client *fake.Clientset
	logs   *logBuffer
	began  time.Time
	cancel context.CancelFunc
	ended  chan error
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// start runs a launcher; change may alter its options or the fake cluster first.
func start(t *testing.T, m *memory, change ...func(*Options, *fake.Clientset)) *bench {
	t.Helper()
	return startWith(t, m, fake.NewClientset(), change...)
}

// startWith starts one in a cluster that others may be in.
func startWith(t *testing.T, m *memory, client *fake.Clientset, change ...func(*Options, *fake.Clientset)) *bench {
	t.Helper()
	b := &bench{t: t, m: m, client: client, logs: &logBuffer{}, began: time.Now(), ended: make(chan error, 1)}
	o := options("me")
	o.Logger = slog.New(slog.NewTextHandler(b.logs, nil))
	for _, c := range change {
		c(&o, b.client)
	}
	b.Launcher = mustNew(t, o, m, b.client)
	ctx, cancel := context.WithCancel(t.Context())
	b.cancel = cancel
	go func() { b.ended <- b.Run(ctx) }()
	return b
}

// leave waits for the launcher to end by itself.
func (b *bench) leave() error {
	defer b.cancel()
	select {
	case err := <-b.ended:
		return err
	case <-time.After(6 * time.Hour):
		b.cancel()
		return errors.Join(errors.New("it does not leave by itself"), <-b.ended)
	}
}

// stop ends it as SIGTERM does.
func (b *bench) stop() {
	b.t.Helper()
	b.cancel()
	if err := <-b.ended; err != nil {
		b.t.Errorf("Run: %v", err)
	}
}

func (b *bench) jobs() []batchv1.Job {
	b.t.Helper()
	list, err := b.client.BatchV1().Jobs("flows").List(b.t.Context(), metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return list.Items
}

// refusing makes creating Jobs fail as of says.
func refusing(client *fake.Clientset, of func(run string) error) {
	client.PrependReactor("create", "jobs", func(a clienttesting.Action) (bool, runtime.Object, error) {
		j := a.(clienttesting.CreateAction).GetObject().(*batchv1.Job)
		err := of(j.Labels[kubernetesrun.LabelFlowRunID])
		return err != nil, nil, err
	})
}

var jobsResource = schema.GroupResource{Group: "batch", Resource: "jobs"}

func quota() error {
	return apierrors.NewForbidden(jobsResource, "j", errors.New("exceeded quota: jobs, requested: count/jobs.batch=1, used: count/jobs.batch=5, limited: count/jobs.batch=5"))
}

// options of a launcher whose pauses are all in the middle of their range: it asks
// what is due every 0.9 s.
func options(name string) Options {
	return Options{Name: name, Namespace: "flows", Marks: kubernetesrun.Marks(), IdleTimeout: time.Minute, Lookahead: 10 * time.Second, Jitter: halfway}
}

func halfway() float64 { return 0.5 }

func mustNew(t *testing.T, o Options, b Backend, client *fake.Clientset) *Launcher {
	t.Helper()
	l, err := New(o, b, template{}, kubernetes(client))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// fakeJobs and fakePods say, as the fake Clientset does, that they cannot stream
// their lists.
type (
	fakeJobs struct{ typedbatchv1.JobInterface }
	fakePods struct{ typedcorev1.PodInterface }
)

func (fakeJobs) IsWatchListSemanticsUnSupported() bool { return true }
func (fakePods) IsWatchListSemanticsUnSupported() bool { return true }

func kubernetes(client *fake.Clientset) func(namespace string) jobs.Client {
	keepsNoDryRuns(client)
	return func(namespace string) jobs.Client { return kubernetesIn(client, namespace) }
}

// only is a client that is the same for each namespace.
func only(client jobs.Client) func(string) jobs.Client {
	return func(string) jobs.Client { return client }
}

func kubernetesIn(client *fake.Clientset, namespace string) jobs.Client {
	return jobs.Client{
		Secrets: client.CoreV1().Secrets(namespace),
		Jobs:    fakeJobs{client.BatchV1().Jobs(namespace)}, Pods: fakePods{client.CoreV1().Pods(namespace)}, Events: client.CoreV1().Events(namespace),
		Log: func(ctx context.Context, pod string, o corev1.PodLogOptions) (io.ReadCloser, error) {
			return client.CoreV1().Pods(namespace).GetLogs(pod, &o).Stream(ctx)
		},
		UID:    func(ctx context.Context) (string, error) { return uidOf(namespace), ctx.Err() },
		MayUse: func(ctx context.Context, account string) (bool, error) { return account == "allowed", ctx.Err() },
	}
}

// uidOf is the UID of a namespace, which is "here" for the home namespace.
func uidOf(namespace string) string {
	if namespace == "flows" {
		return "here"
	}
	return "uid of " + namespace
}

// jobsByRun counts the Jobs of each run.
func jobsByRun(tb testing.TB, client *fake.Clientset) map[string]int {
	tb.Helper()
	list, err := client.BatchV1().Jobs("flows").List(tb.Context(), metav1.ListOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	count := map[string]int{}
	for _, j := range list.Items {
		count[j.Labels[kubernetesrun.LabelFlowRunID]]++
	}
	return count
}

// plainCluster is a fake without field management, which costs the fake more
// than everything else here together.
func plainCluster() *fake.Clientset {
	tracker := clienttesting.NewObjectTracker(scheme.Scheme, scheme.Codecs.UniversalDecoder())
	client := fake.NewClientset()
	client.PrependReactor("*", "jobs", clienttesting.ObjectReaction(tracker))
	client.PrependWatchReactor("jobs", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := tracker.Watch(a.GetResource(), a.GetNamespace())
		return true, w, err
	})
	return client
}

func isDryRun(a clienttesting.Action) bool {
	create, ok := a.(clienttesting.CreateActionImpl)
	return ok && len(create.CreateOptions.DryRun) > 0
}

// keepsNoDryRuns has a fake, which knows nothing of them, answer dry runs right
// before it would keep the Job.
func keepsNoDryRuns(client *fake.Clientset) {
	client.Lock()
	defer client.Unlock()
	at := len(client.ReactionChain) - 1
	client.ReactionChain = slices.Insert(client.ReactionChain, at, clienttesting.Reactor(&clienttesting.SimpleReactor{
		Verb: "create", Resource: "jobs", Reaction: func(a clienttesting.Action) (bool, runtime.Object, error) {
			if !isDryRun(a) {
				return false, nil, nil
			}
			return true, a.(clienttesting.CreateAction).GetObject(), nil
		},
	}))
}

func counter(t testing.TB, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue()
}

// skipLong leaves a long simulation to the run without the race detector, which makes it several
// times as slow.
func skipLong(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("too long with the race detector; make unit runs it without")
	}
}
