package scaler

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

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
