package workpool_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/job/workpool"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// BenchmarkRender is a Job of the default template, of which earlier runs had theirs, as a
// multiple of what Go needs to decode that template.
func BenchmarkRender(b *testing.B) {
	bundle := asked{run: `{"env": {"A": "1"}, "image": "flow:1"}`}.bundle(b)
	var plain map[string]any
	began := time.Now()
	for range 100 {
		if err := json.Unmarshal(bundle.WorkPool, &plain); err != nil {
			b.Fatal(err)
		}
	}
	decoding := time.Since(began) / 100
	b.ResetTimer()
	renderer := workpool.NewRenderer(settings(), workpool.FromBundle(bundle))
	for b.Loop() {
		if _, err := renderer.Render(b.Context(), prefect.FlowRun{ID: runID, Attempt: "s1"}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(decoding), "x-decode")
}
