package informer_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/jobs/informer/crowd"
	"github.com/prefect-keda/prefect-keda/kube"
)

// BenchmarkKnow is the memory of an informer that gets to know so many Jobs, each with its
// pod: what stays of each, and what the heap grows to meanwhile, with garbage, per Job.
func BenchmarkKnow(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		for name, c := range map[string]*crowd.Crowd{"finished": {Finished: n}, "active": {Active: n}, "listed": {Finished: n, Old: true}} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				c.RunLabel = kubernetesrun.LabelFlowRunID
				for b.Loop() {
					know(b, c)
				}
			})
		}
	}
}

// informerAt is one that asks a handler over HTTP.
func informerAt(tb testing.TB, api http.Handler) *informer.Informer {
	tb.Helper()
	server := httptest.NewServer(api)
	tb.Cleanup(server.Close)
	client, err := kube.NewClient(&rest.Config{Host: server.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"}})
	if err != nil {
		tb.Fatal(err)
	}
	return informer.New("flows", kubernetesrun.Marks(), informer.Client{
		Jobs: client.Jobs("flows"), Pods: client.Pods("flows"),
		UID: func(ctx context.Context) (string, error) { return "here", ctx.Err() },
	}, informer.Hooks{})
}

// An API server that cannot stream lists is asked for pages: all of tens of thousands of Jobs
// at once would not fit into a launcher's memory.
func TestListsComeInPages(t *testing.T) {
	const jobs = 1234
	c := &crowd.Crowd{Finished: jobs, NoPods: true, RunLabel: kubernetesrun.LabelFlowRunID, Old: true}
	pages := make(chan string, 100)
	i := informerAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("watch") == "" && strings.HasSuffix(r.URL.Path, "/jobs") {
			pages <- fmt.Sprintf("%s from %q of %q", q.Get("limit"), q.Get("continue"), q.Get("resourceVersion"))
		}
		c.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); i.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); !i.Knows(informer.Jobs) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
	if n := len(i.Runs()); n != jobs {
		t.Errorf("knows %d Jobs, want %d", n, jobs)
	}
	close(pages)
	var all []string
	for page := range pages {
		all = append(all, page)
	}
	want := []string{`500 from "" of ""`, `500 from "500" of ""`, `500 from "1000" of ""`}
	if d := cmp.Diff(want, all); d != "" {
		t.Errorf("asked for (-want +got):\n%s", d)
	}
}

// When a watch begins at a version that is too old, the list that follows is of now. With the
// version that the reflector names, and a limit, an API server would answer how things were
// then, again and again.
func TestListAfterAnOldWatchIsNew(t *testing.T) {
	c := &crowd.Crowd{Finished: 600, NoPods: true, RunLabel: kubernetesrun.LabelFlowRunID, Old: true}
	lists := make(chan string, 100)
	var gone atomic.Bool
	i := informerAt(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if !strings.HasSuffix(r.URL.Path, "/jobs") {
			c.ServeHTTP(w, r)
			return
		}
		if q.Get("watch") != "" && q.Get("sendInitialEvents") == "" && !gone.Swap(true) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusGone)
			fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}`)
			return
		}
		if q.Get("watch") == "" {
			lists <- fmt.Sprintf("%s of %q", q.Get("limit"), q.Get("resourceVersion"))
		}
		c.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); i.Run(ctx) }()
	for n := range 4 { // two pages, twice
		select {
		case got := <-lists:
			if want := `500 of ""`; got != want {
				t.Errorf("list %d asks for %s, want %s", n, got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("only %d lists", n)
		}
	}
	cancel()
	<-ended
}

func know(b *testing.B, c *crowd.Crowd) {
	b.Helper()
	i := informerAt(b, c)
	before, most := heap(true), uint64(0)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); i.Run(ctx) }()
	for !i.Knows(informer.Jobs) || !i.Knows(informer.Pods) {
		time.Sleep(5 * time.Millisecond)
		most = max(most, heap(false))
	}
	after := heap(true)
	if len(i.JobsOf(crowd.Run(0))) != 1 || len(i.PodsOf(crowd.Run(0))) != 1 {
		b.Fatal("the informer does not know what there is")
	}
	cancel()
	<-ended
	n := float64(c.Finished + c.Active)
	b.ReportMetric((float64(after)-float64(before))/n, "kept-B/job")
	b.ReportMetric((float64(most)-float64(before))/n, "peak-B/job")
}

// heap is the bytes of it in use; settled without garbage.
func heap(settled bool) uint64 {
	if settled {
		runtime.GC()
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
