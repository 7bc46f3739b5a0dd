package hour

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// MaxLaunches is how many of the last runs are remembered.
	MaxLaunches = 50
	// maxUntold bounds the notes of Jobs that nobody has told of yet: those of a first list,
	// which is told of when it is complete. Where a note found no room, the next change of its
	// Job brings it.
	maxUntold = 10_000
)

// Stage is how far a Job is.
type Stage int

// The stages, in order.
const (
	Waiting Stage = iota // for its pod to run
	Running
	Succeeded
	Failed
	// Gone is a Job that was removed before it was seen to end.
	Gone
)

// String is the stage in a word for people.
func (s Stage) String() string {
	return [...]string{"waiting", "running", "succeeded", "failed", "removed"}[s]
}

// MarshalText is String, for JSON.
func (s Stage) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Stage) isActive() bool { return s == Waiting || s == Running }

// Seen is a Job as Kubernetes shows it.
type Seen struct {
	Namespace, Name string
	// Run is the flow run's id.
	Run     string
	Created time.Time
	Stage   Stage
}

func (j Seen) key() jobKey { return jobKey{j.Namespace, j.Name} }

// Launched is one of the last runs.
type Launched struct {
	Seen
	// Note is its launcher's; Created in it is zero where there is none.
	Note job.Launch
	// Running is when its pod was seen to run; zero if it was not, or before we looked.
	Running time.Time
}

// Began is when the Job was created, as exactly as we know.
func (l Launched) Began() time.Time {
	if l.Note.Created.IsZero() {
		return l.Created
	}
	return l.Note.Created
}

// Count are the active Jobs of a namespace whose runs waited at one place.
type Count struct {
	Namespace        string
	Place            prefect.Place
	Waiting, Running int
}

// Launches follows the Jobs of some namespaces.
type Launches struct {
	since time.Time

	mu     sync.Mutex
	untold map[jobKey]untold
	swept  time.Time            // when untold was last cleared of what is old
	jobs   map[jobKey]*followed // those that are active
	counts map[countKey]*Count
	last   []Launched // the newest first
}

type untold struct {
	note job.Launch
	at   time.Time
}

type followed struct {
	count *Count // nil if nobody knows where the run waited
	stage Stage
}

type jobKey struct{ namespace, name string }

type countKey struct{ namespace, place string }

// NewLaunches looks from now on: when a pod began to run before, nobody knows.
func NewLaunches(now time.Time) *Launches {
	return &Launches{since: now, untold: map[jobKey]untold{}, jobs: map[jobKey]*followed{}, counts: map[countKey]*Count{}}
}

// Note takes in the note on a Job that will be followed.
func (l *Launches) Note(namespace, name string, note job.Launch, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := jobKey{namespace, name}
	if is := l.jobs[k]; is != nil {
		if is.count == nil { // there was no room for its note before
			is.count = l.at(namespace, note.Place())
			is.count.add(is.stage, 1)
		}
		return
	}
	if len(l.untold) >= maxUntold && now.Sub(l.swept) >= time.Second {
		l.swept = now
		// These are of lists that failed halfway.
		for k, is := range l.untold {
			if now.Sub(is.at) >= time.Minute {
				delete(l.untold, k)
			}
		}
	}
	if len(l.untold) < maxUntold {
		l.untold[k] = untold{note, now}
	}
}

// Follow takes in how far a Job is.
func (l *Launches) Follow(j Seen, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := j.key()
	is, isLast := l.jobs[k], l.find(k)
	isNew := is == nil && isLast < 0
	switch {
	case isNew:
		is = l.meet(j)
		isLast = l.find(k)
	case is == nil && j.Stage.isActive(): // it was seen to end
		return
	case is == nil:
		delete(l.untold, k)
		return
	}
	before := is.stage
	if is.stage = j.Stage; !isNew {
		is.count.add(before, -1)
	}
	is.count.add(j.Stage, 1)
	l.tidy(is.count)
	if !j.Stage.isActive() {
		delete(l.jobs, k)
	}
	if isLast < 0 {
		return
	}
	last := &l.last[isLast]
	last.Stage = j.Stage
	begins := !isNew && before == Waiting || isNew && !last.Began().Before(l.since)
	if j.Stage == Running && begins && last.Running.IsZero() {
		last.Running = now
	}
}

// Follows reports whether the Job is followed: it was seen active, and not yet at its end.
func (l *Launches) Follows(namespace, name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.jobs[jobKey{namespace, name}] != nil
}

// meet begins to follow a Job.
func (l *Launches) meet(j Seen) *followed {
	j.Name, j.Run = strings.Clone(j.Name), strings.Clone(j.Run) // they may be part of a longer text
	k := j.key()
	told, isNoted := l.untold[k]
	delete(l.untold, k)
	is := &followed{}
	if isNoted {
		is.count = l.at(j.Namespace, told.note.Place())
	}
	l.jobs[k] = is
	one := Launched{Seen: j, Note: told.note}
	i, _ := slices.BinarySearchFunc(l.last, one, func(a, b Launched) int {
		return cmp.Or(b.Began().Compare(a.Began()), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	if i < MaxLaunches {
		l.last = slices.Insert(l.last[:min(len(l.last), MaxLaunches-1)], i, one)
	}
	return is
}

// Gone takes in that a Job was removed.
func (l *Launches) Gone(namespace, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := jobKey{namespace, name}
	delete(l.untold, k)
	is := l.jobs[k]
	if is == nil {
		return
	}
	delete(l.jobs, k)
	is.count.add(is.stage, -1)
	l.tidy(is.count)
	if i := l.find(k); i >= 0 {
		l.last[i].Stage = Gone
	}
}

func (l *Launches) find(k jobKey) int {
	return slices.IndexFunc(l.last, func(is Launched) bool { return is.key() == k })
}

func (l *Launches) at(namespace string, place prefect.Place) *Count {
	k := countKey{namespace, place.Key()}
	if l.counts[k] == nil {
		l.counts[k] = &Count{Namespace: namespace, Place: place.Canonical()}
	}
	return l.counts[k]
}

func (c *Count) add(stage Stage, n int) {
	switch {
	case c == nil:
	case stage == Waiting:
		c.Waiting += n
	case stage == Running:
		c.Running += n
	}
}

// tidy forgets a place without active Jobs.
func (l *Launches) tidy(c *Count) {
	if c != nil && c.Waiting == 0 && c.Running == 0 {
		delete(l.counts, countKey{c.Namespace, c.Place.Key()})
	}
}

// Counts are the active Jobs of the namespaces by place, as far as their places are known.
func (l *Launches) Counts(namespaces []string) []Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Count
	for _, c := range l.counts {
		if slices.Contains(namespaces, c.Namespace) {
			all = append(all, *c)
		}
	}
	return all
}

// Last are the last runs in the namespaces, the newest first.
func (l *Launches) Last(namespaces []string) []Launched {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.last), func(is Launched) bool { return !slices.Contains(namespaces, is.Namespace) })
}
