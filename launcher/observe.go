package launcher

import (
	"context"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// lookTimeout bounds one look; a long backlog is read in pages.
	lookTimeout = time.Minute
	// claimedInterval between two readings of the claims. They matter when a Job is
	// missing for ClaimGrace or a heartbeat is due, and hundreds of them may wait.
	claimedInterval = 5 * time.Second
	// claimedShare keeps reading many claims from becoming all we do: after a
	// reading that took t we wait this many t.
	claimedShare = 10
	// duePerWorker runs are fetched at once: enough for all workers until the next
	// look, and not so many that they grow stale before they are claimed.
	duePerWorker = 16
)

// look is what one reading of Prefect brought.
type look struct {
	due        []prefect.FlowRun
	dueRead    time.Time
	hasClaimed bool
	claimed    []prefect.FlowRun
	claimRead  time.Time
	claimTook  time.Duration
	// err is of the due runs, claimErr of the claims.
	err, claimErr error
}

// dueLimit is how many due runs one look fetches.
func (o Options) dueLimit() int { return max(100, duePerWorker*o.Concurrency) }

// observe asks Prefect. It runs beside the loop, so that a slow answer does not
// delay what is due meanwhile.
func (l *Launcher) observe(ctx context.Context, claimed bool) look {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var k look
	k.dueRead = time.Now()
	if k.due, k.err = l.backend.Due(ctx, l.Labels, k.dueRead.Add(l.Lookahead), l.dueLimit()); k.err != nil || !claimed {
		return k
	}
	k.claimRead = time.Now()
	k.claimed, k.claimErr = l.backend.Claimed(ctx, l.Labels)
	k.claimTook = time.Since(k.claimRead)
	k.hasClaimed = k.claimErr == nil
	return k
}

// announceInterval is how often the UI is shown that an agent is alive.
const announceInterval = time.Minute

// announce keeps the agent alive in the UI until ctx ends. It decides nothing, so
// it fails quietly: what is due is asked for elsewhere, and complained about there.
func (l *Launcher) announce(ctx context.Context) {
	tick := time.NewTicker(announceInterval)
	defer tick.Stop()
	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		if err := l.backend.Announce(call, l.Labels); err != nil && ctx.Err() == nil {
			l.log.DebugContext(ctx, "not announced", "err", err)
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
