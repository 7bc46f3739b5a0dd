package prefect1

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// row is a run of a list, or the reason why nobody can act on it.
type row struct {
	prefect.FlowRun
	err error
}

// listing is a query that is read in pages. Its answer may be several lists of rows, each
// as long as a page.
type listing struct {
	// size of a page, and how many runs are enough.
	size, enough int
	// page requests size rows of each list from offset on, at a time.
	page func(ctx context.Context, at time.Time, size, offset int) ([][]row, error)
	// single reads the rows at an offset one by one where they are too large for a page;
	// nil where it cannot.
	single func(ctx context.Context, offset int) ([][]row, error)
}

// collect reads pages until it has enough runs, they fill an answer (then there may be
// more), or nothing new comes. It halves a page that is too large, down to a single run.
// Each run is as old as its own page. Rows that leave the result between two pages shift
// others past us, and a run in two lists has changed meanwhile; the next poll finds them.
func (c *Client) collect(ctx context.Context, wanted func(prefect.FlowRun) bool, p listing) (runs []prefect.FlowRun, more bool, err error) {
	list, changed := map[string]int{}, map[string]bool{}
	held := 0
	for offset, size := 0, p.size; ; size = min(2*size, p.size) {
		lists, err := p.read(ctx, size, offset)
		for answerTooLarge.is(err) && size > 1 {
			size /= 2
			lists, err = p.read(ctx, size, offset)
		}
		if answerTooLarge.is(err) && p.single != nil {
			lists, err = p.single(ctx, offset)
		}
		if err != nil {
			return nil, false, err
		}
		offset += size
		full, news := false, false
		for i, rows := range lists {
			full = full || len(rows) >= size
			for _, r := range rows {
				if in, known := list[r.ID]; known {
					changed[r.ID] = changed[r.ID] || in != i
					continue
				}
				list[r.ID], news = i, true
				switch {
				case r.err != nil:
					c.log.DebugContext(ctx, "skipped a flow run", "flow_run", r.ID, "err", r.err)
				case wanted(r.FlowRun):
					runs, held = append(runs, r.FlowRun), held+sizeOf(r.FlowRun)
				}
			}
		}
		more = full && held >= c.wire.MaxAnswer()
		if more || !full || !news || len(runs) >= p.enough {
			return slices.DeleteFunc(runs, func(r prefect.FlowRun) bool { return changed[r.ID] }), more, nil
		}
	}
}

func (p listing) read(ctx context.Context, size, offset int) ([][]row, error) {
	return read(ctx, func(ctx context.Context) ([][]row, error) { return p.page(ctx, time.Now(), size, offset) })
}

// sizeOf estimates the memory that a run takes.
func sizeOf(r prefect.FlowRun) int {
	made, _ := recipe.Of(r)
	size := len(made.RunConfig) + len(made.Storage) + len(r.State.Opaque)
	for _, t := range made.DueTasks {
		size += len(t.State.Opaque)
	}
	return size
}

// each reads runs one by one, with their first due task.
func (c *Client) each(ctx context.Context, tenant string, ids []string) ([]row, error) {
	var rows []row
	for _, id := range ids {
		run, err := c.one(ctx, tenant, id, firstTask)
		if err != nil && !answerTooLarge.is(err) && !errors.Is(err, prefect.ErrNotFound) {
			return nil, err
		}
		run.ID = id
		rows = append(rows, row{run, err})
	}
	return rows, nil
}

// one reads a run with so many of its due tasks, or fewer where they are too large. A run
// too large by itself comes with a fault and without its large parts.
func (c *Client) one(ctx context.Context, tenant, id string, tasks int) (prefect.FlowRun, error) {
	var at time.Time
	rows, fits, err := shrinking(ctx, tasks, func(ctx context.Context, tasks int) (*flowRunResponse, error) {
		at = time.Now()
		return flowRun(ctx, c.wire, tenant, id, scheduledStates(), retryUntil(), tasks)
	})
	switch {
	case err != nil:
		return prefect.FlowRun{}, err
	case !fits:
		run, _, err := c.large(ctx, tenant, id, math.MaxInt32)
		return run, err
	case len(rows.Flow_run) == 0:
		return prefect.FlowRun{}, prefect.ErrNotFound
	}
	return flowRunOf(rows.Flow_run[0], at)
}

// large reads a run that is too large, and the states written since a version.
func (c *Client) large(ctx context.Context, tenant, id string, since int) (prefect.FlowRun, sinceFields, error) {
	var at time.Time
	rows, err := read(ctx, func(ctx context.Context) (*largeRunResponse, error) {
		at = time.Now()
		return largeRun(ctx, c.wire, tenant, id, since, maxSubmissions, scheduledStates(), retryUntil())
	})
	switch {
	case err != nil:
		return prefect.FlowRun{}, sinceFields{}, err
	case len(rows.Flow_run) == 0:
		return prefect.FlowRun{}, sinceFields{}, prefect.ErrNotFound
	}
	run, err := largeRunOf(rows.Flow_run[0], at, c.wire.MaxAnswer())
	return run, rows.Flow_run[0].sinceFields, err
}

// shrinking requests a run with so many of its tasks, and with fewer while the answer is
// too large. fits is false if it is so with one.
func shrinking[T any](ctx context.Context, tasks int, ask func(ctx context.Context, tasks int) (T, error)) (answer T, fits bool, err error) {
	for ; tasks > 0; tasks /= 10 {
		answer, err = read(ctx, func(ctx context.Context) (T, error) { return ask(ctx, tasks) })
		if !answerTooLarge.is(err) {
			return answer, true, err
		}
	}
	return answer, false, nil
}
