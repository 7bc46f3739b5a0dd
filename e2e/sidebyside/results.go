package sidebyside

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Contender is one of those that are measured.
type Contender string

// The contenders. The fair loops send the least that claims a run, and then create its Job;
// the bare one only creates Jobs.
const (
	Ours1  Contender = "prefect-keda, Prefect 1"
	Ours3  Contender = "prefect-keda, Prefect 3"
	Agent  Contender = "Prefect 1.4.1 agent"
	Worker Contender = "Prefect 3 worker"
	Fair1  Contender = "fair loop, Prefect 1"
	Fair3  Contender = "fair loop, Prefect 3"
	Bare   Contender = "bare loop"
)

// Contenders are all of them, in the order of tables and pictures.
func Contenders() []Contender { return []Contender{Ours1, Ours3, Agent, Worker, Fair1, Fair3, Bare} }

// Results are all measurements. Parts of them may be of different hours; each says of which.
type Results struct {
	Machine Machine `json:"machine"`
	Bursts  []Burst `json:"bursts"`
	Drains  []Drain `json:"drains"`
	Idle    []Idle  `json:"idle"`
	Delays  []Delay `json:"delays"`
	Answers Answers `json:"answers"`
}

// Machine is what all ran on.
type Machine struct {
	CPUs       int    `json:"cpus"`
	Processor  string `json:"processor"`
	Kubernetes string `json:"kubernetes"`
	KEDA       string `json:"keda"`
	// Commit of prefect-keda.
	Commit string `json:"commit"`
}

// Burst is a number of flow runs that were due at once, whose Jobs are suspended.
type Burst struct {
	At        time.Time `json:"at"`
	Contender Contender `json:"contender"`
	Runs      int       `json:"runs"`
	// RoundTripMS to Kubernetes and to Prefect, beyond this machine's own.
	RoundTripMS int `json:"round_trip_ms"`
	// Jobs that were made when it was ended: all, or those of the first minutes.
	Jobs int `json:"jobs"`
	// Rate is Jobs a second from the first to the last.
	Rate float64 `json:"jobs_per_second"`
	// CPUMS is the contender's CPU a Job, in milliseconds. The agent's and the worker's begin
	// when they are ready; ours holds the process' start.
	CPUMS float64 `json:"cpu_ms_per_job"`
	// APIServerCPUMS is the API server's.
	APIServerCPUMS float64 `json:"api_server_cpu_ms_per_job"`
	// PeakMiB is the most memory.
	PeakMiB float64 `json:"peak_mib"`
}

// Middle is the burst with the middle rate of some.
func Middle(of []Burst) Burst {
	byRate := slices.SortedFunc(slices.Values(of), func(a, b Burst) int { return cmp.Compare(a.Rate, b.Rate) })
	return byRate[len(byRate)/2]
}

// Drain is a mass of due flow runs that one launcher works off.
type Drain struct {
	At        time.Time `json:"at"`
	Contender Contender `json:"contender"`
	Runs      int       `json:"runs"`
	Rate      float64   `json:"jobs_per_second"`
	CPUMS     float64   `json:"cpu_ms_per_job"`
	PeakMiB   float64   `json:"peak_mib"`
	// BehindPercent is how far behind its turn the Job was made of the run that had to wait
	// most for others: of all runs, in percent. Their turn is the order in which they came due.
	BehindPercent float64 `json:"behind_percent"`
}

// Idle is a time in which nothing is due, counted up to an hour.
type Idle struct {
	At        time.Time `json:"at"`
	Contender Contender `json:"contender"`
	Minutes   float64   `json:"minutes"`
	// MemoryMiB is the mean of the memory of its own; the rest is for an hour.
	MemoryMiB          float64 `json:"memory_mib"`
	CPUSeconds         float64 `json:"cpu_seconds_per_hour"`
	PrefectRequests    float64 `json:"prefect_requests_per_hour"`
	KubernetesRequests float64 `json:"kubernetes_requests_per_hour"`
}

