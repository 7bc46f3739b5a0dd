package scaler

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// largeLook is 10,000 runs in 1,000 work pools; one in ten is held back.
func largeLook() prefect.Observation {
	const pools, each = 1000, 10
	var o prefect.Observation
	for i := range pools * each {
		id, place := fmt.Sprintf("a2f1f7a4-3f3c-4a2e-9d0c-%012d", i), prefect.Place{Pool: fmt.Sprint("pool-", i%pools), Queue: "default"}
		if i/pools == 9 {
			o.Held = append(o.Held, prefect.HeldRun{ID: id, Place: place, Why: "the work pool's limit of 2 is reached"})
			continue
		}
		o.Due = append(o.Due, prefect.DueRun{ID: id, Place: place, Due: at(time.Duration(i) * time.Millisecond)})
	}
	return o
}

// TestLargeLookIsSmall bounds what one look takes and leaves behind, beside the answer.
func TestLargeLookIsSmall(t *testing.T) {
	var p poller
	o := largeLook()
	held := p.picture(o, noon, noon)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const times = 5
	for range times {
		held = p.picture(o, noon, noon)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / times; each > 6<<20 {
		t.Errorf("a look at %d runs allocates %.1f MiB, want at most 6", len(o.Due)+len(o.Held), float64(each)/(1<<20))
	}
	if len(held.Groups) != 1000 || len(held.Held) != 1000 {
		t.Errorf("%d places, %d held back", len(held.Groups), len(held.Held))
	}
}

// BenchmarkLook compares the scaler's part of one look at 1,000 work pools and 10,000 runs,
// with a verdict for each pool, with the bare decoding of the least JSON that could tell
// of them. The metric x/decode is what our part costs.
func BenchmarkLook(b *testing.B) {
	o := largeLook()
	type row struct {
		ID    string    `json:"id"`
		Pool  string    `json:"work_pool_name"`
		Queue string    `json:"work_queue_name"`
		Due   time.Time `json:"next_scheduled_start_time"`
	}
	var rows []row
	for _, r := range o.Due {
		rows = append(rows, row{r.ID, r.Place.Pool, r.Place.Queue, r.Due})
	}
	text, err := json.Marshal(rows)
	if err != nil {
		b.Fatal(err)
	}
	var bare time.Duration
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var all []row
			if err := json.NewDecoder(strings.NewReader(string(text))).Decode(&all); err != nil || len(all) != len(rows) {
				b.Fatal(len(all), err)
			}
		}
		bare = b.Elapsed() / time.Duration(max(b.N, 1))
	})
	b.Run("scaler", func(b *testing.B) {
		b.ReportAllocs()
		var p poller
		for b.Loop() {
			p.picture(o, noon, noon)
		}
		if bare > 0 {
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(bare), "x/decode")
		}
	})
	b.Run("verdicts", func(b *testing.B) {
		b.ReportAllocs()
		var p poller
		s := p.picture(o, noon, noon)
		var triggers []trigger
		for i := range 1000 {
			t := defaultTrigger()
			t.Places, t.Scope = ByWorkPools, prefect.Scope{Pools: []string{fmt.Sprint("pool-", i)}}
			triggers = append(triggers, t)
		}
		for b.Loop() {
			for _, t := range triggers {
				if !decide(s, t, false, noon.Add(time.Hour)).Active {
					b.Fatal("no demand")
				}
			}
		}
		if bare > 0 {
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(bare), "x/decode")
		}
	})
}

// BenchmarkJobEvent is what one Job that comes costs the scaler while 5,000 claims lack theirs
// and 1,000 streams are open: the claims are counted anew and each stream decides. The metric
// x-50 is a multiple of the same with 50 claims.
func BenchmarkJobEvent(b *testing.B) {
	var took time.Duration
	event := func(b *testing.B, claims int) func() {
		b.Helper()
		const pools = 50
		f := &fakeSource{}
		for i := range claims {
			c := claimed(fmt.Sprintf("a2f1f7a4-3f3c-4a2e-9d0c-%012d", i), fmt.Sprint("job-", i), "v1")
			c.Place = prefect.Place{Pool: fmt.Sprint("pool-", i%pools), Queue: "default"}
			f.claim = append(f.claim, c)
		}
		kube := fakeKube()
		o := withJobs(f, kube)
		o.Connections["default"] = Connection{Source: f, Places: ByWorkPools, JobNamespaces: []string{"flows"}, Marks: kubernetesrun.Marks()}
		s, err := New(o)
		if err != nil {
			b.Fatal(err)
		}
		p := s.service.pollers["default"]
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); p.watch.run(ctx) }()
		b.Cleanup(func() { cancel(); <-ended })
		for p.watch.known(p.connection.JobNamespaces) < 2 {
			time.Sleep(time.Millisecond)
		}
		p.poll(ctx)
		if n := len(p.current.Load().WithoutJob); n != claims {
			b.Fatalf("%d claims lack their Job, want %d", n, claims)
		}
		var triggers []trigger
		for i := range 1000 {
			t := defaultTrigger()
			t.Places, t.Scope = ByWorkPools, prefect.Scope{Pools: []string{fmt.Sprint("pool-", i%pools)}}
			triggers = append(triggers, t)
		}
		n := 0
		return func() {
			// A Job comes, and goes again with the next event.
			n++
			b.StopTimer()
			of := f.claim[n/2%claims]
			j := kubeJob(of.Claim.Job, of.ID, "v1")
			var err error
			if n%2 == 0 {
				_, err = kube.BatchV1().Jobs("flows").Create(ctx, j, metav1.CreateOptions{})
			} else if n > 1 {
				err = kube.BatchV1().Jobs("flows").Delete(ctx, f.claim[(n-1)/2%claims].Claim.Job, metav1.DeleteOptions{})
			}
			if err != nil {
				b.Fatal(err)
			}
			if n > 1 {
				<-p.jobChanges
			}
			b.StartTimer()
			began := time.Now()
			defer func() { took += time.Since(began) }()
			p.recount(time.Now())
			active := 0
			for _, t := range triggers {
				if decide(p.current.Load(), t, false, time.Now().Add(time.Hour)).Active {
					active++
				}
			}
			if active < len(triggers)*(pools-1)/pools {
				b.Fatalf("%d triggers have demand", active)
			}
		}
	}
	few := event(b, 50)
	for range 200 {
		few()
	}
	beside := took / 200
	many := event(b, 5000)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		many()
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(beside), "x-50")
}
