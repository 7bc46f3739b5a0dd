package informer

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// identifyEvery is how often the namespace's UID is read anew: it changes when the
	// namespace is deleted and created again.
	identifyEvery   = 10 * time.Minute
	identifyTimeout = 10 * time.Second
)

// identify keeps the namespace's UID. A reading that fails changes nothing.
func (i *Informer) identify(ctx context.Context) {
	afterFailure := wait.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 10, Cap: 10 * time.Second}
	failures := afterFailure
	for {
		call, cancel := context.WithTimeout(ctx, identifyTimeout)
		uid, err := i.client.UID(call)
		cancel()
		pause := identifyEvery
		if err != nil {
			i.outages[Namespace].failed(ctx, err)
			pause = failures.Step()
		} else {
			failures = afterFailure
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
