package scaler

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// rememberedFor is how long we remember a ScaledObject: KEDA never says that one was deleted
	// (keda §1.1).
	rememberedFor = 15 * time.Minute
	// replacedAfter bounds how far a trigger may lag behind another of the same
	// ScaledObject. KEDA asks about both at almost the same time, so metadata that lags
	// further is an earlier version.
	replacedAfter = time.Minute
	// maxRemembered bounds the bytes that strangers can make us remember. About 6,000 real
	// ScaledObjects fit in.
	maxRemembered = 16 << 20
	// objectCost is the memory for one besides its text, including its share of a scrape
	// and of /debug/demand.
	objectCost = 2 << 10
	// labelCost is the memory for a label.
	labelCost = 32
	// maxStreams bounds the streams that are open at a time; one takes about 12 KiB.
	maxStreams = 3000
)

// scaledObject is one trigger of one ScaledObject (or ScaledJob: KEDA does not
// say which, keda §1.1), as known from its calls. The same name with other metadata is
// another trigger.
type scaledObject struct {
	namespace, name string
	metadata        map[string]string
	trigger         trigger
	latch           *latch // nil without an activation threshold, or if it is not remembered

	asked  atomic.Int64
	active atomic.Bool

	absence absence

	key     objectKey
	kept    atomic.Bool  // the registry remembers it
	streams atomic.Int64 // that are open, if it is remembered
}

func (so *scaledObject) String() string { return so.namespace + "/" + so.name }

// cost estimates the bytes it takes to remember so. The text may be stored three times: in
// the metadata, in the labels and in the key of the latch.
func (so *scaledObject) cost() int {
	return objectCost + 3*(len(so.namespace)+len(so.name)+metadataSize(so.metadata)) + labelCost*len(so.trigger.Scope.Labels)
}

// latch remembers that a launcher was started, for triggers whose activation
// threshold would otherwise take it away from the work that is left.
type latch struct {
	mu     sync.Mutex
	active bool

	users int // under the registry's lock
}

// peek is the latch's state; a nil latch is never active.
func (l *latch) peek() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active
}

type latchKey struct {
	connection, scope string
	threshold         int64
	lead              time.Duration
}

func latchOf(t trigger) latchKey {
	return latchKey{t.Connection, t.Scope.Key(), t.ActivationThreshold, t.WarmUpLead}
}

type objectKey struct {
	namespace, name string
	metadata        uint64
}

// registry remembers the ScaledObjects that asked, with their parsed metadata. Its memory is
// bounded: those that have not asked for the longest time go first.
type registry struct {
	lead   time.Duration
	seed   maphash.Seed
	forget time.Duration

	mu      sync.RWMutex
	objects map[objectKey]*scaledObject
	latches map[latchKey]*latch
	bytes   int
	streams int64
}

func newRegistry(o Options) *registry {
	return &registry{
		lead:    o.WarmUpLead,
		seed:    maphash.MakeSeed(),
		forget:  max(10*o.PollInterval, rememberedFor),
		objects: map[objectKey]*scaledObject{},
		latches: map[latchKey]*latch{},
	}
}

// find returns the scaled object with that name and metadata, if it is remembered.
func (r *registry) find(namespace, name string, metadata map[string]string, now time.Time) *scaledObject {
	k := objectKey{namespace, name, r.hash(metadata)}
	r.mu.RLock()
	so := r.objects[k]
	r.mu.RUnlock()
	// Different metadata may have the same hash.
	if so == nil || !maps.Equal(so.metadata, metadata) {
		return nil
	}
	so.asked.Store(now.UnixNano())
	return so
}

// keep remembers a scaled object with valid metadata, if there is room, and returns the one
// to use. It also returns how many others it had to forget.
func (r *registry) keep(so *scaledObject, now time.Time) (kept *scaledObject, forgotten int) {
	so.key = objectKey{so.namespace, so.name, r.hash(so.metadata)}
	so.asked.Store(now.UnixNano())
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.objects[so.key]; other != nil {
		if maps.Equal(other.metadata, so.metadata) {
			return other, 0
		}
		return so, 0 // as if there were no room: we remember only one of two with the same hash
	}
	forgotten, ok := r.makeRoom(so.cost())
	if !ok {
		return so, forgotten
	}
	so.kept.Store(true)
	r.objects[so.key] = so
	r.bytes += so.cost()
	if t := so.trigger; t.ActivationThreshold > 0 {
		lk := latchOf(t)
		if r.latches[lk] == nil {
			r.latches[lk] = &latch{}
		}
		so.latch = r.latches[lk]
		so.latch.users++
	}
	return so, forgotten
}

// makeRoom forgets those that asked longest ago and have no stream open, until
// there is room. It makes more room than needed, so that it runs seldom.
func (r *registry) makeRoom(cost int) (forgotten int, ok bool) {
	if r.bytes+cost <= maxRemembered {
		return 0, true
	}
	var idle []*scaledObject
	for _, so := range r.objects {
		if so.streams.Load() == 0 {
			idle = append(idle, so)
		}
	}
	slices.SortFunc(idle, func(a, b *scaledObject) int { return cmp.Compare(a.asked.Load(), b.asked.Load()) })
	for _, so := range idle {
		if r.bytes+cost <= maxRemembered*3/4 {
			break
		}
		r.remove(so)
		forgotten++
	}
	return forgotten, r.bytes+cost <= maxRemembered
}

func (r *registry) remove(so *scaledObject) {
	delete(r.objects, so.key)
	so.kept.Store(false)
	r.bytes -= so.cost()
	if so.latch == nil {
		return
	}
	if so.latch.users--; so.latch.users == 0 {
		delete(r.latches, latchOf(so.trigger))
	}
}

// open counts a stream, if so is remembered and there are not too many.
func (r *registry) open(so *scaledObject) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !so.kept.Load() || r.streams >= maxStreams {
		return false
	}
	so.streams.Add(1)
	r.streams++
	return true
}

func (r *registry) closed(so *scaledObject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	so.streams.Add(-1)
	r.streams--
}

// hash does not depend on the order of the entries.
func (r *registry) hash(metadata map[string]string) uint64 {
	var sum uint64
	var h maphash.Hash
	for k, v := range metadata {
		h.SetSeed(r.seed)
		h.WriteString(k)
		h.WriteByte(0)
		h.WriteString(v)
		sum += h.Sum64()
	}
	return sum
}

// all are those that asked lately, in no order.
func (r *registry) all() []*scaledObject {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.objects))
}

// latched are those of a connection whose verdict depends on the previous one.
func (r *registry) latched(connection string) []*scaledObject {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.latches) == 0 {
		return nil
	}
	var out []*scaledObject
	for _, so := range r.objects {
		if so.latch != nil && so.trigger.Connection == connection {
			out = append(out, so)
		}
	}
	return out
}

// sweep forgets those that have not asked for long, and metadata that was edited since.
func (r *registry) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	newest := map[string]int64{}
	for _, so := range r.objects {
		newest[so.String()] = max(newest[so.String()], so.asked.Load())
	}
	for _, so := range r.objects {
		asked := so.asked.Load()
		old := now.UnixNano()-asked > int64(r.forget) || newest[so.String()]-asked > int64(replacedAfter)
		if so.streams.Load() == 0 && old {
			r.remove(so)
		}
	}
}
