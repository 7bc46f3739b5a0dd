package launcher

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// mute is a Prefect that applies claims and does not answer them.
type mute struct{ *memory }

func (m mute) Claim(ctx context.Context, run prefect.FlowRun, c prefect.Claim) (prefect.ClaimResult, error) {
	r, err := m.memory.Claim(ctx, run, c)
	<-ctx.Done()
	if err == nil && r.Answer == prefect.Won {
		r.Answer = prefect.Unknown
	}
	return r, err
}

// A claim whose answer is lost is gone on with as soon as a look at the claims shows
// it; another launcher's claim of the same run changes nothing.
func TestClaimThatShowsAmongTheClaimsIsNotAwaitedAnyLonger(t *testing.T) {
	for name, tc := range map[string]struct {
		by    string
		after time.Duration
	}{
		"ours":      {"me", claimedInterval},
		"another's": {"other", claims.AnswerWithin + claimedInterval}, // and then repaired
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r").due(time.Now().Add(2 * time.Second)))
				client := fake.NewClientset()
				began, created := time.Now(), time.Duration(0)
				refusing(client, func(string) error { created = time.Since(began); return nil })
				o := options("me")
				l := mustNew(t, o, mute{m}, client)
				ended := make(chan error)
				ctx, stop := context.WithCancel(t.Context())
				go func() { ended <- l.Run(ctx) }()
				time.Sleep(3 * time.Second)
				r := m.get("r")
				if r.Claim == nil {
					t.Fatalf("it is %s a second after it was due, want it claimed", r.State.Name)
				}
				claim := *r.Claim
				claim.Launcher = tc.by
				r.Claim = &claim
				m.set(&runBuilder{r})
				time.Sleep(2 * claims.AnswerWithin)
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(tc.after, created.Round(time.Second)); diff != "" {
					t.Errorf("the Job was created after (-want +got):\n%s", diff)
				}
			})
		})
	}
}
