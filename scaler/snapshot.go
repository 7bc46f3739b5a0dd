package scaler

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// firstRuns is how many run ids are kept for people to look at.
const firstRuns = 5

// snapshot is all that answers are made of. It is never changed once published;
// a newer one replaces it.
type snapshot struct {
	// At is when the look began; zero until one succeeded.
	At     time.Time
	Groups []group
	// Missing are the claims whose Job is not there.
	Missing []missing
	// Waiting are the claims whose Job waits for its pod.
	Waiting []waiting
	// Troubled are the Jobs a launcher has to see to.
	Troubled  []troubled
	Truncated bool
	TooLarge  bool // that is because of the size of runs

	// Failures counts the looks that failed since At, Err is the last one's.
	Failures int
	Err      error

	// superseded is closed when a newer snapshot is published.
	superseded chan struct{}
}

// group is the runs that carry the same labels. There are few groups however
// many runs wait, so matching labels costs nothing.
type group struct {
	Labels []string
	// Due is sorted.
	Due []time.Time
	// First are the ids of the earliest runs, in the order of Due.
	First []string
}

// missing is a claim whose Job is not there.
type missing struct {
	ID     string
	Labels []string
	Claim  prefect.Claim
	// CountsFrom is when the grace for creating the Job is over.
	CountsFrom time.Time
}

// troubled is a Job in trouble, or one that is gone, with the labels of its run.
type troubled struct {
	found
	Labels []string
}

func newSnapshot(o prefect.Observation, at time.Time) *snapshot {
	return &snapshot{At: at, Groups: groupByLabels(o.Due), Truncated: o.Truncated, TooLarge: o.TooLarge, superseded: make(chan struct{})}
}

func groupByLabels(runs []prefect.DueRun) []group {
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b prefect.DueRun) int {
		return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
	})
	at := map[string]int{}
	var groups []group
	for _, r := range runs {
		labels := slices.Compact(slices.Sorted(slices.Values(r.Labels)))
		// A label can hold any character but NUL: it is PostgreSQL text.
		id := strings.Join(labels, "\x00")
		i, ok := at[id]
		if !ok {
			i = len(groups)
			at[id] = i
			groups = append(groups, group{Labels: labels})
		}
		g := &groups[i]
		g.Due = append(g.Due, r.Due)
		if len(g.First) < firstRuns {
			g.First = append(g.First, r.ID)
		}
	}
	return groups
}

// failed is what is known after one more look that failed: the same as before.
func (s *snapshot) failed(err error) *snapshot {
	next := *s
	next.Err = err
	next.Failures++
	next.superseded = make(chan struct{})
	return &next
}

// with is the same snapshot with other lists of missing, waiting and troubled Jobs.
func (s *snapshot) with(m []missing, w []waiting, t []troubled) *snapshot {
	next := *s
	next.Missing, next.Waiting, next.Troubled = m, w, t
	next.superseded = make(chan struct{})
	return &next
}

// awaited says that the first look is under way.
func (s *snapshot) awaited() bool { return s.At.IsZero() && s.Err == nil }

// usable says whether answers may be made of s, or with what status and words
// they must be refused. Refusing freezes KEDA, and nothing is scaled to zero.
func (s *snapshot) usable(connection string, maxStaleness time.Duration, now time.Time) error {
	age := now.Sub(s.At)
	switch {
	case !s.At.IsZero() && age <= maxStaleness:
		return nil
	case errors.Is(s.Err, prefect.ErrAuth):
		return status.Errorf(codes.FailedPrecondition, "connection %s: the Prefect API refuses the key or tenant; give the scaler a valid one: %v", connection, s.Err)
	case s.awaited():
		return status.Errorf(codes.Unavailable, "connection %s: the first look at Prefect is under way; ask again", connection)
	case s.At.IsZero():
		return status.Errorf(codes.Unavailable, "connection %s: Prefect has not answered since the scaler started; check the API's address and that it is up: %v", connection, s.Err)
	default:
		return status.Errorf(codes.Unavailable, "connection %s: the last answer of Prefect is %s old, more than %s; check that the API is up: %s",
			connection, age.Round(time.Second), maxStaleness, cause(s.Err))
	}
}

func cause(err error) string {
	if err == nil {
		return "the look under way has not returned"
	}
	return err.Error()
}
