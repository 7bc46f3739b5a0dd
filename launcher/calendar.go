package launcher

import (
	"container/heap"
	"time"
)

// calendar holds things until their time comes: runs fetched ahead of their due
// time, and tries that are due later. Nothing in it occupies a worker.
type calendar[T any] struct{ entries entries[T] }

type entry[T any] struct {
	at    time.Time
	value T
}

func (c *calendar[T]) put(at time.Time, value T) {
	heap.Push(&c.entries, entry[T]{at, value})
}

// next is the earliest time in the calendar.
func (c *calendar[T]) next() (time.Time, bool) {
	if len(c.entries) == 0 {
		return time.Time{}, false
	}
	return c.entries[0].at, true
}

// take removes and returns what is due at now, earliest first.
func (c *calendar[T]) take(now time.Time) []T {
	var due []T
	for len(c.entries) > 0 && !c.entries[0].at.After(now) {
		due = append(due, heap.Pop(&c.entries).(entry[T]).value)
	}
	return due
}

// takeAll empties the calendar, earliest first.
func (c *calendar[T]) takeAll() []T {
	var all []T
	for len(c.entries) > 0 {
		all = append(all, heap.Pop(&c.entries).(entry[T]).value)
	}
	return all
}

func (c *calendar[T]) clear() { c.entries = nil }

func (c *calendar[T]) len() int { return len(c.entries) }

type entries[T any] []entry[T]

func (e entries[T]) Len() int           { return len(e) }
func (e entries[T]) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e entries[T]) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *entries[T]) Push(x any)        { *e = append(*e, x.(entry[T])) }
func (e *entries[T]) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}
