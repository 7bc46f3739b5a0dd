package main

import (
	"context"
	"fmt"
	"time"
)

const (
	adHocRuns = 3
	ahead     = 25 * time.Second
	// patience bounds an act, also on a busy machine.
	patience = 6 * time.Minute
)

// show plays three acts, each from zero to zero, and returns what was seen.
func (s *stage) show(ctx context.Context, burst int) ([]sample, []mark, error) {
	w := s.watch(ctx)
	defer w.stop()
	// Begin with a quiet moment, so that the picture begins as it ends.
	if err := pause(ctx, 3*time.Second); err != nil {
		return nil, nil, err
	}
	total := 0
	for _, act := range []struct {
		say  string
		mark string
		in   time.Duration
		runs int
	}{
		{fmt.Sprintf("%d flow runs, started by hand", adHocRuns), fmt.Sprintf("%d ad-hoc runs", adHocRuns), 0, adHocRuns},
		{fmt.Sprintf("a burst of %d", burst), fmt.Sprintf("burst of %d", burst), 0, burst},
		{fmt.Sprintf("one scheduled in %.0f s: nothing runs until shortly before", ahead.Seconds()), "scheduled run is due", ahead, 1},
	} {
		if err := s.prefect.create(ctx, act.runs, act.in); err != nil {
			return nil, nil, err
		}
		total += act.runs
		w.begin(act.say, act.mark, act.in)
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
