package prefecttest

import (
	"slices"
	"strings"
	"time"
)

// ordering is one "column: direction" of an order_by.
type ordering[T any] struct {
	direction *string
	compare   func(a, b T) int
	null      func(T) bool
}

func byTime[T any](direction *string, at func(T) time.Time) ordering[T] {
	return ordering[T]{
		direction, func(a, b T) int { return at(a).Compare(at(b)) },
		func(v T) bool { return at(v).IsZero() },
	}
}

func byKey[T any](direction *string, compare func(a, b T) int) ordering[T] {
	return ordering[T]{direction, compare, nil}
}

// sortBy orders rows. As in PostgreSQL, nulls come last when ascending and first when
// descending, unless the direction says so. Equal rows keep the order in which they were
// made.
func sortBy[T any](rows []T, by []ordering[T]) {
	by = slices.DeleteFunc(by, func(o ordering[T]) bool { return o.direction == nil })
	if len(by) == 0 {
		return
	}
	slices.SortStableFunc(rows, func(a, b T) int {
		for _, o := range by {
			if c := o.order(a, b); c != 0 {
				return c
			}
		}
		return 0
	})
}

func (o ordering[T]) order(a, b T) int {
	d := *o.direction
	if o.null != nil && o.null(a) != o.null(b) {
		nullsFirst := d == "desc" || strings.HasSuffix(d, "nulls_first")
		if o.null(a) == nullsFirst {
			return -1
		}
		return 1
	}
	if strings.HasPrefix(d, "desc") {
		return o.compare(b, a)
	}
	return o.compare(a, b)
}

// page cuts rows; a negative limit or offset is taken as zero.
func page[T any](rows []T, limit, offset *int32) []T {
	if offset != nil {
		rows = rows[min(max(0, int(*offset)), len(rows)):]
	}
	if limit != nil {
		rows = rows[:min(max(0, int(*limit)), len(rows))]
	}
	return rows
}
