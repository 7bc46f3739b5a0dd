package prefect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Place is where a run waits until a launcher takes it: the run's labels in Prefect 1.x,
// a queue of a work pool in Prefect 3. A place in a work pool has no labels.
type Place struct {
	Labels      []string
	Pool, Queue string
}

// Scope is the set of places that a launcher or a trigger serves: labels in Prefect 1.x,
// work pools and queues in Prefect 3.
type Scope struct {
	Labels []string
	// Pools are names of work pools. Without any, the scope has every work pool that the
	// backend can serve.
	Pools []string
	// Queues are names of work queues in each of those pools. Without any, the scope has
	// all of them.
	Queues []string
}

// Takes reports whether a launcher with the scope may take runs from the place. In a work
// pool, the scope must have the pool and the queue. Elsewhere every label of the place
// must be among the scope's, and a place without labels is only for scopes without labels
// ("no labels" is a label of its own; prefect1 §3.1). Names and labels are case-sensitive.
func (s Scope) Takes(p Place) bool {
	if p.Pool != "" {
		return len(s.Labels) == 0 && hasOrAll(s.Pools, p.Pool) && hasOrAll(s.Queues, p.Queue)
	}
	if len(s.Pools) > 0 || len(s.Queues) > 0 {
		return false
	}
	if len(p.Labels) == 0 {
		return len(s.Labels) == 0
	}
	for _, l := range p.Labels {
		if !slices.Contains(s.Labels, l) {
			return false
		}
	}
	return true
}

func hasOrAll(names []string, name string) bool {
	return len(names) == 0 || slices.Contains(names, name)
}

// Canonical is the place in the one form that all equal places share.
func (p Place) Canonical() Place {
	p.Labels = sorted(p.Labels)
	return p
}

func sorted(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// Key is equal for equal places. A scope takes all places with one key or none. It joins
// names with NUL, which PostgreSQL's text, and so a label or a name, cannot contain.
func (p Place) Key() string {
	if p.Pool != "" {
		return "\x00" + p.Pool + "\x00" + p.Queue
	}
	return strings.Join(p.Canonical().Labels, "\x00")
}

// Key is equal for equal scopes.
func (s Scope) Key() string {
	key := strings.Join(sorted(s.Labels), "\x00")
	if len(s.Pools) > 0 || len(s.Queues) > 0 {
		key += "\x00\x00" + strings.Join(sorted(s.Pools), "\x00") + "\x00\x00" + strings.Join(sorted(s.Queues), "\x00")
	}
	return key
}

// String is the place in a sentence that a person reads.
func (p Place) String() string {
	switch {
	case p.Pool != "":
		return "work pool " + p.Pool + ", queue " + cmp.Or(p.Queue, "default")
	case len(p.Labels) == 0:
		return "runs without labels"
	}
	return bracketed(p.Labels)
}

// String is the scope in a sentence that a person reads.
func (s Scope) String() string {
	if len(s.Pools) == 0 && len(s.Queues) == 0 {
		return Place{Labels: s.Labels}.String()
	}
	pools, queues := "all work pools", ""
	if len(s.Pools) > 0 {
		pools = "work pools " + bracketed(s.Pools)
	}
	if len(s.Queues) > 0 {
		queues = ", queues " + bracketed(s.Queues)
	}
	return pools + queues
}

func bracketed(names []string) string { return "[" + strings.Join(names, ", ") + "]" }

// Rule tells a person why none of the scopes takes runs from the place, and which names
// only look alike.
func (p Place) Rule(scopes []Scope) string {
	var told strings.Builder
	if p.Pool != "" {
		told.WriteString("A run's work pool and its queue must be among a launcher's, if it names any.")
	} else {
		told.WriteString("All of a run's labels must be among a launcher's, and a run without labels is for launchers without.")
	}
	for _, s := range scopes {
		if p.Pool != "" {
			lookAlike(&told, []string{p.Pool}, s.Pools)
			lookAlike(&told, []string{p.Queue}, s.Queues)
		} else {
			lookAlike(&told, p.Labels, s.Labels)
		}
	}
	return told.String()
}

func lookAlike(told *strings.Builder, names, among []string) {
	for _, of := range names {
		for _, n := range among {
			if n != of && strings.EqualFold(strings.TrimSpace(n), strings.TrimSpace(of)) {
				fmt.Fprintf(told, " %q and %q are two names to Prefect.", of, n)
			}
		}
	}
}
