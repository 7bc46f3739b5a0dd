package jobs

import (
	"slices"
	"strings"
	"sync"

	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// troublesAtOnce and choresAtOnce are the runs with Jobs in trouble, and with chores, that
	// one look tells of. Within a second a launcher handles fewer.
	troublesAtOnce = 2048
	choresAtOnce   = 256
)

// verdicts keep what was found about the Jobs of each run, until these or their pods change.
// With tens of thousands of Jobs, judging all of them at every look would take a launcher
// half of its time.
type verdicts struct {
	mu      sync.Mutex
	rules   trouble.Rules
	changed map[string]bool       // runs to judge again
	found   map[string][]Troubled // by run, where there is something
	// troubles and chores are the runs in found, in the order in which their turn comes.
	troubles, chores turns
}

func newVerdicts() *verdicts {
	return &verdicts{
		changed: map[string]bool{}, found: map[string][]Troubled{},
		troubles: turns{is: map[string]bool{}}, chores: turns{is: map[string]bool{}},
	}
}

// change has the Jobs of a run judged again.
func (v *verdicts) change(run string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changed[run] = true
}

// now judges what has changed, or all runs if the rules have, and returns what there is, or
// as much as one look handles. It is for one caller at a time.
func (v *verdicts) now(r trouble.Rules, runs func() []string, judge func(run string) []Troubled) []Troubled {
	v.mu.Lock()
	changed := v.changed
	v.changed = map[string]bool{}
	v.mu.Unlock()
	if r != v.rules {
		v.rules = r
		for _, run := range runs() {
			changed[run] = true
		}
	}
	for run := range changed {
		found := judge(run)
		if len(found) == 0 {
			delete(v.found, run)
			continue
		}
		run = strings.Clone(run) // it may be part of a longer text
		v.found[run] = found
		v.troubles.add(run, slices.ContainsFunc(found, func(t Troubled) bool { return !t.Kind.IsChore() }))
		v.chores.add(run, slices.ContainsFunc(found, func(t Troubled) bool { return t.Kind.IsChore() }))
	}
	var all []Troubled
	for _, of := range []struct {
		turns  *turns
		most   int
		chores bool
	}{{&v.troubles, troublesAtOnce, false}, {&v.chores, choresAtOnce, true}} {
		of.turns.next(of.most, func(run string) bool {
			before := len(all)
			for _, t := range v.found[run] {
				if t.Kind.IsChore() == of.chores {
					all = append(all, t)
				}
			}
			return len(all) > before
		})
	}
	return all
}

// turns are runs that wait for their turns, which come again and again.
type turns struct {
	order []string
	is    map[string]bool // in order
}

// add lets a run wait for its turn, if it should and does not yet.
func (t *turns) add(run string, should bool) {
	if should && !t.is[run] {
		t.is[run] = true
		t.order = append(t.order, run)
	}
}

// next gives the next runs their turns, each only once. Those whose turn is for nothing leave.
func (t *turns) next(most int, turn func(run string) (stays bool)) {
	var taken []string
	for ; len(t.order) > 0 && len(taken) < most; t.order = t.order[1:] {
		if run := t.order[0]; turn(run) {
			taken = append(taken, run)
		} else {
			delete(t.is, run)
		}
	}
	t.order = append(t.order, taken...)
}
