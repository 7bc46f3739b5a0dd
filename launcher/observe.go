package launcher

import (
	"context"
	"sync"
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
	// claimedShare keeps reading many claims from becoming all we do: after a
	// reading that took t we wait this many t.
	claimedShare = 10
	// dueInTime is how long a look may take for some of its rows to be claimed unread.
	dueInTime = fresh * 8 / 10
	// duePerWorker runs are fetched at once: enough for all workers until the next
	// look, and not so many that they grow stale before they are claimed.
	duePerWorker = 16
)

// question is what Prefect is asked.
type question int

const (
	whatIsDue question = iota
	whatIsClaimed
	howJobsAre // which of their runs should end or are silent
	questions
)

// look is what one reading of Prefect brought.
type look struct {
	question question
	due      prefect.DueRuns
	claimed  []prefect.FlowRun
	jobs     prefect.Supervision
	// read is when it was asked, took how long the answer took.
	read time.Time
	took time.Duration
	err  error
}

// dueLimit is how many due runs one look fetches at most.
func (o Options) dueLimit() int { return max(100, duePerWorker*o.Concurrency) }

// observe asks Prefect. It runs beside the loop, and the questions beside each
// other, so that a slow answer does not delay what is due meanwhile.
func (l *Launcher) observe(ctx context.Context, q question, due prefect.DueQuery) look {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	k := look{question: q, read: time.Now()}
	switch q {
	case whatIsClaimed:
		k.claimed, k.err = l.backend.Claimed(ctx, l.Labels)
	case howJobsAre:
		k.jobs, k.err = l.backend.Supervise(ctx, nil, l.jobs.active())
	default:
		k.due, k.err = l.backend.Due(ctx, due)
	}
	k.took = time.Since(k.read)
	return k
}

// announceInterval is how often the UI is shown that an agent is alive.
const announceInterval = time.Minute

// announceWithin is how long claims wait for the agent's registration: only what
// is claimed after it shows in the UI as this agent's.
const announceWithin = 5 * time.Second

// announce keeps the agent alive in the UI until ctx ends. It decides nothing, so
// a failure is told and otherwise changes nothing.
func (l *Launcher) announce(ctx context.Context) {
	failing := l.streak("prefect_agent")
	tried := sync.OnceFunc(func() { close(l.announced) })
	defer tried()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := l.backend.Announce(call, l.Labels)
		cancel()
		tried()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failing.fail(ctx, time.Now(), err)
		default:
			failing.succeed(ctx, time.Now())
		}
		timer.Reset(max(announceInterval, prefect.RetryAfter(err)))
	}
}
