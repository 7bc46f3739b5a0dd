package informer

import (
	"context"
	"time"

	"github.com/prefect-keda/prefect-keda/backoff"
)

const (
	// identifyEvery: the UID changes when the namespace is deleted and created again.
	identifyEvery   = 10 * time.Minute
	identifyTimeout = 10 * time.Second
)

// identify reads the namespace's UID. A failed read changes nothing.
func (i *Informer) identify(ctx context.Context) {
	growing, failures := backoff.Growing{First: 250 * time.Millisecond, Longest: 10 * time.Second}, 0
	var random backoff.Jitter
	for {
		call, cancel := context.WithTimeout(ctx, identifyTimeout)
		uid, err := i.client.UID(call)
		cancel()
		pause := identifyEvery
		if err != nil {
			i.outages[Namespace].failed(ctx, err)
			failures++
			pause = random.Spread(growing.After(failures), 0.2)
		} else {
			failures = 0
			i.outages[Namespace].ended(ctx)
			if i.uid.Swap(uid) != uid && i.hooks.Identified != nil {
				i.hooks.Identified()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
