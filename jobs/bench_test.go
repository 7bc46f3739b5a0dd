package jobs

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/jobs/informer/crowd"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// crowded is a cluster with so many completed Jobs without a time to live: chores.
func crowded(tb testing.TB, jobs int) *Cluster {
	tb.Helper()
	server := httptest.NewServer(&crowd.Crowd{Finished: jobs, RunLabel: kubernetesrun.LabelFlowRunID, Forever: true, NoPods: true})
	tb.Cleanup(server.Close)
	client, err := kube.NewClient(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"}})
	if err != nil {
		tb.Fatal(err)
	}
	c := New("flows", nil, func(string) Client {
		return Client{Jobs: client.Jobs("flows"), Pods: client.Pods("flows"), UID: func(ctx context.Context) (string, error) { return "here", ctx.Err() }}
	}, kubernetesrun.Marks(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Watch(ctx) }()
	tb.Cleanup(func() { cancel(); <-ended })
	for ready := false; !ready || !c.spaces[0].informer.Knows(informer.Pods); ready, _ = c.Ready() {
		time.Sleep(time.Millisecond)
	}
	return c
}

// BenchmarkTroubled is a look at the Jobs after one of them has changed, where all of 50,000 are
// a chore, as a multiple of the same with 500.
func BenchmarkTroubled(b *testing.B) {
	look := func(c *Cluster, of, i int) {
		c.spaces[0].verdicts.change(crowd.Run(i % of))
		c.Troubled(trouble.Rules{}, prefect.Supervision{})
	}
	few, many := crowded(b, 500), crowded(b, 50_000)
	look(few, 500, 0)
	look(many, 50_000, 0)
	began := time.Now()
	const times = 1000
	for i := range times {
		look(few, 500, i)
	}
	beside := time.Since(began) / times
	n := 0
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		look(many, 50_000, n)
		n++
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(beside), "x-500")
}
