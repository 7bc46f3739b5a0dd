package soak

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// Measure is something of a process that must not grow for ever.
type Measure string

// What is measured.
const (
	Goroutines Measure = "goroutines"
	// Heap is what the last garbage collection left, as Go's goal for the next one tells it: the
	// heap itself has grown by any amount since. It is 2 MiB at least, as Go's goal is 4.
	Heap     Measure = "heap"
	Resident Measure = "resident memory"
	Files    Measure = "open files"
	// Inbound are connections to the process's own port: those of KEDA.
	Inbound Measure = "connections of KEDA"
	// Outbound are its own, to Prefect and to Kubernetes.
	Outbound Measure = "connections of its own"
)

// margin is by how much a measure may grow between the first and the last third of a life.
// Counts go up and down by a few, with a request or a probe that is under way. Memory goes up
// while caches fill and the last hour is remembered, and comes in pages.
type margin struct {
	of    Measure
	share float64 // of the first
	plus  float64
}

const mebibyte = 1 << 20

func margins() []margin {
	return []margin{
		{Goroutines, 0, 6},
		{Heap, 0.2, 1.5 * mebibyte},
		{Resident, 0.15, 6 * mebibyte},
		{Files, 0, 3},
		{Inbound, 0, 1},
		{Outbound, 0, 2},
	}
}

// Sample is what a process used at one moment.
type Sample map[Measure]float64

// Life is a process, and its samples of the quiet moments in its life: nothing was due. Each
// is of one moment.
type Life struct {
	Process string
	Quiet   []Sample
}

// Enough samples are two for each third of a life.
const Enough = 6

// Judged reports whether the life was long enough to be judged.
func (l Life) Judged() bool { return len(l.Quiet) >= Enough }

// Row is one measure in a life.
type Row struct {
	Process string
	Of      Measure
	// First and Last are the least of the first and of the last third: what is there even
	// when nothing is going on.
	First, Last float64
	// Limit is the most that the last may be.
	Limit   float64
	Samples int
	Judged  bool
}

// Grown reports a leak.
func (r Row) Grown() bool { return r.Judged && r.Last > r.Limit }

// Rows judges the life. What was never measured in a third has no row.
func (l Life) Rows() (rows []Row) {
	third := max(1, len(l.Quiet)/3)
	for _, m := range margins() {
		first, began := least(l.Quiet[:min(third, len(l.Quiet))], m.of)
		last, ended := least(l.Quiet[max(0, len(l.Quiet)-third):], m.of)
		if began && ended {
			rows = append(rows, Row{
				Process: l.Process, Of: m.of, First: first, Last: last, Limit: first*(1+m.share) + m.plus, Samples: len(l.Quiet), Judged: l.Judged(),
			})
		}
	}
	return rows
}

func least(samples []Sample, of Measure) (value float64, found bool) {
	value = math.Inf(1)
	for _, s := range samples {
		if v, ok := s[of]; ok {
			value, found = min(value, v), true
		}
	}
	return value, found
}

// Table prints the rows that are judged and whether they have grown, and how many processes lived
// too short a life.
func Table(out io.Writer, rows []Row) error {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Process, b.Process) })
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "process\twhat\tfirst third\tlast third\tmay be\tquiet moments\t")
	short := map[string]bool{}
	for _, r := range rows {
		verdict := ""
		switch {
		case r.Grown():
			verdict = "GREW"
		case !r.Judged:
			short[r.Process] = true
			continue
		}
		fmt.Fprintln(w, strings.Join([]string{r.Process, string(r.Of), shown(r.Of, r.First), shown(r.Of, r.Last), shown(r.Of, r.Limit), fmt.Sprint(r.Samples), verdict}, "\t"))
	}
	err := w.Flush()
	fmt.Fprintf(out, "%d more processes lived too short a life to judge\n", len(short))
	return err
}

func shown(of Measure, v float64) string {
	if of == Heap || of == Resident {
		return fmt.Sprintf("%.1f MiB", v/mebibyte)
	}
	return fmt.Sprintf("%.0f", v)
}

// Grown are the rows that tell of a leak, in words.
func Grown(rows []Row) (leaks []string) {
	for _, r := range rows {
		if r.Grown() {
			leaks = append(leaks, fmt.Sprintf("%s: %s grew from %s to %s, and may be %s", r.Process, r.Of, shown(r.Of, r.First), shown(r.Of, r.Last), shown(r.Of, r.Limit)))
		}
	}
	return leaks
}
