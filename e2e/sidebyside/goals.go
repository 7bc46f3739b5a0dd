package sidebyside

import "fmt"

// Sizes of what is measured: flow runs of bursts and of the drain, and how many milliseconds far
// away is.
const (
	SmallBurst = 600
	LargeBurst = 5_000
	DrainRuns  = 20_000
	FarMS      = 20
)

// Goal is what we want of ourselves, beside something that was measured in the same run.
type Goal struct {
	What, Wanted, Measured string
	Met                    bool
}

// Goals judges what was measured; what was not is left out.
func (r Results) Goals() (all []Goal) {
	add := func(met bool, what, wanted, measured string, args ...any) {
		all = append(all, Goal{what, wanted, fmt.Sprintf(measured, args...), met})
	}
	for _, pair := range [][2]Contender{{Ours1, Fair1}, {Ours3, Fair3}} {
		for _, far := range []int{0, FarMS} {
			for _, runs := range []int{SmallBurst, LargeBurst} {
				ours, ok1 := r.Burst(pair[0], runs, far)
				fair, ok2 := r.Burst(pair[1], runs, far)
				if ok1 && ok2 {
					share := 100 * ours.Rate / fair.Rate
					add(share >= 85, fmt.Sprintf("Jobs a second of those of the fair loop: %s, %d runs, %d ms", pair[0], runs, far),
						"≥ 85 %", "%.0f %% (%.0f of %.0f)", share, ours.Rate, fair.Rate)
				}
			}
		}
		ours, ok1 := r.Burst(pair[0], LargeBurst, 0)
		if bare, ok2 := r.Burst(Bare, LargeBurst, 0); ok1 && ok2 {
			// 0.9 ms where a bare create costs 0.5, on whatever machine.
			add(ours.CPUMS <= 1.8*bare.CPUMS, fmt.Sprintf("CPU a run: %s, %d runs", pair[0], LargeBurst),
				"≤ 1.8 bare creates (0.9 ms where one costs 0.5)", "%.2f ms, %.1f bare creates of %.2f ms", ours.CPUMS, ours.CPUMS/bare.CPUMS, bare.CPUMS)
		}
		if agent, ok2 := r.Burst(Agent, LargeBurst, 0); ok1 && ok2 {
			add(ours.CPUMS*15 <= agent.CPUMS, fmt.Sprintf("CPU a run beside the agent's: %s", pair[0]), "≤ 1/15", "1/%.1f (%.2f of %.0f ms)", agent.CPUMS/ours.CPUMS, ours.CPUMS, agent.CPUMS)
		}
		if idle, ok := r.IdleOf(pair[0]); ok {
			if agent, ok := r.IdleOf(Agent); ok {
				add(idle.MemoryMiB*10 <= agent.MemoryMiB, fmt.Sprintf("memory while nothing is due, beside the agent's: %s", pair[0]), "≤ 1/10",
					"1/%.1f (%.1f of %.0f MiB)", agent.MemoryMiB/idle.MemoryMiB, idle.MemoryMiB, agent.MemoryMiB)
			}
		}
		if drain, ok := r.Drain(pair[0]); ok {
			add(drain.PeakMiB < 96, fmt.Sprintf("memory at the peak of a drain of %d runs: %s", drain.Runs, pair[0]), "< 96 MiB", "%.0f MiB", drain.PeakMiB)
			add(drain.BehindPercent < 10, fmt.Sprintf("nobody starves in it: how far behind its turn a run may come, of all: %s", pair[0]), "< 10 %", "%.1f %%", drain.BehindPercent)
		}
	}
	if a := r.Answers; a.ScaledObjects > 0 {
		add(a.P99MS < 5, fmt.Sprintf("the scaler's answers to %.0f calls a second for %d ScaledObjects, p99", a.CallsPerSecond, a.ScaledObjects), "< 5 ms", "%.1f ms", a.P99MS)
		add(a.RequestsPerMin <= 1.1*a.RequestsForOne+1, "its requests to Prefect, beside those for one ScaledObject", "the same", "%.0f of %.0f a minute", a.RequestsPerMin, a.RequestsForOne)
	}
	return all
}
