package scaler

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/lasting"
	"github.com/prefect-keda/prefect-keda/scaler/page"
)

const (
	// maxRefusals bounds the refusals that we keep, because strangers can cause any number
	// of them.
	maxRefusals = 50
	// maxRefusal bounds the text of a refusal.
	maxRefusal = 500
	// mended is how long KEDA has to ask without a refusal before we take the problem to be
	// solved. It is more than KEDA's usual pause between two questions.
	mended = 30 * time.Second
)

// refusal says why a ScaledObject gets an error.
type refusal struct{ namespace, name, err string }

// refusals keeps the latest refusals: people can look at them, and each is logged when it
// begins and now and then while it lasts. When there are too many, the first ones stay.
type refusals struct {
	mu     sync.Mutex
	latest map[refusal]*repeated
}

// repeated says when a refusal last happened, and when to log it.
type repeated struct {
	at    time.Time
	lasts lasting.State
}

// note reports whether to log the refusal, and whether there was no room for it.
func (r *refusals) note(namespace, name string, err error, now time.Time) (news, full bool) {
	k := refusal{cut(namespace, maxName), cut(name, maxName), cut(err.Error(), maxRefusal)}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.latest, func(_ refusal, is *repeated) bool { return now.Sub(is.at) >= lasting.Every })
	if r.latest[k] == nil {
		if len(r.latest) >= maxRefusals {
			return false, true
		}
		if r.latest == nil {
			r.latest = map[refusal]*repeated{}
		}
		r.latest[k] = &repeated{}
	}
	r.latest[k].at = now
	return r.latest[k].lasts.Holds(now), false
}

// forget drops the refusals of a ScaledObject that gets answers again, so that the next one
// is logged. It keeps recent ones: they belong to another trigger of the ScaledObject.
func (r *refusals) forget(namespace, name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.latest, func(k refusal, is *repeated) bool {
		return k.namespace == namespace && k.name == name && now.Sub(is.at) >= mended
	})
}

// list are the recent refusals, in order.
func (r *refusals) list(now time.Time) []page.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []page.Refusal
	for k, is := range r.latest {
		if now.Sub(is.at) < lasting.Every {
			all = append(all, page.Refusal{Namespace: k.namespace, Name: k.name, Err: k.err, At: is.at})
		}
	}
	slices.SortFunc(all, func(a, b page.Refusal) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Err, b.Err))
	})
	return all
}

// seldom limits messages about something that may happen all the time.
type seldom struct {
	mu    sync.Mutex
	lasts lasting.State
}

// due reports whether to log it now.
func (s *seldom) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lasts.Holds(now)
}
