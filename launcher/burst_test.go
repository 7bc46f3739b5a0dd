package launcher

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func options(name string) Options {
	return Options{Name: name, Namespace: "flows", IdleTimeout: time.Minute}
}

func mustNew(t *testing.T, o Options, b Backend, client *fake.Clientset) *Launcher {
	t.Helper()
	l, err := New(o, b, template{}, client)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// jobsByRun counts the Jobs of each run.
func jobsByRun(t *testing.T, client *fake.Clientset) map[string]int {
	t.Helper()
	list, err := client.BatchV1().Jobs("flows").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
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
				m.latency = 20 * time.Millisecond
				want := map[string]int{}
				for i := range 1000 {
					id := fmt.Sprintf("run-%04d", i)
					m.set(run(id).due(time.Now().Add(-time.Minute)))
					want[id] = 1
				}
				client := fake.NewClientset()
				var all sync.WaitGroup
				for i := range 3 {
					l := mustNew(t, options(fmt.Sprintf("launcher-%d", i)), m, client)
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
	_ = context.Background
}
