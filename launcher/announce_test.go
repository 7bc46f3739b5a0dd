package launcher

import (
	"context"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// slowAgents is an API that takes its time to register agents.
type slowAgents struct {
	*memory
	takes time.Duration
}

func (s slowAgents) Announce(ctx context.Context, scope prefect.Scope) error {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
	}
	return s.memory.Announce(ctx, scope)
}

// What is claimed before the agent is registered belongs to no agent in the UI.
func TestNothingIsClaimedBeforeTheAgentIsRegistered(t *testing.T) {
	for name, tc := range map[string]struct{ takes, from time.Duration }{
		"registered at once":            {0, 0},
		"registered after a while":      {2 * time.Second, 2 * time.Second},
		"not registered within a bound": {time.Hour, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r"))
				began, claimed := time.Now(), time.Duration(-1)
				m.fault = func(op, _ string, written bool) error {
					if op == "claim" && !written {
						claimed = time.Since(began)
					}
					return nil
				}
				l := mustNew(t, options("me"), slowAgents{m, tc.takes}, fake.NewClientset())
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- l.Run(ctx) }()
				time.Sleep(10 * time.Second)
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				// The watch of Jobs is asked every so often whether it is ready.
				if claimed < tc.from || claimed > tc.from+syncInterval {
					t.Errorf("claimed %s after the start, want %s", claimed, tc.from)
				}
			})
		})
	}
}
