package scaler

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// seenFor is how long a ScaledObject is remembered: KEDA never says that
	// one is gone.
	seenFor = 15 * time.Minute
	// supersededAfter is how far a trigger may lag behind another of the same
	// ScaledObject, which KEDA asks in the same breath, before its metadata is
	// taken for an earlier version.
	supersededAfter = time.Minute
	// maxSeen bounds the bytes that strangers can make us remember. It holds some
	// 6,000 real ScaledObjects.
	maxSeen = 16 << 20
	// objectCost is what remembering one takes besides its text, a share of what a
	// scrape and /debug/demand make of it included.
	objectCost = 2 << 10
	// labelCost is that of a label.
	labelCost = 32
	// maxStreams bounds the streams that are open at a time; one takes some 12 KiB.
	maxStreams = 3000
)

// scaledObject is one trigger of one ScaledObject (or ScaledJob: KEDA does not
// say which), as known from its calls. Two with the same name and different
// metadata are two.
type scaledObject struct {
	namespace, name string
	metadata        map[string]string
	trigger         trigger
	latch           *latch // nil without an activation threshold, and of one that is not remembered

	asked  atomic.Int64
	active atomic.Bool

	// Of one that is remembered, under the lock of seen:
	key     seenKey
	kept    bool
	streams int64
}

func (so *scaledObject) String() string { return so.namespace + "/" + so.name }

// cost is about how many bytes it takes to remember so. The text may be there
// three times: in the metadata, in the labels and in the key of the latch.
func (so *scaledObject) cost() int {
	return objectCost + 3*(len(so.namespace)+len(so.name)+metadataSize(so.metadata)) + labelCost*len(so.trigger.Labels)
}

// latch remembers that a launcher was started, for triggers whose activation
// threshold would otherwise take it away from the work that is left.
type latch struct {
	mu     sync.Mutex
	active bool

	users int // under the lock of seen
}

// peek is the latch's state; no latch is never active.
func (l *latch) peek() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active
}

type latchKey struct {
	connection, labels string
	threshold          int64
	lead               time.Duration
}

func latchOf(t trigger) latchKey {
	return latchKey{t.Connection, strings.Join(t.Labels, "\x00"), t.ActivationThreshold, t.WarmUpLead}
}

type seenKey struct {
	namespace, name string
	metadata        uint64
}

// seen remembers who asked, and with that the metadata it has parsed already. What
// it holds is bounded: those go first that have not asked for the longest time.
type seen struct {
	lead   time.Duration
	seed   maphash.Seed
	forget time.Duration

	mu      sync.RWMutex
	objects map[seenKey]*scaledObject
	latches map[latchKey]*latch
	bytes   int
	streams int64
}

func newSeen(o Options) *seen {
	return &seen{
		lead:    o.WarmUpLead,
		seed:    maphash.MakeSeed(),
		forget:  max(10*o.PollInterval, seenFor),
		objects: map[seenKey]*scaledObject{},
		latches: map[latchKey]*latch{},
	}
}

// find is the scaled object with that name and metadata, if it is remembered.
func (s *seen) find(namespace, name string, metadata map[string]string, now time.Time) *scaledObject {
	k := seenKey{namespace, name, s.hash(metadata)}
	s.mu.RLock()
	so := s.objects[k]
	s.mu.RUnlock()
	// Different metadata may have the same hash.
	if so == nil || !maps.Equal(so.metadata, metadata) {
		return nil
	}
	so.asked.Store(now.UnixNano())
	return so
}

// keep remembers a scaled object whose metadata is sound, if there is room, and
// returns the one to go on with. It tells how many others it had to forget.
func (s *seen) keep(so *scaledObject, now time.Time) (kept *scaledObject, forgotten int) {
	so.key = seenKey{so.namespace, so.name, s.hash(so.metadata)}
	so.asked.Store(now.UnixNano())
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.objects[so.key]; other != nil {
		if maps.Equal(other.metadata, so.metadata) {
			return other, 0
		}
		return so, 0 // as if there were no room: of two with one hash, one is enough
	}
	forgotten, ok := s.makeRoom(so.cost())
	if !ok {
		return so, forgotten
	}
	so.kept = true
	s.objects[so.key] = so
	s.bytes += so.cost()
	if t := so.trigger; t.ActivationThreshold > 0 {
		lk := latchOf(t)
		if s.latches[lk] == nil {
			s.latches[lk] = &latch{}
		}
		so.latch = s.latches[lk]
		so.latch.users++
	}
	return so, forgotten
}

// makeRoom forgets those that asked longest ago and have no stream open, until
// there is room. It makes more than is needed, so that it is seldom done.
func (s *seen) makeRoom(cost int) (forgotten int, ok bool) {
	if s.bytes+cost <= maxSeen {
		return 0, true
	}
	var idle []*scaledObject
	for _, so := range s.objects {
		if so.streams == 0 {
			idle = append(idle, so)
		}
	}
	slices.SortFunc(idle, func(a, b *scaledObject) int { return cmp.Compare(a.asked.Load(), b.asked.Load()) })
	for _, so := range idle {
		if s.bytes+cost <= maxSeen*3/4 {
			break
		}
		s.remove(so)
		forgotten++
	}
	return forgotten, s.bytes+cost <= maxSeen
}

func (s *seen) remove(so *scaledObject) {
	delete(s.objects, so.key)
	so.kept = false
	s.bytes -= so.cost()
	if so.latch == nil {
		return
	}
	if so.latch.users--; so.latch.users == 0 {
		delete(s.latches, latchOf(so.trigger))
	}
}

// open takes note of a stream, if so is remembered and there are not too many.
func (s *seen) open(so *scaledObject) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !so.kept || s.streams >= maxStreams {
		return false
	}
	so.streams++
	s.streams++
	return true
}

func (s *seen) closed(so *scaledObject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	so.streams--
	s.streams--
}

// remembers tells whether so is remembered.
func (s *seen) remembers(so *scaledObject) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return so.kept
}

// streamsOf is how many streams so has open.
func (s *seen) streamsOf(so *scaledObject) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return so.streams
}

// hash does not depend on the order of the entries.
func (s *seen) hash(metadata map[string]string) uint64 {
	var sum uint64
	var h maphash.Hash
	for k, v := range metadata {
		h.SetSeed(s.seed)
		h.WriteString(k)
		h.WriteByte(0)
		h.WriteString(v)
		sum += h.Sum64()
	}
	return sum
}

// all is who asked lately, in no order.
func (s *seen) all() []*scaledObject {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.objects))
}

// latched are those of a connection whose verdict depends on the one before.
func (s *seen) latched(connection string) []*scaledObject {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.latches) == 0 {
		return nil
	}
	var out []*scaledObject
	for _, so := range s.objects {
		if so.latch != nil && so.trigger.Connection == connection {
			out = append(out, so)
		}
	}
	return out
}

// sweep forgets who has not asked for long, and metadata that was edited since.
func (s *seen) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := map[string]int64{}
	for _, so := range s.objects {
		newest[so.String()] = max(newest[so.String()], so.asked.Load())
	}
	for _, so := range s.objects {
		asked := so.asked.Load()
		old := now.UnixNano()-asked > int64(s.forget) || newest[so.String()]-asked > int64(supersededAfter)
		if so.streams == 0 && old {
			s.remove(so)
		}
	}
}
