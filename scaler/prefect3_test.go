package scaler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// What the scaler expects of its source, asked of the real client in front of a stand-in.

// toldClient is a client that is told of changes; events need a network, which fake time
// does not have.
type toldClient struct{ *prefect3.Client }

func (toldClient) Notify(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }
func (toldClient) PollEvery() time.Duration                   { return 15 * time.Second }

// quietClient is one that is told of none.
type quietClient struct{ *prefect3.Client }

func (quietClient) Notify(ctx context.Context, _ func()) error { <-ctx.Done(); return nil }
func (quietClient) PollEvery() time.Duration                   { return 0 }

// withClient is a scaler of a real client's connection.
func withClient(t *testing.T, wrap func(*prefect3.Client) Source, f func(*testing.T, *fake.API, *Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c, err := prefect3.New(prefect3.Options{API: "http://prefect.example/api", HTTPTransport: api.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		running(t, watchedPools(wrap(c)), func(t *testing.T, s *Server) { f(t, api, s) })
	})
}

func quietly(c *prefect3.Client) Source { return quietClient{c} }
func told(c *prefect3.Client) Source    { return toldClient{c} }

// Demand follows pauses and limits of the server: nothing wants a launcher while all runs
// wait for them, and it does within two seconds when one may go on.
func TestDemandFollowsLimitsOfTheServer(t *testing.T) {
	withClient(t, quietly, func(t *testing.T, api *fake.API, s *Server) {
		one := 1
		api.CreatePool(fake.Pool{Name: "limited", Limit: &one})
		api.CreatePool(fake.Pool{Name: "paused", Paused: true})
		waits := func(pool string, at time.Time) string {
			return api.CreateRuns(fake.Order{Deployment: api.CreateDeployment(fake.Deployment{Name: pool + at.String(), Pool: pool}), At: at})[0]
		}
		running := waits("limited", time.Now())
		pass(2 * time.Second)
		wantActive(t, s, true, "workPools=limited")
		wantActive(t, s, false, "workPools=paused")
		api.Begin(running)
		waits("limited", time.Now())
		waits("paused", time.Now())
		pass(10 * time.Second)
		for range 10 {
			wantActive(t, s, false)
			pass(30 * time.Second)
		}
		var why []string
		for _, h := range s.service.report(time.Now()).Connections[0].Held {
			why = append(why, h.Where()+": "+h.Why)
		}
		if got := strings.Join(why, "; "); len(why) != 2 || !strings.Contains(got, "limited / default: ") || !strings.Contains(got, "paused / default: ") {
			t.Errorf("held back: %s", got)
		}

		api.End(running, "COMPLETED", "")
		pass(2 * time.Second)
		wantActive(t, s, true, "workPools=limited")
		wantActive(t, s, false, "workPools=paused")
		api.CreatePool(fake.Pool{Name: "paused"})
		pass(2 * time.Second)
		wantActive(t, s, true, "workPools=paused")
	})
}

// A run by schedule wakes its launcher ahead of its time, with or without events.
func TestScheduledRunIsKnownAhead(t *testing.T) {
	for name, wrap := range map[string]func(*prefect3.Client) Source{"quiet": quietly, "told": told} {
		t.Run(name, func(t *testing.T) {
			withClient(t, wrap, func(t *testing.T, api *fake.API, s *Server) {
				at := time.Now().Add(5 * time.Minute)
				api.CreateRuns(fake.Order{Deployment: api.CreateDeployment(fake.Deployment{Pool: "k8s"}), At: at})
				open(t, s, func(stream *fakeStream) {
					pass(6 * time.Minute)
					if got := stream.got(); len(got) == 0 || at.Sub(got[0]) != 10*time.Second {
						t.Errorf("pushed at %v, want 10 s before %v", got, at)
					}
				})
			})
		})
	}
}

// An idle scaler sends about a request a second, whatever the number of work pools and
// ScaledObjects, and far fewer while it is told of changes.
func TestIdleRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		wrap func(*prefect3.Client) Source
		most int
	}{"quiet": {quietly, 75}, "told": {told, 20}} {
		for _, pools := range []int{1, 50} {
			t.Run(fmt.Sprintf("%s, %d work pools", name, pools), func(t *testing.T) {
				withClient(t, tc.wrap, func(t *testing.T, api *fake.API, s *Server) {
					for i := range pools {
						api.CreatePool(fake.Pool{Name: fmt.Sprint("k8s-", i)})
					}
					ask := func() {
						for i := range pools {
							_, _ = s.service.IsActive(t.Context(), ref(fmt.Sprint("launcher-", i), fmt.Sprint("workPools=k8s-", i)))
						}
					}
					sent := func() int { return api.Counts()["requests"] }
					ask()
					pass(20 * time.Minute) // the first announcements are over
					before := sent()
					const minutes = 60
					for range 2 * minutes {
						ask()
						pass(30 * time.Second)
					}
					n := float64(sent()-before) / minutes
					t.Logf("%.1f requests a minute", n)
					if n > float64(tc.most) || n < 4 {
						t.Errorf("%.1f requests a minute, want at most %d: %v", n, tc.most, api.Counts())
					}
				})
			})
		}
	}
}
