package scaler

import (
	"cmp"
	"errors"
	"reflect"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// firstRuns is the number of run ids that we keep for people to see.
const firstRuns = 5

// snapshot is the only source of answers. It never changes once published; a newer one
// replaces it.
type snapshot struct {
	// At is when the poll began; zero until one succeeded.
	At     time.Time
	Groups []group
	// Held are the runs that Prefect holds back, by place and reason. They are no demand.
	Held []held
	// WithoutJob are the claims whose Job is missing.
	WithoutJob []claim
	// Waiting are the claims whose Job waits for its pod.
	Waiting []claim
	// missingAt and waitingAt are the same by place, for the verdicts: there are few places
	// however many claims.
	missingAt, waitingAt []claimTimes
	// Troubled are the Jobs in trouble that need a launcher.
	Troubled []troubled
	// Stuck are the Jobs that wait for their pods to begin. They do not count as demand.
	Stuck []stuckRun
	// Taken says when runs were last seen to be taken, by their place.
	Taken     []taken
	Truncated bool
	TooLarge  bool // that is because of the size of runs

	// Failures counts the polls that failed since At; Err is the last one's error.
	Failures int
	Err      error

	// replaced is closed when a newer snapshot is published.
	replaced chan struct{}
}

// group is the runs that wait at one place. There are few places however many runs
// wait, so finding whose they are costs nothing.
type group struct {
	Place prefect.Place
	// Due is sorted.
	Due []time.Time
	// First are the ids of the earliest runs, in the order of Due.
	First []string
}

// claim is one that lacks its Job, or whose Job waits for its pod.
type claim struct {
	prefect.ClaimedRun
	// CountsFrom is when it becomes demand: the end of the grace for creating the Job, or
	// when somebody has to send a heartbeat.
	CountsFrom time.Time
}

// claimTimes says from when on each of a place's claims counts.
type claimTimes struct {
	Place prefect.Place
	From  []time.Time // sorted
}

func countByPlace(claims []claim) []claimTimes {
	at := map[string]int{}
	var all []claimTimes
	for _, c := range claims {
		key := c.Place.Key()
		i, ok := at[key]
		if !ok {
			i = len(all)
			at[key] = i
			all = append(all, claimTimes{Place: c.Place.Canonical()})
		}
		all[i].From = append(all[i].From, c.CountsFrom)
	}
	for _, of := range all {
		slices.SortFunc(of.From, time.Time.Compare)
	}
	return all
}

// troubled is a Job in trouble, or one that is gone, with the place of its run.
type troubled struct {
	found
	Place prefect.Place
}

func newSnapshot(o prefect.Observation, at time.Time) *snapshot {
	return &snapshot{At: at, Groups: groupByPlace(o.Due), Held: groupHeld(o.Held), Truncated: o.Truncated, TooLarge: o.TooLarge, replaced: make(chan struct{})}
}

func groupByPlace(runs []prefect.DueRun) []group {
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b prefect.DueRun) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
	})
	at := map[string]int{}
	var groups []group
	for _, r := range runs {
		key := r.Place.Key()
		i, ok := at[key]
		if !ok {
			i = len(groups)
			at[key] = i
			groups = append(groups, group{Place: r.Place.Canonical()})
		}
		g := &groups[i]
		g.Due = append(g.Due, r.Due)
		if len(g.First) < firstRuns {
			g.First = append(g.First, r.ID)
		}
	}
	return groups
}

// failed is the snapshot after one more failed poll: the same lists as before.
func (s *snapshot) failed(err error) *snapshot {
	next := *s
	next.Err = err
	next.Failures++
	next.replaced = make(chan struct{})
	return &next
}

// with is the same snapshot with other lists of claims without a Job, waiting, troubled and stuck Jobs.
func (s *snapshot) with(missing, waiting []claim, troubled []troubled, stuck []stuckRun) *snapshot {
	next := *s
	next.WithoutJob, next.Waiting, next.Troubled, next.Stuck = missing, waiting, troubled, stuck
	if !isSame(missing, s.WithoutJob) {
		next.missingAt = countByPlace(missing)
	}
	if !isSame(waiting, s.Waiting) {
		next.waitingAt = countByPlace(waiting)
	}
	next.replaced = make(chan struct{})
	return &next
}

// isLike reports whether s, which was made of before, says the same.
func (s *snapshot) isLike(before *snapshot) bool {
	return isSame(s.WithoutJob, before.WithoutJob) && isSame(s.Waiting, before.Waiting) &&
		reflect.DeepEqual(s.Troubled, before.Troubled) && reflect.DeepEqual(s.Stuck, before.Stuck)
}

// isSame reports whether two lists are one and the same, or empty.
func isSame(a, b []claim) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// heartbeatsDue are the claims whose heartbeat is overdue.
func (s *snapshot) heartbeatsDue(now time.Time) []claim {
	return slices.DeleteFunc(slices.Clone(s.Waiting), func(c claim) bool { return c.CountsFrom.After(now) })
}

// awaited reports whether the first poll has not returned yet.
func (s *snapshot) awaited() bool { return s.At.IsZero() && s.Err == nil }

// usable returns nil if s is fresh enough for answers, and else the error for KEDA. An
// error freezes KEDA: it scales nothing, not even to zero (keda §1.9).
func (s *snapshot) usable(connection string, maxStaleness time.Duration, now time.Time) error {
	age := now.Sub(s.At)
	switch {
	case !s.At.IsZero() && age <= maxStaleness:
		return nil
	case errors.Is(s.Err, prefect.ErrAuth):
		return status.Errorf(codes.FailedPrecondition, "connection %s: the Prefect API refuses the key or tenant; give the scaler a valid one: %v", connection, s.Err)
	case s.awaited():
		return status.Errorf(codes.Unavailable, "connection %s: the first poll of Prefect has not returned yet; ask again", connection)
	case s.At.IsZero():
		return status.Errorf(codes.Unavailable, "connection %s: Prefect has not answered since the scaler started; check the API's address and that it is up: %v", connection, s.Err)
	default:
		return status.Errorf(codes.Unavailable, "connection %s: the last answer of Prefect is %s old, more than %s; check that the API is up: %s",
			connection, age.Round(time.Second), maxStaleness, cause(s.Err))
	}
}

func cause(err error) string {
	if err == nil {
		return "the current poll has not returned"
	}
	return err.Error()
}
