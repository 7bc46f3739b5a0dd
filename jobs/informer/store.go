package informer

import (
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/prefect-keda/prefect-keda/job"
)

// object is a kind of object that can be packed.
type object interface {
	metav1.Object
	runtime.Object
	Marshal() ([]byte, error)
	Unmarshal(data []byte) error
}

// traits are what the store has to know of a kind of object.
type traits[T object] struct {
	fresh func() T
	// slim is the object without what nobody asks for.
	slim func(T, job.Marks) T
	// isActive and isPastCare are asked of many objects at once, so they are kept unpacked.
	isActive, isPastCare func(T) bool
}

// store holds the objects of one kind, by their names and by their flow runs. There may be tens
// of thousands of them and few are asked for, so they are packed: they take a fifth of the
// memory.
type store[T object] struct {
	traits[T]
	namespace string
	marks     job.Marks
	// changed may be nil.
	changed func(event watch.EventType, name, run string)

	mu     sync.RWMutex
	byName map[string]*entry[T]
	byRun  map[string]*entry[T] // the latest of a run, with the others behind it
}

// entry is one object. It is a runtime.Object that tells its name and version, which is all
// that client-go wants to know on the way from the API server to the store.
type entry[T object] struct {
	of *store[T]
	// text is the name, the run, and the object's other fields in protobuf.
	text      string
	name, run uint16 // their lengths
	active    bool
	pastCare  bool
	next      *entry[T]
}

func newStore[T object](namespace string, marks job.Marks, of traits[T], changed func(watch.EventType, string, string)) *store[T] {
	return &store[T]{traits: of, namespace: namespace, marks: marks, changed: changed, byName: map[string]*entry[T]{}, byRun: map[string]*entry[T]{}}
}

// transform makes an entry of an object from the API server, as early as client-go lets us.
func (s *store[T]) transform(from any) (any, error) {
	t, ok := from.(T)
	if !ok {
		return from, nil
	}
	return s.entryOf(t)
}

func (s *store[T]) entryOf(from T) (*entry[T], error) {
	slim := s.slim(from, s.marks)
	name, run := slim.GetName(), s.marks.RunOf(slim)
	e := &entry[T]{
		of: s, name: uint16(len(name)), run: uint16(len(run)), //nolint:gosec // Kubernetes bounds names by 253 bytes and labels by 63
		active: s.isActive(slim), pastCare: s.isPastCare(slim),
	}
	slim.SetName("")
	slim.SetNamespace("")
	delete(slim.GetLabels(), s.marks.Run)
	rest, err := slim.Marshal()
	if err != nil {
		return nil, fmt.Errorf("pack %T %s: %w", from, name, err)
	}
	e.text = strings.Join([]string{name, run, string(rest)}, "")
	return e, nil
}

func (e *entry[T]) nameIs() string { return e.text[:e.name] }

func (e *entry[T]) runIs() string { return e.text[e.name : e.name+e.run] }

// object unpacks the object.
func (e *entry[T]) object() T {
	t := e.of.fresh()
	if err := t.Unmarshal([]byte(e.text[e.name+e.run:])); err != nil {
		panic(fmt.Errorf("unpack %s, which we packed: %w", e.nameIs(), err)) // unreachable
	}
	t.SetName(e.nameIs())
	t.SetNamespace(e.of.namespace)
	labels := t.GetLabels()
	if labels == nil {
		labels = map[string]string{}
		t.SetLabels(labels)
	}
	labels[e.of.marks.Run] = e.runIs()
	return t
}

// GetObjectMeta is for client-go, which makes the key of it.
func (e *entry[T]) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: e.of.namespace, Name: e.nameIs()}
}

// GetObjectKind is for client-go.
func (e *entry[T]) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject is for client-go, which never calls it here. An entry is not changed.
func (e *entry[T]) DeepCopyObject() runtime.Object { return e }

