package scaler

import (
	"context"
	"slices"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// announceTimeout bounds one announcement, which may take many requests.
const announceTimeout = time.Minute

// announce shows people in Prefect, now and then, that the places of the triggers are
// served. It does so in a goroutine beside the loop, and only while Prefect answers.
func (p *poller) announce(ctx context.Context, now time.Time) {
	if p.announcer == nil || p.announcing || p.current.Load().Failures > 0 || p.current.Load().At.IsZero() || now.Before(p.quietUntil) {
		return
	}
	scope, ok := p.service.registry.served(p.name)
	if key := scope.Key(); !ok || key == p.announced && now.Before(p.announceNext) {
		return
	}
	p.announcing, p.announced, p.announceNext = true, scope.Key(), now.Add(AnnounceEvery)
	p.beside.Go(func() {
		bounded, cancel := context.WithTimeout(ctx, announceTimeout)
		defer cancel()
		p.announcements <- p.announcer.Announce(bounded, scope)
	})
}

// applyAnnouncement takes in what came of one.
func (p *poller) applyAnnouncement(ctx context.Context, err error, now time.Time) {
	p.announcing = false
	switch {
	case ctx.Err() != nil:
	case err == nil:
		if p.unannounced.Over() {
			p.log.InfoContext(ctx, "Prefect shows again that launchers are ready")
		}
	default:
		p.leaveAlone(err)
		if p.unannounced.Holds(now) {
			p.log.WarnContext(ctx, "cannot announce to Prefect that launchers are ready, so it may show that nobody is; runs are launched all the same", "err", err)
		}
	}
}

// served is what all triggers of a connection serve together, if there are any. It leaves
// out queues, because launchers are ready for the whole of a work pool or not at all.
func (r *registry) served(connection string) (all prefect.Scope, ok bool) {
	everyPool := false
	for _, so := range r.all() {
		if so.trigger.Connection != connection {
			continue
		}
		ok = true
		all.Labels = append(all.Labels, so.trigger.Scope.Labels...)
		all.Pools = append(all.Pools, so.trigger.Scope.Pools...)
		everyPool = everyPool || len(so.trigger.Scope.Pools) == 0
	}
	slices.Sort(all.Labels)
	slices.Sort(all.Pools)
	all.Labels, all.Pools = slices.Compact(all.Labels), slices.Compact(all.Pools)
	if everyPool {
		all.Pools = nil
	}
	return all, ok
}
