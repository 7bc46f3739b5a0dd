package scaler

import (
	"context"
	"time"
)

const (
	// commitLag is how long a told change may take until a poll sees it.
	commitLag = 100 * time.Millisecond
	// busyFor is how long no change has to be told until the next one is looked at at once.
	// Before, changes are looked at as often as if they were not told.
	busyFor = 5 * time.Second
)

// looks are when to poll because of changes that were told: a change after a quiet time
// is looked at at once, and again soon, because the first look may come too early. On a
// busy API many changes share one look.
type looks struct {
	changed time.Time // lately
	last    time.Time // of all planned looks
	next    []time.Time
}

// told plans looks for a change that was told now. They are at least steady apart, except
// for the first few.
func (l *looks) told(now time.Time, steady time.Duration) {
	quiet := now.Sub(l.changed) >= busyFor
	l.changed = now
	switch {
	case len(l.next) > 0 && !l.last.Before(now.Add(commitLag)): // which sees this one too
		return
	case quiet:
		l.next = []time.Time{now, now.Add(commitLag), now.Add(3 * commitLag), now.Add(10 * commitLag)}
	case now.Add(commitLag).After(l.last.Add(steady)):
		l.next = append(l.next, now.Add(commitLag))
	default:
		l.next = append(l.next, l.last.Add(steady))
	}
	l.last = l.next[len(l.next)-1]
}

// looked drops the looks that are over.
func (l *looks) looked(now time.Time) {
	for len(l.next) > 0 && !l.next[0].After(now) {
		l.next = l.next[1:]
	}
}

// notify has the source tell of changes until ctx ends.
func (p *poller) notify(ctx context.Context) {
	err := p.notifier.Notify(ctx, func() {
		select {
		case p.changes <- struct{}{}:
		default: // the loop has not handled an earlier change yet, and will see this one too
		}
	})
	if ctx.Err() == nil {
		p.log.WarnContext(ctx, "Prefect cannot tell of changes, so only polls find them", "err", err)
	}
}

// changed plans looks for a change that was told, if there is any use in it: nobody needs
// them while KEDA does not ask, and they mend no trouble upstream.
func (p *poller) changed(now time.Time) bool {
	if p.idle(now) || p.current.Load().Failures > 0 {
		return false
	}
	p.looks.told(now, max(p.options.PollInterval, 10*commitLag))
	return true
}

// sayPace says when polls become rare because Prefect tells of changes, and when they are
// no longer.
func (p *poller) sayPace(ctx context.Context) {
	if every := p.pollsEvery(); every != p.pace {
		p.pace = every
		p.log.InfoContext(ctx, "polls have another interval, because Prefect begins or ceases to tell of changes", "interval", max(every, p.options.PollInterval))
	}
}
