package sidebyside

import (
	"fmt"
	"slices"
	"strings"
)

// Tables are the results as Markdown.
func (r Results) Tables() string {
	var b strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	head := func(cells ...string) {
		row(cells...)
		row(slices.Repeat([]string{"---"}, len(cells))...)
	}
	fmt.Fprintf(&b, "Measured on %d cores (%s) that Kubernetes %s with KEDA %s, the stand-ins for Prefect and the contenders share, at commit %s.\n",
		r.Machine.CPUs, r.Machine.Processor, r.Machine.Kubernetes, r.Machine.KEDA, r.Machine.Commit)

	b.WriteString("\n### Goals\n\n")
	head("goal", "wanted", "measured", "met")
	for _, g := range r.Goals() {
		row(g.What, g.Wanted, g.Measured, map[bool]string{true: "yes", false: "**no**"}[g.Met])
	}

	for _, runs := range []int{SmallBurst, LargeBurst} {
		for _, far := range []int{0, FarMS} {
			where := "APIs near"
			if far > 0 {
				where = fmt.Sprintf("APIs %d ms away", far)
			}
			fmt.Fprintf(&b, "\n### Burst of %d suspended Jobs, %s\n\n", runs, where)
			head("", "Jobs a second", "CPU a Job", "the API server's CPU a Job", "memory at its peak")
			for _, c := range Contenders() {
				m, ok := r.Burst(c, runs, far)
				if !ok {
					continue
				}
				name := string(c)
				if m.Jobs < m.Runs {
					name += fmt.Sprintf(" (the first %d)", m.Jobs)
				}
				row(name, fmt.Sprintf("%.0f", m.Rate), milliseconds(m.CPUMS), milliseconds(m.APIServerCPUMS), fmt.Sprintf("%.0f MiB", m.PeakMiB))
			}
		}
	}

	fmt.Fprintf(&b, "\n### Drain of %d due flow runs by one launcher\n\n", DrainRuns)
	head("", "Jobs a second", "CPU a Job", "memory at its peak", "furthest behind its turn")
	for _, m := range r.Drains {
		row(string(m.Contender), fmt.Sprintf("%.0f", m.Rate), milliseconds(m.CPUMS), fmt.Sprintf("%.0f MiB", m.PeakMiB), fmt.Sprintf("%.1f %% of all", m.BehindPercent))
	}

	b.WriteString("\n### An hour in which nothing is due\n\n")
	head("", "memory of its own", "CPU", "requests to Prefect", "requests to Kubernetes")
	for _, c := range Contenders() {
		m, ok := r.IdleOf(c)
		if !ok {
			continue
		}
		row(string(c), fmt.Sprintf("%.1f MiB", m.MemoryMiB), fmt.Sprintf("%.0f s", m.CPUSeconds), fmt.Sprintf("%.0f", m.PrefectRequests), fmt.Sprintf("%.0f", m.KubernetesRequests))
	}

	b.WriteString("\n### From due to its Job\n\n")
	head("", "run", "from", "p50", "p95", "worst", "runs")
	for _, c := range Contenders() {
		for _, m := range r.Delays {
			if m.Contender == c {
				row(string(c), m.Kind, m.From, fmt.Sprintf("%.2f s", m.P50), fmt.Sprintf("%.2f s", m.P95), fmt.Sprintf("%.2f s", m.Worst), fmt.Sprint(m.Runs))
			}
		}
	}

	if a := r.Answers; a.ScaledObjects > 0 {
		fmt.Fprintf(&b, "\n### %d ScaledObjects, %.0f calls a second\n\n", a.ScaledObjects, a.CallsPerSecond)
		head("p50", "p99", "worst", "CPU a thousand calls", "memory of its own", "requests to Prefect a minute", "… for one ScaledObject")
		row(milliseconds(a.P50MS), milliseconds(a.P99MS), milliseconds(a.WorstMS), milliseconds(a.CPUMSPerThousand), fmt.Sprintf("%.0f MiB", a.MemoryMiB),
			fmt.Sprintf("%.0f", a.RequestsPerMin), fmt.Sprintf("%.0f", a.RequestsForOne))
	}
	return b.String()
}

// milliseconds shows as many digits as mean something.
func milliseconds(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.2f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}
