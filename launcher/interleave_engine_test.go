// The engine of the model checker in interleave_test.go: explore plays every execution,
// a chooser makes its choices, and a walk lets one actor after another through its gate.

package launcher

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// sample is how many executions of a scenario are played with -short.
const sample = 100

// explore plays all executions there are, each in a bubble of its own, until one fails. With
// -short, as `make unit` runs them with the race detector, it plays a sample of them.
func explore(t *testing.T, play func(*testing.T, *chooser)) {
	t.Helper()
	c, executions := &chooser{}, 0
	if testing.Short() {
		c.random = rand.New(rand.NewPCG(1, 1))
	}
	for more := true; more && !t.Failed(); more = c.next() && (!testing.Short() || executions < sample) {
		executions++
		synctest.Test(t, func(t *testing.T) { play(t, c) })
	}
	t.Logf("%d executions", executions)
}

// gate is a launcher waiting to make a call, or the server or a pod to do something.
type gate struct {
	actor string
	op    string
	write bool
	pass  chan verdict
	// local: it is no call, so nobody but its launcher can tell when it happens.
	local bool
	// free are the verdicts on who is no launcher; they are no faults.
	free []verdict
}

// verdict is what becomes of a call.
type verdict int

const (
	proceed verdict = iota
	refuse          // not applied, and the caller is told nothing certain
	loseAnswer
	dieBefore
	dieAfter
	freezeBefore // stopped until everybody else is done
	freezeAfter
	pause    // stopped for longer than a pod needs
	late     // applied late, beside what else goes on
	lateLost // the same, and the answer is lost
)

func (v verdict) String() string {
	return [...]string{"", " refused", " answer lost", " dies before", " dies after", " frozen before", " frozen after", " pauses", " to a slow server", " to a slow server, answer lost"}[v]
}

// chooser walks a tree of choices depth first, one path per execution, or without an end by
// paths at random.
type chooser struct {
	path   []int
	width  []int
	depth  int
	random *rand.Rand
}

func (c *chooser) choose(n int) int {
	if c.depth == len(c.path) {
		first := 0
		if c.random != nil {
			first = c.random.IntN(n)
		}
		c.path, c.width = append(c.path, first), append(c.width, n)
	}
	if c.width[c.depth] != n {
		panic("an execution took another course than the same choices before")
	}
	c.depth++
	return c.path[c.depth-1]
}

// next goes to the next path; false when all have been walked.
func (c *chooser) next() bool {
	c.depth = 0
	if c.random != nil {
		c.path, c.width = nil, nil
		return true
	}
	for i := len(c.path) - 1; i >= 0; i-- {
		if c.path[i]+1 < c.width[i] {
			c.path[i]++
			c.path, c.width = c.path[:i+1], c.width[:i+1]
			return true
		}
	}
	return false
}

// step is a launcher's call and what became of it.
type step struct {
	*gate
	verdict verdict
	// beside are the launchers that waited meanwhile, and so might have gone first.
	beside map[string]*gate
}

// isPlain: it changes nothing that another launcher could notice, being a read or a
// write that is not made. A heartbeat goes with the call before it: nothing that is
// decided about states and Jobs depends on one.
func (g *gate) isPlain(v verdict) bool {
	return v == refuse || v == dieBefore || v == proceed && !g.write
}

// swaps: the step and g's call with that verdict come to the same in either order,
// of which the one by name is taken. Every order can be had from one that is taken
// by swapping such neighbours, so those left out would show nothing new.
func (s step) swaps(g *gate, v verdict) bool {
	return s.gate != nil && s.beside[g.actor] == g && g.actor < s.actor && s.isPlain(s.verdict) && g.isPlain(v)
}

// walk is how the launchers take turns.
type walk struct {
	*chooser
	// faults is how many there may be, and verdicts what they may be.
	faults   int
	verdicts []verdict
	// slow: claims may be applied late.
	slow bool
	// alike: which of them goes first makes no difference.
	alike bool
	// gates are where the launchers wait to be let through.
	gates chan *gate
	// trace is what has happened so far, a line a step.
	trace []string

	last step
	// frozen are those that wait until everybody else is done.
	frozen []*gate
}

// newWalk is one in which either launcher goes first, and neither pauses.
func newWalk(c *chooser, faults int) *walk {
	return &walk{chooser: c, faults: faults, gates: make(chan *gate), verdicts: []verdict{proceed, refuse, dieBefore, freezeBefore}}
}

// possible are the verdicts on a gate, of which the first is that all goes well.
func (w *walk) possible(g *gate) []verdict {
	possible := []verdict{proceed}
	switch {
	case g.free != nil:
		possible = slices.Clone(g.free)
	case w.faults == 0 || g.op == "look":
	case g.local:
		for _, v := range w.verdicts {
			if v == freezeBefore || v == pause { // it could as well die before the next call
				possible = append(possible, v)
			}
		}
	default:
		possible = slices.Clone(w.verdicts)
		if g.write {
			possible = append(possible, loseAnswer, dieAfter, freezeAfter)
		}
		if w.slow && g.op == "claim" {
			possible = append(possible, late, lateLost)
		}
	}
	return slices.DeleteFunc(possible, func(v verdict) bool { return w.last.swaps(g, v) })
}

// play lets the launchers go on in the order chosen until none waits any more.
func (w *walk) play() {
	waiting := map[string]*gate{}
	quiet := 0
	for quiet < 3 {
		synctest.Wait()
		select {
		case g := <-w.gates:
			waiting[g.actor] = g
			quiet = 0
			continue
		default:
		}
		if len(waiting) == 0 {
			// Whoever waits for a later try gets its time.
			time.Sleep(11 * time.Second)
			quiet++
			continue
		}
		g := w.next(waiting)
		possible := w.possible(g)
		v := possible[w.choose(len(possible))]
		if !g.local || v != proceed {
			w.trace = append(w.trace, fmt.Sprintf("%s %s%s", g.actor, g.op, v))
		}
		delete(waiting, g.actor)
		if !g.local {
			w.last = step{g, v, maps.Clone(waiting)}
		}
		if v != proceed && g.free == nil {
			w.faults--
		}
		g.pass <- v
		if v == freezeBefore || v == freezeAfter {
			w.frozen = append(w.frozen, g)
		}
	}
}

// thaw lets those that were frozen go on, one after another, alone and unhindered.
func (w *walk) thaw() {
	for _, g := range w.frozen {
		w.trace = append(w.trace, g.actor+" thaws")
		g.pass <- proceed
		for range 50 {
			synctest.Wait()
			select {
			case g := <-w.gates:
				w.trace = append(w.trace, g.actor+" "+g.op)
				g.pass <- proceed
			case <-time.After(time.Minute):
			}
		}
	}
}

// next chooses who goes on. What is no call may as well happen at once.
func (w *walk) next(waiting map[string]*gate) *gate {
	actors := slices.Sorted(maps.Keys(waiting))
	if i := slices.IndexFunc(actors, func(a string) bool { return waiting[a].local }); i >= 0 {
		return waiting[actors[i]]
	}
	if len(w.trace) == 0 && w.alike {
		actors = actors[:1]
	}
	if news := slices.DeleteFunc(slices.Clone(actors), func(a string) bool { return len(w.possible(waiting[a])) == 0 }); len(news) > 0 {
		actors = news
	} else {
		w.last = step{} // whoever is left goes on alone
	}
	return waiting[actors[w.choose(len(actors))]]
}
