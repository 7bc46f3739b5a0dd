package main

import (
	"context"
	"fmt"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

const (
	adHocRuns = 3
	ahead     = 25 * time.Second
	// patience is for an act, on a machine that is busy with other things.
	patience = 6 * time.Minute
)

// show plays three acts, each from zero to zero, and returns what was seen.
func (s *stage) show(ctx context.Context, burst int) ([]sample, []mark, error) {
	w := s.watch(ctx)
	defer w.stop()
	// A moment of nothing, so that the picture begins where it ends.
	if err := pause(ctx, 3*time.Second); err != nil {
		return nil, nil, err
	}
	total := 0
	for _, act := range []struct {
		say  string
		mark string
		at   time.Duration
		runs prefecttest.Order
	}{
		{fmt.Sprintf("%d flow runs, started by hand", adHocRuns), fmt.Sprintf("%d ad-hoc runs", adHocRuns), 0, prefecttest.Order{FlowID: s.flows["hello"], Count: adHocRuns}},
		{fmt.Sprintf("a burst of %d", burst), fmt.Sprintf("burst of %d", burst), 0, prefecttest.Order{FlowID: s.flows["hello"], Count: burst}},
		{fmt.Sprintf("one scheduled in %.0f s: nothing runs until shortly before", ahead.Seconds()), "scheduled run is due", ahead, prefecttest.Order{FlowID: s.flows["hello"], In: prefecttest.Duration(ahead)}},
	} {
		ids, err := s.prefect.CreateRuns(ctx, act.runs)
		if err != nil {
			return nil, nil, err
		}
		total += len(ids)
		w.begin(act.say, act.mark, act.at)
		if err := w.untilZero(ctx, total); err != nil {
			return nil, nil, err
		}
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return nil, nil, err
	}
	w.stop()
	return w.samples, w.marks, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