// Delay is how long after it was due a flow run had its Job, in seconds.
type Delay struct {
	At        time.Time `json:"at"`
	Contender Contender `json:"contender"`
	// Kind is "ad hoc" or "scheduled"; From is "zero" or "warm".
	Kind  string  `json:"kind"`
	From  string  `json:"from"`
	Runs  int     `json:"runs"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	Worst float64 `json:"worst"`
}

// Answers are the scaler's to so many calls a second for so many ScaledObjects, in
// milliseconds, and what it asked Prefect meanwhile, beside what it asks for one ScaledObject.
type Answers struct {
	At               time.Time `json:"at"`
	ScaledObjects    int       `json:"scaled_objects"`
	CallsPerSecond   float64   `json:"calls_per_second"`
	P50MS            float64   `json:"p50_ms"`
	P99MS            float64   `json:"p99_ms"`
	WorstMS          float64   `json:"worst_ms"`
	RequestsPerMin   float64   `json:"prefect_requests_per_minute"`
	RequestsForOne   float64   `json:"prefect_requests_per_minute_for_one"`
	MemoryMiB        float64   `json:"memory_mib"`
	CPUMSPerThousand float64   `json:"cpu_ms_per_thousand_calls"`
}

// DelayOf sums up delays.
func DelayOf(at time.Time, of Contender, kind, from string, delays []time.Duration) Delay {
	slices.Sort(delays)
	n := len(delays)
	return Delay{
		At: at, Contender: of, Kind: kind, From: from, Runs: n,
		P50: delays[n/2].Seconds(), P95: delays[(n*95-1)/100].Seconds(), Worst: delays[n-1].Seconds(),
	}
}

// Burst finds a measurement.
func (r Results) Burst(of Contender, runs, roundTripMS int) (Burst, bool) {
	return find(r.Bursts, func(b Burst) bool {
		return b.Contender == of && b.Runs == runs && b.RoundTripMS == roundTripMS
	})
}

// Drain finds a measurement.
func (r Results) Drain(of Contender) (Drain, bool) {
	return find(r.Drains, func(d Drain) bool { return d.Contender == of })
}

// IdleOf finds a measurement.
func (r Results) IdleOf(of Contender) (Idle, bool) {
	return find(r.Idle, func(i Idle) bool { return i.Contender == of })
}

// Headline is what the README says of them.
func (r Results) Headline() string {
	idle := func(of Contender) float64 { i, _ := r.IdleOf(of); return i.MemoryMiB }
	rate := func(of Contender) float64 { b, _ := r.Burst(of, SmallBurst, 0); return b.Rate }
	return fmt.Sprintf("While nothing is due, the scaler takes %.0f MiB for all work pools; a worker takes %.0f MiB for each, an agent %.0f MiB. "+
		"In a burst of %d runs one launcher makes %.0f Jobs a second and the worker %.0f, with Prefect 1 %.0f and the agent %.0f",
		max(idle(Ours1), idle(Ours3)), idle(Worker), idle(Agent), SmallBurst, rate(Ours3), rate(Worker), rate(Ours1), rate(Agent))
}

func find[T any](all []T, is func(T) bool) (found T, ok bool) {
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return found, false
}

// Add puts measurements in the place of older ones of the same.
func (r *Results) Add(o Results) {
	r.Machine = o.Machine
	r.Bursts = replace(r.Bursts, o.Bursts, func(b Burst) any { return []any{b.Contender, b.Runs, b.RoundTripMS} })
	r.Drains = replace(r.Drains, o.Drains, func(d Drain) any { return []any{d.Contender, d.Runs} })
	r.Idle = replace(r.Idle, o.Idle, func(i Idle) any { return i.Contender })
	r.Delays = replace(r.Delays, o.Delays, func(d Delay) any { return []any{d.Contender, d.Kind, d.From} })
	if o.Answers.ScaledObjects > 0 {
		r.Answers = o.Answers
	}
}

func replace[T any](old, with []T, key func(T) any) []T {
	for _, m := range with {
		same := func(o T) bool { return fmt.Sprint(key(o)) == fmt.Sprint(key(m)) }
		if i := slices.IndexFunc(old, same); i >= 0 {
			old[i] = m
		} else {
			old = append(old, m)
		}
	}
	return old
}

// Read reads results from a file; a file that is not there holds none.
func Read(path string) (r Results, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// Write writes results to a file.
func (r Results) Write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // everybody may read it
}
