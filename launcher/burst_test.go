package launcher

import (
	"context"
	"fmt"
	"io"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	typedbatchv1 "k8s.io/client-go/kubernetes/typed/batch/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func options(name string) Options {
	return Options{Name: name, Namespace: "flows", IdleTimeout: time.Minute, Lookahead: 10 * time.Second}
}

func mustNew(t *testing.T, o Options, b Backend, client *fake.Clientset) *Launcher {
	t.Helper()
	l, err := New(o, b, template{}, kubernetes(client, o.Namespace))
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

func kubernetes(client *fake.Clientset, namespace string) Kubernetes {
	keepsNoDryRuns(client)
	return Kubernetes{
		Jobs: fakeJobs{client.BatchV1().Jobs(namespace)}, Pods: fakePods{client.CoreV1().Pods(namespace)}, Events: client.CoreV1().Events(namespace),
		Log: func(ctx context.Context, pod string, o corev1.PodLogOptions) (io.ReadCloser, error) {
			return client.CoreV1().Pods(namespace).GetLogs(pod, &o).Stream(ctx)
		},
		UID:    func(ctx context.Context) (string, error) { return "here", ctx.Err() },
		MayUse: func(ctx context.Context, account string) (bool, error) { return account == "allowed", ctx.Err() },
	}
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
		count[j.Labels[job.LabelFlowRunID]]++
	}
	return count
}

func TestBurstIsLaunchedOnceByThreeLaunchers(t *testing.T) {
	for _, replicated := range []bool{false, true} {
		t.Run(fmt.Sprintf("replicated API %v", replicated), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				if replicated {
					m.replicated()
				}
				m.slow(20 * time.Millisecond)
				want := map[string]int{}
				for i := range 400 { // more than one look brings
					id := fmt.Sprintf("run-%04d", i)
					m.set(run(id).due(time.Now().Add(-time.Minute)))
					want[id] = 1
				}
				client := plainCluster()
				var all sync.WaitGroup
				for i := range 3 {
					o := options(fmt.Sprintf("launcher-%d", i))
					o.IdleTimeout = 20 * time.Second
					l := mustNew(t, o, m, client)
					all.Go(func() {
						if err := l.Run(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
				began := time.Now()
				all.Wait()
				t.Logf("%s of virtual time, asked %v", time.Since(began), m.asked)
				if diff := cmp.Diff(want, jobsByRun(t, client)); diff != "" {
					t.Errorf("Jobs by run (-want +got):\n%s", diff)
				}
				for id := range want {
					if s := m.get(id).State.Type; s != prefect.Submitted {
						t.Errorf("run %s is %s", id, s)
					}
				}
			})
		})
	}
}

// What a burst costs Prefect: little but the claims. The slower it answers, the
// more of what was fetched has to be fetched again before its turn comes.
func TestBurstAsksForLittleMoreThanItLaunches(t *testing.T) {
	for latency, most := range map[time.Duration]struct{ rows, requests float64 }{
		20 * time.Millisecond:  {1.1, 1.1},
		200 * time.Millisecond: {4, 1.4},
		time.Second:            {8, 1.8},
	} {
		t.Run(latency.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const runs = 1000
				m := newMemory()
				m.slow(latency)
				for i := range runs {
					m.set(run(fmt.Sprintf("run-%04d", i)).due(time.Now().Add(-time.Minute)))
				}
				b := startWith(t, m, plainCluster(), func(o *Options, _ *fake.Clientset) { o.IdleTimeout = 10 * time.Second })
				if err := b.leave(); err != nil {
					t.Error(err)
				}
				requests := 0
				for _, n := range m.asked {
					requests += n
				}
				t.Logf("%s: %d rows in %d looks, requests %v", time.Since(b.began), m.rows, m.count("due"), m.asked)
				if n := len(b.jobs()); n != runs {
					t.Fatalf("%d Jobs for %d runs", n, runs)
				}
				if rows := float64(m.rows) / runs; rows > most.rows {
					t.Errorf("%.1f rows read a run, want at most %v", rows, most.rows)
				}
				if r := float64(requests) / runs; r > most.requests {
					t.Errorf("%.2f requests a run, want at most %v", r, most.requests)
				}
			})
		})
	}
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

// BenchmarkLaunch is a launcher's own work per run, Prefect and Kubernetes
// answering at once, as a multiple of bare goroutines that claim, render and
// create the same.
func BenchmarkLaunch(b *testing.B) {
	setup := func() (*memory, *eyes) {
		m := newMemory()
		for i := range b.N {
			m.set(run(fmt.Sprintf("run-%07d", i)).due(time.Now().Add(-time.Minute)))
		}
		return m, &eyes{memory: m, store: emptyStore(), actor: "me", blind: true}
	}
	o := options("me").withDefaults()

	m, y := setup()
	began := time.Now()
	var bare errgroup.Group
	bare.SetLimit(o.Concurrency)
	for _, r := range maps.Clone(m.runs) {
		bare.Go(func() error {
			if _, err := y.Claim(b.Context(), r, prefect.Claim{Attempt: r.Attempt()}); err != nil {
				return err
			}
			j, err := template{}.Render(b.Context(), r)
			if err != nil {
				return err
			}
			return y.create(b.Context(), j)
		})
	}
	if err := bare.Wait(); err != nil {
		b.Fatal(err)
	}
	beside := time.Since(began)

	_, y = setup()
	o.MaxPolls = b.N + 10
	l := newLauncher(o, y, template{}, y)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	y.all = func() { cancel() }
	y.want = b.N
	b.ResetTimer()
	if err := l.Run(ctx); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if got := len(y.store.created); got != b.N {
		b.Fatalf("%d Jobs for %d runs", got, b.N)
	}
	b.ReportMetric(b.Elapsed().Seconds()/beside.Seconds(), "x-bare")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}
