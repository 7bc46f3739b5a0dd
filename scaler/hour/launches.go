package hour

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// MaxLaunches is how many of the last runs are remembered.
	MaxLaunches = 50
	// maxUntold bounds the notes of Jobs that nobody has told of yet. That takes milliseconds.
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
	// UID differs from that of any other Job, also of the same name.
	UID             string
	Namespace, Name string
	// Run is the flow run's id.
	Run     string
	Created time.Time
	Stage   Stage
}

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
	untold map[string]untold
	jobs   map[string]*followed // by UID
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

type countKey struct{ namespace, place string }

// NewLaunches looks from now on: when a pod began to run before, nobody knows.
func NewLaunches(now time.Time) *Launches {
	return &Launches{since: now, untold: map[string]untold{}, jobs: map[string]*followed{}, counts: map[countKey]*Count{}}
}

// Note takes in the note on a Job that will be followed.
func (l *Launches) Note(uid string, note job.Launch, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.jobs[uid] != nil {
		return
	}
	if len(l.untold) >= maxUntold {
		// These are of lists that failed halfway.
		for uid, is := range l.untold {
			if now.Sub(is.at) >= time.Minute {
				delete(l.untold, uid)
			}
		}
	}
	if len(l.untold) < maxUntold {
		l.untold[uid] = untold{note, now}
	}
}

// Follow takes in how far a Job is.
func (l *Launches) Follow(j Seen, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	is := l.jobs[j.UID]
	isNew := is == nil
	if isNew {
		is = l.meet(j)
	}
	before := is.stage
	is.stage = j.Stage
	if !isNew {
		is.count.add(before, -1)
	}
	is.count.add(j.Stage, 1)
	l.tidy(is.count)
	i := l.find(j.UID)
	if i < 0 {
		return
	}
	l.last[i].Stage = j.Stage
	begins := !isNew && before == Waiting || isNew && !l.last[i].Began().Before(l.since)
	if j.Stage == Running && begins && l.last[i].Running.IsZero() {
		l.last[i].Running = now
	}
}

// meet begins to follow a Job.
func (l *Launches) meet(j Seen) *followed {
	told, isNoted := l.untold[j.UID]
	delete(l.untold, j.UID)
	is := &followed{}
	if isNoted {
		is.count = l.at(j.Namespace, told.note.Place())
	}
	l.jobs[j.UID] = is
	one := Launched{Seen: j, Note: told.note}
	i, _ := slices.BinarySearchFunc(l.last, one, func(a, b Launched) int {
		return cmp.Or(b.Began().Compare(a.Began()), cmp.Compare(a.UID, b.UID))
	})
	if i < MaxLaunches {
		l.last = slices.Insert(l.last[:min(len(l.last), MaxLaunches-1)], i, one)
	}
	return is
}

// Gone takes in that a Job was removed.
func (l *Launches) Gone(uid string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.untold, uid)
	is := l.jobs[uid]
	if is == nil {
		return
	}
	delete(l.jobs, uid)
	is.count.add(is.stage, -1)
	l.tidy(is.count)
	if i := l.find(uid); i >= 0 && is.stage.isActive() {
		l.last[i].Stage = Gone
	}
}

func (l *Launches) find(uid string) int {
	return slices.IndexFunc(l.last, func(is Launched) bool { return is.UID == uid })
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
