package scaler

import (
	"hash/maphash"
	"maps"
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
	// maxSeen bounds what strangers can make us remember.
	maxSeen = 10_000
)

// scaledObject is one trigger of one ScaledObject (or ScaledJob: KEDA does not
// say which), as known from its calls. Two with the same name and different
// metadata are two.
type scaledObject struct {
	namespace, name string
	metadata        map[string]string
	trigger         trigger
	// err is what is wrong with the metadata, for people to look at.
	err   error
	latch *latch // nil without an activation threshold
	// known is false when there are too many to remember this one.
	known bool

	asked   atomic.Int64
	streams atomic.Int64
	active  atomic.Bool
}

func (so *scaledObject) String() string { return so.namespace + "/" + so.name }

// latch remembers that a launcher was started, for triggers whose activation
// threshold would otherwise take it away from the work that is left.
type latch struct {
	mu     sync.Mutex
	active bool
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

type seenKey struct {
	namespace, name string
	metadata        uint64
}

// seen remembers who asked, and with that the metadata it has parsed already.
type seen struct {
	lead   time.Duration
	seed   maphash.Seed
	forget time.Duration

	mu      sync.RWMutex
	objects map[seenKey]*scaledObject
	latches map[latchKey]*latch
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

// find is the scaled object with that name and metadata; its err tells whether
// the metadata could be read.
func (s *seen) find(namespace, name string, metadata map[string]string, now time.Time) *scaledObject {
	k := seenKey{namespace, name, s.hash(metadata)}
	s.mu.RLock()
	so := s.objects[k]
	s.mu.RUnlock()
	// Different metadata may have the same hash.
	if so == nil || !maps.Equal(so.metadata, metadata) {
		so = s.meet(k, metadata)
	}
	so.asked.Store(now.UnixNano())
	return so
}

func (s *seen) meet(k seenKey, metadata map[string]string) *scaledObject {
	so := &scaledObject{namespace: k.namespace, name: k.name, metadata: metadata}
	so.trigger, so.err = parseTrigger(metadata, s.lead)
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.objects[k]; other != nil && maps.Equal(other.metadata, metadata) {
		return other
	}
	if t := so.trigger; so.err == nil && t.ActivationThreshold > 0 {
		lk := latchKey{t.Connection, strings.Join(t.Labels, "\x00"), t.ActivationThreshold, t.WarmUpLead}
		if s.latches[lk] == nil {
			s.latches[lk] = &latch{}
		}
		so.latch = s.latches[lk]
	}
	if len(s.objects) < maxSeen {
		so.known = true
		s.objects[k] = so
	}
	return so
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
	out := make([]*scaledObject, 0, len(s.objects))
	for _, so := range s.objects {
		out = append(out, so)
	}
	return out
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
	kept := map[*latch]bool{}
	for k, so := range s.objects {
		asked := so.asked.Load()
		old := now.UnixNano()-asked > int64(s.forget) || newest[so.String()]-asked > int64(supersededAfter)
		if so.streams.Load() == 0 && old {
			delete(s.objects, k)
			continue
		}
		kept[so.latch] = true
	}
	maps.DeleteFunc(s.latches, func(_ latchKey, l *latch) bool { return !kept[l] })
}
