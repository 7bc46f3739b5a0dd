package scaler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/lasting"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// launcherPatience is how long a ScaledObject may be active with due runs that nobody
	// takes before we tell the operator. From zero, a launcher claims within seconds;
	// without a push, or if its image has to be pulled, within half a minute.
	launcherPatience = time.Minute
	// untakenEvery is how often we check this, and lookAtPods how often we read the pods of
	// a missing launcher.
	untakenEvery = 5 * time.Second
	lookAtPods   = time.Minute
	// podsAtOnce bounds the launchers whose pods we read in one go, one after the other,
	// within podsTimeout.
	podsAtOnce  = 20
	podsTimeout = 20 * time.Second
	// takenFor is how long we remember that runs were taken.
	takenFor = time.Hour
)

// taken says when a run of a place was last seen to be taken.
type taken struct {
	Place prefect.Place
	At    time.Time
}

// takings proves that launchers work: there are new claims, or due runs are no longer due.
// A person who cancels a due run looks like a launcher; the next run shows the truth.
type takings struct {
	due    map[string]prefect.Place // by id; nil while not known
	claims map[claimKey]bool
	last   map[string]taken // by the key of the place
}

// follow applies one more poll.
func (t *takings) follow(o prefect.Observation, now time.Time) []taken {
	took := func(p prefect.Place) { t.last[p.Key()] = taken{p, now} }
	if t.last == nil {
		t.last = map[string]taken{}
	}
	due, claims := make(map[string]prefect.Place, len(o.Due)), make(map[claimKey]bool, len(o.Claimed))
	for _, r := range o.Due {
		due[r.ID] = r.Place
	}
	for _, c := range o.Claimed {
		k := claimKey{c.ID, c.Claim.Attempt}
		if claims[k] = true; t.claims != nil && !t.claims[k] {
			took(c.Place)
		}
	}
	for _, r := range o.Held { // not taken
		delete(t.due, r.ID)
	}
	if !o.Truncated { // else a due run may be missing for lack of room
		for id, place := range t.due {
			if _, still := due[id]; !still {
				took(place)
			}
		}
	}
	t.due, t.claims = due, claims
	if o.Truncated {
		t.due = nil
	}
	maps.DeleteFunc(t.last, func(_ string, is taken) bool { return now.Sub(is.At) > takenFor })
	return slices.Collect(maps.Values(t.last))
}

// untaken are due runs that no launcher takes.
type untaken struct {
	Runs int64
	For  time.Duration
}

// untakenBy are the runs that a trigger's launchers have not taken for too long, given since
// when launchers are wanted.
func (s *snapshot) untakenBy(t trigger, v verdict, wanted, now time.Time) untaken {
	if !v.Active || v.Due == 0 || wanted.IsZero() {
		return untaken{}
	}
	since := wanted
	if v.Since.After(since) {
		since = v.Since
	}
	for _, is := range s.Taken {
		if is.At.After(since) && t.Scope.Takes(is.Place) {
			since = is.At
		}
	}
	if now.Sub(since) < launcherPatience {
		return untaken{}
	}
	return untaken{v.Due, now.Sub(since)}
}

func (u untaken) String() string {
	runs := "runs are"
	if u.Runs == 1 {
		runs = "run is"
	}
	return fmt.Sprintf("%d %s due and no launcher has taken any for %s", u.Runs, runs, u.For.Round(time.Second))
}

// absence keeps what is known about a launcher that takes no runs.
type absence struct {
	mu sync.Mutex
	// wanted is since when runs have been due for it. KEDA need not ask: it does not for
	// ScaledObjects that are paused, or refused now.
	wanted time.Time
	lasts  lasting.State
	looked time.Time
	why    string
}

// reason says why, if that is known, and what to do.
func (a *absence) reason(so *scaledObject) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return cmp.Or(a.why, fmt.Sprintf("see its pods: kubectl -n %s get pods", so.namespace))
}

// want notes whether runs are due for the launcher.
func (a *absence) want(is bool, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !is:
		a.wanted = time.Time{}
	case a.wanted.IsZero():
		a.wanted = now
	}
}

func (a *absence) wantedSince() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wanted
}

// apply notes whether runs are untaken. It reports whether to read the pods now, and whether
// the absence is over.
func (a *absence) apply(is bool, now time.Time) (look, back bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !is {
		a.looked, a.why = time.Time{}, ""
		return false, a.lasts.Over()
	}
	return now.Sub(a.looked) >= lookAtPods, false
}

// note keeps what holds the pods up, and reports whether to tell the operator.
func (a *absence) note(why string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looked, a.why = now, why
	return a.lasts.Holds(now)
}

// untakenOf are the runs that so's launchers have not taken.
func (s *service) untakenOf(so *scaledObject, now time.Time) untaken {
	v, err := s.peek(so, now)
	if err != nil {
		return untaken{} // nobody knows what is due
	}
	return s.pollers[so.trigger.Connection].current.Load().untakenBy(so.trigger, v, so.absence.wantedSince(), now)
}

// findUntaken finds, now and then, launchers that do not come up, and tells the operator.
func (s *service) findUntaken(ctx context.Context, p *poller, now time.Time) {
	if now.Before(p.untakenNext) || !p.examining.CompareAndSwap(false, true) {
		return
	}
	p.untakenNext = now.Add(untakenEvery)
	var look []*scaledObject
	for _, so := range s.registry.all() {
		if so.trigger.Connection != p.name {
			continue
		}
		v, err := s.peek(so, now)
		so.absence.want(err == nil && v.Active && v.Due > 0, now)
		is := err == nil && p.current.Load().untakenBy(so.trigger, v, so.absence.wantedSince(), now).Runs > 0
		due, back := so.absence.apply(is, now)
		if back {
			p.log.InfoContext(ctx, "launchers take runs again, or no run is due any more", "scaled_object", so.String())
		}
		if due {
			look = append(look, so)
		}
	}
	if len(look) == 0 {
		p.examining.Store(false)
		return
	}
	look = look[:min(len(look), podsAtOnce)]
	p.beside.Go(func() {
		defer p.examining.Store(false)
		ctx, cancel := context.WithTimeout(ctx, podsTimeout)
		defer cancel()
		for _, so := range look {
			s.tellUntaken(ctx, p, so)
		}
	})
}

func (s *service) tellUntaken(ctx context.Context, p *poller, so *scaledObject) {
	why, err := s.operator.Launcher(ctx, so.namespace, so.name)
	if err != nil {
		p.log.DebugContext(ctx, "cannot read the launcher's pods", "scaled_object", so.String(), "err", err)
	}
	now := time.Now()
	u := s.untakenOf(so, now)
	if u.Runs == 0 || ctx.Err() != nil || !so.absence.note(why, now) {
		return
	}
	reason := so.absence.reason(so)
	p.log.WarnContext(ctx, "runs are due and no launcher takes them", "scaled_object", so.String(), "count", u.Runs, "duration", u.For.Round(time.Second), "reason", reason)
	s.operator.Warn(so.namespace, so.name, eventUntaken, u.String()+": "+reason)
}
