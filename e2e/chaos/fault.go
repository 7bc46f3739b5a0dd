package chaos

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// Kind is a kind of fault.
type Kind string

// What can happen to a request.
const (
	Refused   Kind = "connection refused"
	Throttled Kind = "429 before the write"
	Failed    Kind = "5xx before the write"
	FailedNow Kind = "5xx after the write"
	Lost      Kind = "answer lost"
	Slow      Kind = "answer slow"
	Late      Kind = "applied late, client gone"
	Twice     Kind = "request repeated on the way"
)

// What can happen to a watch.
const (
	WatchLags   Kind = "watch lags"
	WatchBreaks Kind = "watch breaks"
	WatchGone   Kind = "watch answered 410"
)

// What can happen to a process, or to a whole server.
const (
	LauncherKilled  Kind = "launcher SIGKILL"
	LauncherStopped Kind = "launcher SIGSTOP"
	ScalerKilled    Kind = "scaler SIGKILL"
	ScalerStopped   Kind = "scaler SIGSTOP"
	Rollout         Kind = "rollout with another template"
	APIRestarted    Kind = "kube-apiserver restarted"
	ClockMoved      Kind = "Prefect's clock a minute off"
)

// Fault is one that struck.
type Fault struct {
	Kind Kind
	At   time.Time
	// Where is the process, or the process and what it asked for.
	Where string
	// Runs are the flow runs that the request was about, as far as it names them.
	Runs []string
	// Lasts is how long it delays, lags or stops.
	Lasts time.Duration
}

// String is the fault as evidence of a broken run.
func (f Fault) String() string {
	text := fmt.Sprintf("%s %s: %s", f.At.Format(moment), f.Where, f.Kind)
	if f.Lasts > 0 {
		text += " for " + f.Lasts.Round(time.Millisecond).String()
	}
	return text
}

// Plan decides what strikes. For one seed the nth request of its kind at one place has the
// same fate, whenever it comes.
type Plan struct {
	seed   uint64
	mu     sync.Mutex
	nth    map[string]uint64
	struck []Fault
	calm   bool
}

// NewPlan is the plan of a seed.
func NewPlan(seed uint64) *Plan { return &Plan{seed: seed, nth: map[string]uint64{}} }

// Dice are those of one place; the same seed throws the same.
func (p *Plan) Dice(place string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, place) // a hash never fails
	return rand.New(rand.NewPCG(p.seed, h.Sum64()))
}

// request is a request as the plan sees it.
type request struct {
	where string
	write bool
	watch bool
	runs  []string
}

// strike is the fault of a request, if it has one.
func (p *Plan) strike(r request) (Fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nth[r.where]++
	if p.calm {
		return Fault{}, false
	}
	dice := p.Dice(fmt.Sprint(r.where, " ", p.nth[r.where]))
	kinds, chance := []Kind{Refused, Throttled, Failed, Slow, Lost}, 0.02
	switch {
	case r.watch:
		kinds, chance = []Kind{WatchLags, WatchBreaks, WatchGone}, 0.35
	case r.write:
		kinds, chance = []Kind{Refused, Throttled, Failed, FailedNow, Lost, Slow, Late, Twice}, 0.06
	}
	if dice.Float64() >= chance {
		return Fault{}, false
	}
	f := Fault{Kind: kinds[dice.IntN(len(kinds))], At: time.Now(), Where: r.where, Runs: r.runs}
	switch f.Kind {
	case Slow:
		f.Lasts = time.Duration(1+dice.IntN(8)) * time.Second
	case Late:
		f.Lasts = time.Duration(1+dice.IntN(20)) * time.Second
	case WatchLags:
		f.Lasts = time.Duration(1+dice.IntN(5)) * time.Second
	case WatchBreaks:
		f.Lasts = time.Duration(dice.IntN(20)) * time.Second
	}
	p.struck = append(p.struck, f)
	return f, true
}

// note counts a fault that does not concern one request.
func (p *Plan) note(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.At = time.Now()
	p.struck = append(p.struck, f)
}

// End lets nothing strike any more.
func (p *Plan) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calm = true
}

// Struck are the faults so far.
func (p *Plan) Struck() []Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.struck)
}

// Table says how many faults of each kind struck, and how many of them no broken run was
// touched by. A fault that names no run is survived if no run is broken.
func (p *Plan) Table(broken []string) string {
	var out strings.Builder
	type count struct{ injected, survived int }
	counts, total := map[Kind]count{}, count{}
	for _, f := range p.Struck() {
		c := counts[f.Kind]
		c.injected++
		total.injected++
		hit := len(broken) > 0 && len(f.Runs) == 0 || slices.ContainsFunc(f.Runs, func(id string) bool { return slices.Contains(broken, id) })
		if !hit {
			c.survived++
			total.survived++
		}
		counts[f.Kind] = c
	}
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "    fault\tinjected\tsurvived")
	for _, kind := range slices.SortedFunc(maps.Keys(counts), func(a, b Kind) int { return cmp.Compare(a, b) }) {
		fmt.Fprintf(w, "    %s\t%d\t%d\n", kind, counts[kind].injected, counts[kind].survived)
	}
	fmt.Fprintf(w, "    all, seed %d\t%d\t%d\n", p.seed, total.injected, total.survived)
	_ = w.Flush() // to memory
	return out.String()
}
