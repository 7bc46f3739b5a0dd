package launcher

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// flushTimeout bounds writing the last lines of flow runs' logs.
const flushTimeout = 5 * time.Second

// Run launches until nothing has been due for IdleTimeout, MaxPolls is reached,
// or ctx ends; then it finishes what is in hand, for at most DrainTimeout, and
// returns nil. It returns an error only when an operator must act before any run
// can be launched. A Launcher runs once.
func (l *Launcher) Run(ctx context.Context) error {
	began := time.Now()
	beside, stopBeside := context.WithCancel(ctx)
	defer stopBeside()
	// These two outlive ctx: what has been claimed is finished, what has been done
	// is told.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTelling()

	var others errgroup.Group
	told := make(chan struct{})
	others.Go(func() error { l.jobs.watch(beside); return nil })
	others.Go(func() error { l.announce(beside); return nil })
	others.Go(func() error { l.lines.write(telling, told); return nil })

	l.log.InfoContext(ctx, "launcher begins", "launcher", l.Name, "labels", l.Labels, "idle_timeout", l.IdleTimeout)
	s := newLoop(work, l, stopWork)
	reason, err := s.run(ctx)
	l.stopping.Store(true)
	stopBeside()
	_ = s.workers.Wait() // workers answer with outcomes, never with errors
	close(told)
	limit := time.AfterFunc(flushTimeout, stopTelling)
	_ = others.Wait()
	limit.Stop()
	l.turned.Store(0)

	t := &l.metrics.totals
	l.log.InfoContext(ctx, "launcher leaves", "reason", reason, "duration", time.Since(began).Round(time.Millisecond),
		"launched", t.launched.Load(), "adopted", t.adopted.Load(), "failed", t.failed.Load(), "handed_back", t.handedBack.Load(), "left", s.left)
	if err != nil {
		return fmt.Errorf("launch due flow runs: %w", err)
	}
	return nil
}
