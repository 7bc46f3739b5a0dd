package scaler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// maxValue keeps the metric within what KEDA turns into milli-units safely.
const maxValue = 1_000_000_000

// verdict is what one trigger is told about one snapshot at one moment, and why.
type verdict struct {
	// Due runs are claimable now, Ahead ones within the lead; Missing are claims
	// without a Job.
	Due, Ahead, Missing int64
	// Silent are claims whose Job waits and whose heartbeat is overdue.
	Silent int64
	// Troubled are Jobs in trouble, by kind; nil when there are none.
	Troubled map[trouble.Kind]int64
	// AtLeast is set when more runs wait than one look returns.
	AtLeast bool
	// Held is set when only an earlier activation keeps the trigger active.
	Held bool

	// Active and Value are the answers to KEDA: Active ⇔ Value > 0.
	Active bool
	Value  int64
	// Capped is set when the trigger's own limit cut Value.
	Capped bool

	// Since is when the earliest counted run was due; zero when none has a time.
	Since time.Time
	// NextWake is when the verdict can change without a new snapshot; zero when
	// it cannot.
	NextWake time.Time
}

// Demand is the number of things a launcher would have to do. Sending heartbeats
// is one thing, however many they are.
func (v verdict) Demand() int64 {
	sum := v.Due + v.Ahead + v.Missing + min(v.Silent, 1)
	for _, n := range v.Troubled {
		sum += n
	}
	return sum
}

// decide is the whole policy. wasActive is the previous verdict of a trigger
// with an activation threshold: the threshold delays the start of a launcher
// and must not take one away from work that is left.
func decide(s *snapshot, t trigger, wasActive bool, now time.Time) verdict {
	v := verdict{AtLeast: s.Truncated}
	horizon := now.Add(t.WarmUpLead)
	for _, g := range s.Groups {
		if !prefect.LabelsMatch(t.Labels, g.Labels) {
			continue
		}
		due, ahead := after(g.Due, now), after(g.Due, horizon)
		v.Due += int64(due)
		v.Ahead += int64(ahead - due)
		if ahead > 0 {
			v.Since = earliest(v.Since, g.Due[0])
		}
		if ahead < len(g.Due) {
			v.NextWake = earliest(v.NextWake, g.Due[ahead].Add(-t.WarmUpLead))
		}
	}
	for _, m := range s.Missing {
		switch {
		case !prefect.LabelsMatch(t.Labels, m.Labels):
		case m.CountsFrom.After(now):
			v.NextWake = earliest(v.NextWake, m.CountsFrom)
		default:
			v.Missing++
		}
	}
	var silentFrom time.Time
	for _, w := range s.Waiting {
		switch {
		case !prefect.LabelsMatch(t.Labels, w.Labels):
		case w.CountsFrom.After(now):
			silentFrom = earliest(silentFrom, w.CountsFrom)
		default:
			v.Silent++
		}
	}
	if v.Silent == 0 {
		v.NextWake = earliest(v.NextWake, silentFrom)
	}
	for _, d := range s.Troubled {
		switch {
		case !prefect.LabelsMatch(t.Labels, d.Labels):
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
		// What was not returned may well be ours: better a launcher that finds
		// nothing to do than a run that waits for other people's backlog.
		value = max(value, 1)
	}
	// The threshold lets due runs wait for each other. Claims without a Job, Jobs in
	// trouble and heartbeats cannot wait for others to fall due, and a lower bound
	// proves nothing about being below it.
	above := v.Due+v.Ahead > t.ActivationThreshold || v.Missing+v.Silent > 0 || len(v.Troubled) > 0 || v.AtLeast
	v.Held = !above && wasActive && value > 0
	v.Active = above || v.Held
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

// after is how many of the sorted times are not after limit.
func after(times []time.Time, limit time.Time) int {
	i, _ := slices.BinarySearchFunc(times, limit, func(t, limit time.Time) int {
		if t.After(limit) {
			return 1
		}
		return -1
	})
	return i
}

// earliest is the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// runsFor are the first ids of what the trigger counts, in due order.
func runsFor(s *snapshot, t trigger, now time.Time) []string {
	type run struct {
		due time.Time
		id  string
	}
	var runs []run
	for _, g := range s.Groups {
		if !prefect.LabelsMatch(t.Labels, g.Labels) {
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

// reason says in a sentence why the number is what it is.
func (v verdict) reason(t trigger) string {
	var parts []string
	add := func(n int64, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, append([]any{n}, args...)...))
		}
	}
	add(v.Due, "%d due")
	add(v.Ahead, "%d due within %s", t.WarmUpLead)
	add(v.Missing, "%d claimed without a Job")
	add(v.Silent, "%d whose Job waits need a heartbeat")
	for _, k := range trouble.Kinds() {
		add(v.Troubled[k], "%d in trouble (%s)", k)
	}
	why := strings.Join(parts, ", ")
	if why == "" {
		why = "no run with these labels is due"
	}
	if v.AtLeast {
		why += "; more runs wait than one look returns, some of these may be among them"
	}
	switch {
	case v.Held:
		why += fmt.Sprintf("; not above the activation threshold %d, but a launcher was started and work is left", t.ActivationThreshold)
	case !v.Active && v.Demand() > 0:
		why += fmt.Sprintf("; not above the activation threshold %d", t.ActivationThreshold)
	}
	if v.Capped {
		why += fmt.Sprintf("; limited to %d launchers of %d runs", t.MaxLaunchers, t.RunsPerLauncher)
	}
	return why
}
