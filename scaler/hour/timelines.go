// Package hour remembers, for people, what the scaler saw in the last hour: how many runs of
// each ScaledObject were due, how many launchers were wanted and what became of the Jobs, the
// last fifty runs, and how long launchers were up in all.
//
// It does no I/O, reads no clock and takes a bounded amount of memory. Nothing that KEDA is
// told depends on it.
package hour

import (
	"maps"
	"math"
	"sync"
	"time"
)

const (
	// Every is what one Sample stands for.
	Every = 10 * time.Second
	// Kept samples are an hour.
	Kept = int(time.Hour / Every)
	// MaxTimelines bounds the ScaledObjects with a timeline. One takes up to 4.8 KB, and next
	// to nothing while nothing happens.
	MaxTimelines = 1000
	// Cooldown is how long a launcher is taken to stay up after it was last wanted: KEDA's
	// cooldown in our manifests.
	Cooldown = time.Minute
)

// Sample holds numbers of one ScaledObject. Of those seen within Every the highest are kept,
// so that a burst of a second shows.
type Sample struct {
	// Known is false while nobody knew: before the start, and while Prefect did not answer.
	Known bool
	// Due are runs, Demand is what a launcher would have to do in all, and Launchers are
	// those wanted.
	Due, Demand, Launchers int
	// Waiting are Jobs whose pod does not run yet, Running the others that have not ended.
	Waiting, Running int
	// Troubled are Jobs that need a launcher.
	Troubled int
}

// Plus is the sum of two triggers of one ScaledObject. Their Jobs are the same if their
// places are, so those do not add up.
func (s Sample) Plus(other Sample) Sample {
	return Sample{
		s.Known && other.Known, s.Due + other.Due, s.Demand + other.Demand, s.Launchers + other.Launchers,
		max(s.Waiting, other.Waiting), max(s.Running, other.Running), s.Troubled + other.Troubled,
	}
}

func (s Sample) peak(other Sample) Sample {
	return Sample{
		s.Known || other.Known, max(s.Due, other.Due), max(s.Demand, other.Demand), max(s.Launchers, other.Launchers),
		max(s.Waiting, other.Waiting), max(s.Running, other.Running), max(s.Troubled, other.Troubled),
	}
}

// packed is a sample as it is kept. Numbers that do not fit are kept as the highest that does.
type packed [6]uint16

// unknown is what no sample packs to.
const unknown = math.MaxUint16

func pack(s Sample) packed {
	if !s.Known {
		return packed{unknown}
	}
	var p packed
	for i, n := range [...]int{s.Due, s.Demand, s.Launchers, s.Waiting, s.Running, s.Troubled} {
		p[i] = uint16(min(max(n, 0), unknown-1)) //nolint:gosec // bounded
	}
	return p
}

func (p packed) sample() Sample {
	if p[0] == unknown {
		return Sample{}
	}
	return Sample{true, int(p[0]), int(p[1]), int(p[2]), int(p[3]), int(p[4]), int(p[5])}
}

// Entry is what is seen of one ScaledObject in a round.
type Entry struct {
	Sample
	// Connection is for the Totals, and Replaces how many always-on pods its launchers do
	// the work of.
	Connection string
	Replaces   int
}

// Timeline is the last hour of one ScaledObject.
type Timeline struct {
	// Samples begin with the oldest, and the last one ends with End. There are Kept of them.
	Samples []Sample
	End     time.Time
}

// Total is how long pods were up, all of a connection together.
type Total struct {
	// Replaced are pods that would always have been up, Launchers those of ours.
	Replaced, Launchers time.Duration
}

// Timelines are the last hours of all ScaledObjects. The zero value is ready for use.
type Timelines struct {
	mu     sync.Mutex
	since  time.Time // of the first round
	last   time.Time // of the latest
	of     map[string]*timeline
	totals map[string]Total
}

// timeline is a ring of samples, each at its number modulo Kept.
type timeline struct {
	first, last int64
	// ring is nil while all samples from first to last are known and zero.
	ring *[Kept]packed

	// up launchers are taken to be up until then, unless more are wanted.
	up    int
	until time.Time
}

func number(at time.Time) int64 { return at.UnixNano() / int64(Every) }

// Round takes in what is seen now of all ScaledObjects. Those that are missing are forgotten.
func (t *Timelines) Round(now time.Time, all map[string]Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.since, t.last = now, now
		t.of, t.totals = map[string]*timeline{}, map[string]Total{}
	}
	// Of a time in which the process was stopped nobody knows.
	passed := min(max(now.Sub(t.last), 0), Every)
	t.last = now
	for name := range t.of {
		if _, still := all[name]; !still {
			delete(t.of, name)
		}
	}
	for name, e := range all {
		one := t.of[name]
		if one == nil {
			if len(t.of) >= MaxTimelines {
				continue
			}
			one = &timeline{first: number(now), last: number(now) - 1}
			t.of[name] = one
		} else {
			sum := t.totals[e.Connection]
			sum.Replaced += time.Duration(max(e.Replaces, 1)) * passed
			sum.Launchers += time.Duration(one.up) * passed
			t.totals[e.Connection] = sum
		}
		one.add(number(now), e.Sample)
		one.want(e.Sample, now)
	}
}

// want follows how many launchers are up. Nobody scales while nobody knows.
func (t *timeline) want(s Sample, now time.Time) {
	if s.Known && (s.Launchers >= t.up || now.After(t.until)) {
		t.up, t.until = s.Launchers, now.Add(Cooldown)
	}
}

func (t *timeline) add(n int64, s Sample) {
	if n < t.last {
		return // the clock was set back
	}
	if t.ring == nil && s == (Sample{Known: true}) && n <= t.last+1 {
		t.last = n
		return
	}
	if t.ring == nil {
		t.ring = &[Kept]packed{}
		for i := range t.ring {
			t.ring[i] = packed{unknown}
		}
		for i := max(t.first, t.last-int64(Kept)+1); i <= t.last; i++ {
			t.ring[i%int64(Kept)] = packed{}
		}
	}
	for i := max(t.last+1, n-int64(Kept)+1); i <= n; i++ {
		t.ring[i%int64(Kept)] = packed{unknown}
	}
	t.last = n
	at := &t.ring[n%int64(Kept)]
	*at = pack(at.sample().peak(s))
}

func (t *timeline) at(n int64) Sample {
	switch {
	case n < t.first || n > t.last || n <= t.last-int64(Kept):
		return Sample{}
	case t.ring == nil:
		return Sample{Known: true}
	}
	return t.ring[n%int64(Kept)].sample()
}

// Of is the last hour of a ScaledObject; ok is false if it has no timeline.
func (t *Timelines) Of(name string, now time.Time) (line Timeline, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.of[name]
	if one == nil {
		return Timeline{}, false
	}
	line = Timeline{Samples: make([]Sample, Kept), End: time.Unix(0, (number(now)+1)*int64(Every))}
	for i := range line.Samples {
		line.Samples[i] = one.at(number(now) - int64(Kept-1-i))
	}
	return line, true
}

// Totals are how long pods were up, by connection, since a time that is zero before the
// first round.
func (t *Timelines) Totals() (of map[string]Total, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.totals), t.since
}
