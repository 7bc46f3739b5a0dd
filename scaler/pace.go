package scaler

import (
	"time"

	"github.com/prefect-keda/prefect-keda/backoff"
)

const (
	// idleAfter is how long nobody has asked when polls become rare. KEDA asks every 30 s by
	// default (keda §1.7), and an open stream counts as asking.
	idleAfter = 2 * time.Minute
	// maxBackoff bounds how late we notice that Prefect is back, unless Prefect itself says
	// when to ask again. One request every few seconds does not harm a server.
	maxBackoff = 3 * time.Second
)

// pause is the time to the next poll, with some jitter so that several scalers
// do not ask in step.
func (p *poller) pause(now time.Time) time.Duration {
	pause := p.options.PollInterval
	if p.idle(now) {
		pause *= IdleFactor
	}
	failures := p.current.Load().Failures
	if failures == 0 {
		pause = max(pause, p.pollsEvery())
	}
	growing := backoff.Growing{First: pause, Longest: max(pause, maxBackoff)}
	pause = p.options.Jitter.Spread(growing.After(failures+1), 0.2)
	if failures == 0 && len(p.looks.next) > 0 {
		pause = min(pause, p.looks.next[0].Sub(now))
	}
	return max(pause, p.quietUntil.Sub(now))
}

func (p *poller) idle(now time.Time) bool {
	return p.streams.Load() == 0 && now.UnixNano()-p.asked.Load() > int64(idleAfter)
}

// ask notes that somebody wants answers, and makes a loop that has slowed down poll at
// once.
func (p *poller) ask(now time.Time) {
	idle := p.idle(now)
	p.asked.Store(now.UnixNano())
	if idle {
		select {
		case p.pokes <- struct{}{}:
		default:
		}
	}
}

// want makes polls reach at least as far ahead as lead.
func (p *poller) want(lead time.Duration) {
	for {
		before := p.lead.Load()
		if before >= int64(lead) || p.lead.CompareAndSwap(before, int64(lead)) {
			return
		}
	}
}

// longestTick is the longest time between two ticks in normal operation, even with an
// upstream that hangs.
func (p *poller) longestTick() time.Duration {
	return 3 * (p.options.PollTimeout + maxTick) / 2
}

// pollsEvery is how rarely the source wants polls; zero leaves it to us.
func (p *poller) pollsEvery() time.Duration {
	if p.notifier == nil {
		return 0
	}
	return min(p.notifier.PollEvery(), p.options.MaxStaleness-p.options.PollTimeout)
}
