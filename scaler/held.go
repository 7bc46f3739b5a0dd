package scaler

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/lasting"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// heldNoMore is how long nothing has to be held back before we say that this is over. Where
// runs queue for a limit, that begins and ends with every run.
const heldNoMore = time.Minute

// held are the runs at one place that Prefect holds back for one reason.
type held struct {
	Place prefect.Place
	Why   string
	Runs  int
	// First are the ids of some of them, in the order of the answer.
	First []string
}

// groupHeld has those with the most runs first.
func groupHeld(runs []prefect.HeldRun) []held {
	type key struct{ place, why string }
	at := map[key]int{}
	var groups []held
	for _, r := range runs {
		k := key{r.Place.Key(), r.Why}
		i, ok := at[k]
		if !ok {
			i = len(groups)
			at[k] = i
			groups = append(groups, held{Place: r.Place.Canonical(), Why: r.Why})
		}
		g := &groups[i]
		g.Runs++
		if len(g.First) < firstRuns {
			g.First = append(g.First, r.ID)
		}
	}
	slices.SortStableFunc(groups, func(a, b held) int {
		return cmp.Or(cmp.Compare(b.Runs, a.Runs), cmp.Compare(a.Place.Key(), b.Place.Key()), cmp.Compare(a.Why, b.Why))
	})
	return groups
}

// holding follows the runs that Prefect holds back.
type holding struct {
	held map[string]bool
	// freed are the due runs that were held back before, and since when they are not.
	freed map[string]time.Time
	lasts lasting.State
	last  time.Time
}

// follow applies one more poll. A run that is held back no longer counts as due since now:
// nobody was late with it before.
func (h *holding) follow(o prefect.Observation, now time.Time) {
	freed := map[string]time.Time{}
	for i, r := range o.Due {
		since, was := h.freed[r.ID]
		if h.held[r.ID] {
			since, was = now, true
		}
		if was {
			freed[r.ID] = since
			if since.After(r.Due) {
				o.Due[i].Due = since
			}
		}
	}
	h.freed, h.held = freed, make(map[string]bool, len(o.Held))
	for _, r := range o.Held {
		h.held[r.ID] = true
	}
}

// sayHeld says when Prefect begins to hold runs back, now and then while it does, and when
// that is over.
func (p *poller) sayHeld(ctx context.Context, groups []held, now time.Time) {
	h := &p.holding
	if len(groups) == 0 {
		if h.lasts.Lasts() && now.Sub(h.last) >= heldNoMore && h.lasts.Over() {
			p.log.InfoContext(ctx, "Prefect holds no runs back any more")
		}
		return
	}
	h.last = now
	if h.lasts.Holds(now) {
		first := groups[0]
		p.log.InfoContext(ctx, "Prefect holds due runs back, and no launcher is wanted for them; /debug/demand lists them",
			"count", len(h.held), "flow_run", first.First[0], "place", first.Place.String(), "reason", first.Why)
	}
}
