package scaler

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// maxValue keeps the metric within what KEDA turns into milli-units safely (keda §1.2).
const maxValue = 1_000_000_000

// verdict is the answer to one trigger from one snapshot at one moment, and the reason.
type verdict struct {
	// Due runs are claimable now, Ahead ones within the lead; WithoutJob are claims
	// without a Job.
	Due, Ahead, WithoutJob int64
	// HeartbeatsDue are claims whose Job waits and whose heartbeat is overdue.
	HeartbeatsDue int64
	// Troubled are Jobs in trouble, by kind; nil when there are none.
	Troubled map[trouble.Kind]int64
	// AtLeast is set when more runs wait than one poll returns.
	AtLeast bool
	// Latched is set when only an earlier activation keeps the trigger active.
	Latched bool

	// Active and Value are the answers to KEDA: Active ⇔ Value > 0.
	Active bool
	Value  int64
	// Capped is set when the trigger's own limit cut Value.
	Capped bool

	// Since is when the earliest counted run was due; zero when none has a time.
	Since time.Time
	// NextWake is when the verdict can change without a new snapshot; zero if it cannot.
	NextWake time.Time
}

// Demand is the number of things a launcher would have to do. All heartbeats together are
// one thing.
func (v verdict) Demand() int64 {
	sum := v.Due + v.Ahead + v.WithoutJob + min(v.HeartbeatsDue, 1)
	for _, n := range v.Troubled {
		sum += n
	}
	return sum
}

// decide is the whole policy. wasActive is the previous verdict of a trigger
// with an activation threshold: the threshold delays the start of a launcher,
// but must not take a launcher away from the work that is left.
func decide(s *snapshot, t trigger, wasActive bool, now time.Time) verdict {
	v := verdict{AtLeast: s.Truncated}
	leadEnd := now.Add(t.WarmUpLead)
	for _, g := range s.Groups {
		if !t.Scope.Takes(g.Place) {
			continue
		}
		due, ahead := after(g.Due, now), after(g.Due, leadEnd)
		v.Due += int64(due)
		v.Ahead += int64(ahead - due)
		if ahead > 0 {
			v.Since = earliest(v.Since, g.Due[0])
		}
		if ahead < len(g.Due) {
			v.NextWake = earliest(v.NextWake, g.Due[ahead].Add(-t.WarmUpLead))
		}
	}
	v.WithoutJob = countOf(s.missingAt, t.Scope, now, &v.NextWake)
	var heartbeatFrom time.Time
	v.HeartbeatsDue = countOf(s.waitingAt, t.Scope, now, &heartbeatFrom)
	if v.HeartbeatsDue == 0 {
		v.NextWake = earliest(v.NextWake, heartbeatFrom)
	}
	for _, d := range s.Troubled {
		switch {
		case !t.Scope.Takes(d.Place):
		case d.From.After(now):
			v.NextWake = earliest(v.NextWake, d.From)
		default:
			if v.Troubled == nil {
				v.Troubled = map[trouble.Kind]int64{}
			}
			v.Troubled[d.Kind]++
		}
	}

	value := v.Demand()
	if v.AtLeast {
		// The runs that were not returned may be ours. A launcher that finds nothing to
		// do is better than a run that waits for other people's backlog.
		value = max(value, 1)
	}
	// The threshold lets due runs wait for each other. Claims without a Job, Jobs in
	// trouble and heartbeats cannot wait for other runs, and if we know only a lower
	// bound, the number may be above the threshold.
	above := v.Due+v.Ahead > t.ActivationThreshold || v.WithoutJob+v.HeartbeatsDue > 0 || len(v.Troubled) > 0 || v.AtLeast
	v.Latched = !above && wasActive && value > 0
	v.Active = above || v.Latched
	if !v.Active {
		return v
	}
	limit := int64(maxValue)
	if t.MaxLaunchers > 0 {
		limit = min(limit, t.MaxLaunchers*t.RunsPerLauncher)
	}
	v.Value = min(value, limit)
	v.Capped = value > limit
	return v
}

// countOf counts the claims that are the scope's and count now; next is when it counts more.
func countOf(all []claimTimes, scope prefect.Scope, now time.Time, next *time.Time) (n int64) {
	for _, of := range all {
		if !scope.Takes(of.Place) {
			continue
		}
		is := after(of.From, now)
		n += int64(is)
		if is < len(of.From) {
			*next = earliest(*next, of.From[is])
		}
	}
	return n
}

// after counts the sorted times up to limit.
func after(times []time.Time, limit time.Time) int {
	return sort.Search(len(times), func(i int) bool { return times[i].After(limit) })
}

// earliest is the earlier of two times; zero means no time.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// first are the first ids that a verdict counts: of due runs, then of claims and Jobs.
// They go into the log, because nobody can find out later which they were.
func (v verdict) first(s *snapshot, t trigger, now time.Time) []string {
	ids := runsFor(s, t, now)
	add := func(id string, place prefect.Place, from time.Time) {
		if len(ids) < firstRuns && !from.After(now) && t.Scope.Takes(place) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, m := range s.WithoutJob {
		add(m.ID, m.Place, m.CountsFrom)
	}
	for _, w := range s.Waiting {
		add(w.ID, w.Place, w.CountsFrom)
	}
	for _, d := range s.Troubled {
		add(d.Run, d.Place, d.From)
	}
	return ids
}

// runsFor are the first ids that the trigger counts, in due order.
func runsFor(s *snapshot, t trigger, now time.Time) []string {
	type run struct {
		due time.Time
		id  string
	}
	var runs []run
	for _, g := range s.Groups {
		if !t.Scope.Takes(g.Place) {
			continue
		}
		for i, id := range g.First {
			if !g.Due[i].After(now.Add(t.WarmUpLead)) {
				runs = append(runs, run{g.Due[i], id})
			}
		}
	}
	slices.SortFunc(runs, func(a, b run) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.id, b.id)) })
	var ids []string
	for _, r := range runs[:min(len(runs), firstRuns)] {
		ids = append(ids, r.id)
	}
	return ids
}

// reason explains the number in a sentence.
func (v verdict) reason(t trigger) string {
	var parts []string
	add := func(n int64, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, append([]any{n}, args...)...))
		}
	}
	add(v.Due, "%d due")
	add(v.Ahead, "%d due within %s", t.WarmUpLead)
	add(v.WithoutJob, "%d claimed without a Job")
	add(v.HeartbeatsDue, "%d whose Job waits need a heartbeat")
	for _, k := range trouble.Kinds() {
		add(v.Troubled[k], "%d in trouble (%s)", k)
	}
	why := strings.Join(parts, ", ")
	if why == "" {
		why = t.Places.none()
	}
	if v.AtLeast {
		why += "; more runs wait than one poll returns, and " + t.Places.theirs()
	}
	switch {
	case v.Latched:
		why += fmt.Sprintf("; not above the activation threshold %d, but a launcher was started and work is left", t.ActivationThreshold)
	case !v.Active && v.Demand() > 0:
		why += fmt.Sprintf("; not above the activation threshold %d", t.ActivationThreshold)
	}
	if v.Capped {
		why += fmt.Sprintf("; limited to %d launchers of %d runs", t.MaxLaunchers, t.RunsPerLauncher)
	}
	return why
}