// packed is a page of a list with entries in the place of its objects, so that no more than
// one page of whole objects is in memory at a time.
func (s *store[T]) packed(list runtime.Object) (runtime.Object, error) {
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, fmt.Errorf("read a list of %T: %w", list, err)
	}
	page := &internalversion.List{ListMeta: metav1.ListMeta{ResourceVersion: m.GetResourceVersion(), Continue: m.GetContinue(), RemainingItemCount: m.GetRemainingItemCount()}}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		t, ok := o.(T)
		if !ok {
			return nil
		}
		e, err := s.entryOf(t)
		page.Items = append(page.Items, e)
		return err
	})
	return page, err
}

// process takes what has happened to one object from client-go's queue.
func (s *store[T]) process(happened any, _ bool) error {
	deltas, _ := happened.(cache.Deltas)
	for _, d := range deltas {
		if tombstone, ok := d.Object.(cache.DeletedFinalStateUnknown); ok {
			d.Object = tombstone.Obj // stands for an object whose deletion the watch missed
		}
		e, ok := d.Object.(*entry[T])
		if !ok {
			continue
		}
		var event watch.EventType
		var changed bool
		var former string
		if d.Type == cache.Deleted {
			event, changed = watch.Deleted, s.remove(e.nameIs())
		} else {
			event, changed, former = s.put(e, d.Type == cache.Replaced)
		}
		if changed && s.changed != nil {
			if former != "" {
				s.changed(watch.Modified, e.nameIs(), former)
			}
			s.changed(event, e.nameIs(), e.runIs())
		}
	}
	return nil
}

// put reports whether the object has come or changed, and the run that it was of if it is of
// another now. A list also has those that have not changed.
func (s *store[T]) put(e *entry[T], listed bool) (event watch.EventType, changed bool, former string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	event, changed = watch.Added, true
	if old := s.byName[e.nameIs()]; old != nil {
		event = watch.Modified
		if listed {
			version := e.object().GetResourceVersion()
			changed = version == "" || version != old.object().GetResourceVersion()
		}
		if old.runIs() != e.runIs() {
			former = old.runIs()
		}
		s.unlink(old)
	}
	// The keys are texts of the entry itself. A key of the old one would keep all its text.
	delete(s.byName, e.nameIs())
	s.byName[e.nameIs()] = e
	e.next = s.byRun[e.runIs()]
	delete(s.byRun, e.runIs())
	s.byRun[e.runIs()] = e
	return event, changed, former
}

// remove reports whether there was an object of that name.
func (s *store[T]) remove(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byName[name]
	if old == nil {
		return false
	}
	s.unlink(old)
	delete(s.byName, name)
	return true
}

// unlink takes an entry out of its run's.
func (s *store[T]) unlink(old *entry[T]) {
	run := old.runIs()
	first := s.byRun[run]
	delete(s.byRun, run)
	if first == old {
		first = old.next
	} else {
		for at := first; at != nil; at = at.next {
			if at.next == old {
				at.next = old.next
				break
			}
		}
	}
	if first != nil {
		s.byRun[first.runIs()] = first
	}
}

// ListKeys is for client-go's queue, which compares with a list what is known.
func (s *store[T]) ListKeys() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	keys := make([]string, 0, len(s.byName))
	for name := range s.byName {
		keys = append(keys, s.namespace+"/"+name)
	}
	return keys
}

// GetByKey is for client-go's queue.
func (s *store[T]) GetByKey(key string) (item any, exists bool, err error) {
	e := s.find(strings.TrimPrefix(key, s.namespace+"/"))
	return e, e != nil, nil
}

func (s *store[T]) find(name string) *entry[T] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byName[name]
}

// of are a run's objects.
func (s *store[T]) of(run string) []T {
	var all []T
	s.mu.RLock()
	defer s.mu.RUnlock()
	for e := s.byRun[run]; e != nil; e = e.next {
		all = append(all, e.object())
	}
	return all
}

// arePastCare reports whether there are objects of a run and all are past care.
func (s *store[T]) arePastCare(run string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for e := s.byRun[run]; e != nil; e = e.next {
		if !e.pastCare {
			return false
		}
	}
	return s.byRun[run] != nil
}

// runs are those with an object, in no order; if active is set, with one that is.
func (s *store[T]) runs(active bool) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []string
	for run, e := range s.byRun {
		for ; e != nil; e = e.next {
			if e.active || !active {
				all = append(all, strings.Clone(run))
				break
			}
		}
	}
	return all
}
