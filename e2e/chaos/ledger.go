package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
)

// Ledger remembers the runs that were made in a world and what became of each: its Jobs, and
// the pods that it plays.
type Ledger struct {
	world World
	pods  *pods
	mu    sync.Mutex
	sorts map[string]Sort
}

// NewLedger is one without runs. The Jobs are in a namespace.
func NewLedger(client kubernetes.Interface, namespace string, world World, plan *Plan) *Ledger {
	l := &Ledger{world: world, sorts: map[string]Sort{}}
	l.pods = newPods(client, namespace, world, plan, l.sortOf)
	return l
}

// Play plays the pods of the runs' Jobs until ctx ends.
func (l *Ledger) Play(ctx context.Context) error { return l.pods.run(ctx) }

func (l *Ledger) sortOf(run string) (Sort, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sort, known := l.sorts[run]
	return sort, known
}

// Any makes a run of any sort. If it is to be cancelled, cancel does so after a while, or when
// ctx ends; else it does nothing.
func (l *Ledger) Any(ctx context.Context, dice *rand.Rand) (cancel func()) {
	sort := []Sort{AdHoc, AdHoc, AdHoc, AdHoc, Scheduled, Scheduled, Scheduled, Retried, Retried, Restarted, Cancelled, Cancelled}[dice.IntN(12)]
	var in time.Duration
	if sort == Scheduled || sort == Cancelled && dice.IntN(2) == 0 {
		in = time.Duration(dice.IntN(20)) * time.Second
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.world.Create(sort, in)
	l.sorts[id] = sort
	if sort != Cancelled {
		return func() {}
	}
	after := time.Duration(dice.IntN(6000)) * time.Millisecond
	return func() {
		pause(ctx, after)
		l.world.Cancel(id)
	}
}

// Count is how much there was so far.
type Count struct{ Runs, Jobs, Begun int }

// Count counts.
func (l *Ledger) Count() (c Count) {
	l.pods.mu.Lock()
	defer l.pods.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Runs = len(l.sorts)
	for run, seen := range l.pods.jobs {
		c.Jobs, c.Begun = c.Jobs+len(seen), c.Begun+l.pods.begun[run]
	}
	return c
}

// Open says what is not in order, by flow run: afterwards nothing may be.
func (l *Ledger) Open() map[string]string {
	runs := l.world.Look()
	l.pods.mu.Lock()
	defer l.pods.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	open := map[string]string{}
	for id, sort := range l.sorts {
		run, there := runs[id]
		wrong := slices.Clone(l.pods.wrong[id])
		begun, jobs, want := l.pods.begun[id], len(l.pods.jobs[id]), sort.schedulings()
		switch {
		case !there:
			wrong = append(wrong, "Prefect has lost it")
		case !run.Ended:
			wrong = append(wrong, "it has not ended")
		case sort == Cancelled:
			if begun > 1 || jobs > 1 {
				wrong = append(wrong, fmt.Sprintf("%d Jobs and %d pods, want at most one", jobs, begun))
			}
		case run.Cancelled:
			wrong = append(wrong, "it is Cancelled, and nobody cancelled it")
		case begun != want || jobs != want:
			wrong = append(wrong, fmt.Sprintf("%d Jobs and %d pods that began, want %d", jobs, begun, want))
		}
		if len(wrong) > 0 {
			open[id] = fmt.Sprintf("flow run %s (%s) is %s: %s", id, sort, run.State, strings.Join(wrong, "; "))
		}
	}
	for id := range l.pods.wrong {
		if _, known := l.sorts[id]; !known {
			open[id] = "flow run " + id + ": " + strings.Join(l.pods.wrong[id], "; ")
		}
	}
	return open
}

// History is what Prefect, Kubernetes and pods know of a run, each line with its time first.
func (l *Ledger) History(id string) []string {
	lines := l.world.Look()[id].History
	l.pods.mu.Lock()
	defer l.pods.mu.Unlock()
	return slices.Concat(lines, l.pods.jobs[id], l.pods.refused[id])
}
