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
	// superviseInterval between two questions how Jobs are. What Kubernetes knows
	// is seen by the watch at once.
	superviseInterval = 30 * time.Second
	// complainEvery is how often the same complaint about Kubernetes is repeated.
	complainEvery = 10 * time.Minute
	// claimedShare keeps reading many claims from becoming all we do: after a
	// reading that took t we wait this many t.
	claimedShare = 10
	// duePerWorker runs are fetched at once: enough for all workers until the next
	// look, and not so many that they grow stale before they are claimed.
	duePerWorker = 16
)

// question is what Prefect is asked.
type question int

const (
	whatIsDue question = iota
	whatIsClaimed
	howJobsAre // which of their runs are cancelled or silent
	questions
)

// look is what one reading of Prefect brought.
type look struct {
	question question
	// limit is how many due runs were asked for.
	limit int
	runs  []prefect.FlowRun
	jobs  prefect.Supervision
	// read is when it was asked, took how long the answer took.
	read time.Time
	took time.Duration
	err  error
}

// dueLimit is how many due runs one look fetches.
func (o Options) dueLimit() int { return max(100, duePerWorker*o.Concurrency) }

// observe asks Prefect. It runs beside the loop, and the questions beside each
// other, so that a slow answer does not delay what is due meanwhile.
func (l *Launcher) observe(ctx context.Context, q question, limit int) look {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	k := look{question: q, limit: limit, read: time.Now()}
	switch q {
	case whatIsClaimed:
		k.runs, k.err = l.backend.Claimed(ctx, l.Labels)
	case howJobsAre:
		k.jobs, k.err = l.backend.Supervise(ctx, nil, l.jobs.active())
	default:
		k.runs, k.err = l.backend.Due(ctx, l.Labels, k.read.Add(l.Lookahead), limit)
	}
	k.took = time.Since(k.read)
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
