package informer_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
)

// told collects the calls of hooks, by part.
type told struct {
	mu  sync.Mutex
	all map[informer.Part][]string
}

func (c *told) add(p informer.Part, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[informer.Part][]string{}
	}
	c.all[p] = append(c.all[p], text)
}

func (c *told) hooks() informer.Hooks {
	return informer.Hooks{
		Failed:    func(_ context.Context, p informer.Part, err error) { c.add(p, err.Error()) },
		Recovered: func(_ context.Context, p informer.Part) { c.add(p, "recovered") },
	}
}

// since returns the calls since the last time.
func (c *told) since() map[informer.Part][]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

// running runs an informer in a bubble; stop returns how long it took to end.
func running(t *testing.T, i *informer.Informer) (stop func() time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); i.Run(ctx) }()
	return func() time.Duration {
		began := time.Now()
		cancel()
		<-done
		took := time.Since(began)
		time.Sleep(2 * time.Minute) // what sleeps wakes and ends: a bubble leaks nothing
		return took
	}
}

func parts() []informer.Part {
	return []informer.Part{informer.Jobs, informer.Pods, informer.Namespace}
}

func known(i *informer.Informer) []informer.Part {
	return slices.DeleteFunc(parts(), func(p informer.Part) bool { return !i.Knows(p) || i.Err(p) != nil })
}

// While connections are refused, client-go's reflector retries in silence, and once slept
// through the end: SIGTERM took 37 s.
func TestRefusedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hooks told
		a := &api{fails: refusing}
		i := informer.New("flows", kubernetesrun.Marks(), a.client(t), hooks.hooks())
		stop := running(t, i)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		const refused = `dial tcp: connect: connection refused`
		complaints := map[informer.Part][]string{
			informer.Jobs:      {`watch jobs: Get "http://kubernetes/apis/batch/v1/namespaces/flows/jobs`},
			informer.Pods:      {`watch pods: Get "http://kubernetes/api/v1/namespaces/flows/pods`},
			informer.Namespace: {`get /api/v1/namespaces/flows: Get "http://kubernetes/api/v1/namespaces/flows`},
		}
		want := func(when string, want map[informer.Part][]string) {
			t.Helper()
			got := hooks.since()
			for _, all := range got {
				for n, text := range all {
					if before, is := strings.CutSuffix(text, ": "+refused); is {
						url, _, _ := strings.Cut(before, "?")
						all[n] = strings.TrimSuffix(url, `"`)
					}
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("told %s (-want +got):\n%s", when, d)
			}
		}
		want("after 40 s", complaints)
		if got := known(i); len(got) > 0 {
			t.Errorf("knows %v of an API server that is not there", got)
		}
		time.Sleep(11 * time.Minute) // a try may come up to a minute late
		synctest.Wait()
		want("after 10 minutes more", complaints)

		a.become(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		recovered := map[informer.Part][]string{informer.Jobs: {"recovered"}, informer.Pods: {"recovered"}, informer.Namespace: {"recovered"}}
		want("when it is there", recovered)
		if d := cmp.Diff(parts(), known(i)); d != "" || i.UID() != "here" {
			t.Errorf("knows the namespace as %q (-want +got):\n%s", i.UID(), d)
		}

		a.become(refusing)
		time.Sleep(11 * time.Minute) // the namespace is read every 10
		synctest.Wait()
		got := hooks.since()
		for _, p := range parts() {
			if len(got[p]) == 0 || i.Err(p) == nil || !strings.Contains(got[p][0], refused) {
				t.Errorf("told of %s when it has gone again: %q; at present: %v", p, got[p], i.Err(p))
			}
			if !i.Knows(p) {
				t.Errorf("no longer knows %s", p)
			}
		}
		if took := stop(); took > informer.Patience {
			t.Errorf("it took %s to stop, want at most %s", took, informer.Patience)
		}
		if got := hooks.since(); got != nil {
			t.Errorf("told at its end: %v", got)
		}
	})
}

// The same holds from the first list on.
func TestStopBeforeTheFirstList(t *testing.T) {
	always := func(status int) func(*http.Request) (int, error) {
		return func(*http.Request) (int, error) { return status, nil }
	}
	for name, fails := range map[string]func(*http.Request) (int, error){
		"refused": refusing,
		"429":     always(http.StatusTooManyRequests),
		"403":     always(http.StatusForbidden),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hooks told
				i := informer.New("flows", kubernetesrun.Marks(), (&api{fails: fails}).client(t), hooks.hooks())
				stop := running(t, i)
				time.Sleep(40 * time.Second)
				synctest.Wait()
				got := hooks.since()
				for _, p := range parts() {
					if len(got[p]) != 1 {
						t.Errorf("told of %s: %q, want one complaint", p, got[p])
					}
				}
				if took := stop(); took > informer.Patience {
					t.Errorf("it took %s to stop, want at most %s", took, informer.Patience)
				}
			})
		})
	}
}

// The same with a port that is really closed.
func TestClosedPort(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	failed := make(chan informer.Part, 100)
	i := informer.New("flows", kubernetesrun.Marks(), clientOf(t, &rest.Config{Host: server.URL}), informer.Hooks{
		Failed: func(_ context.Context, p informer.Part, err error) {
			if strings.Contains(err.Error(), "connection refused") {
				failed <- p
			}
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); i.Run(ctx) }()
	var got []informer.Part
	for range parts() {
		select {
		case p := <-failed:
			got = append(got, p)
		case <-ctx.Done():
			t.Fatalf("told of %v only", got)
		}
	}
	cancel()
	<-done
	slices.Sort(got)
	if d := cmp.Diff([]informer.Part{informer.Jobs, informer.Namespace, informer.Pods}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// An error that client-go avoids at once with another request is no failure.
func TestNoFailures(t *testing.T) {
	streaming := func(status int) func(*http.Request) (int, error) {
		return func(r *http.Request) (int, error) {
			if r.URL.Query().Get("sendInitialEvents") != "" {
				return status, nil
			}
			return 0, nil
		}
	}
	for name, fails := range map[string]func(*http.Request) (int, error){
		"an API server that cannot stream lists": streaming(http.StatusUnprocessableEntity),
		"one that cannot at the moment":          streaming(http.StatusInternalServerError),
		"a version too old": func(r *http.Request) (int, error) {
			if q := r.URL.Query(); q.Get("watch") != "" && q.Get("sendInitialEvents") == "" {
				return http.StatusGone, nil
			}
			return 0, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hooks told
				a := &api{fails: fails}
				i := informer.New("flows", kubernetesrun.Marks(), a.client(t), hooks.hooks())
				stop := running(t, i)
				time.Sleep(time.Minute)
				synctest.Wait()
				a.become(fails) // the watches end and begin anew
				time.Sleep(time.Minute)
				synctest.Wait()
				if d := cmp.Diff(parts(), known(i)); d != "" {
					t.Errorf("knows (-want +got):\n%s", d)
				}
				if got := hooks.since(); got != nil {
					t.Errorf("told %v", got)
				}
				stop()
			})
		})
	}
}

// Calls that our own end cuts off are no failures either.
func TestEndCutsCallsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hooks told
		hangs := func(r *http.Request) (int, error) { <-r.Context().Done(); return 0, r.Context().Err() }
		i := informer.New("flows", kubernetesrun.Marks(), (&api{fails: hangs}).client(t), hooks.hooks())
		stop := running(t, i)
		synctest.Wait()
		if took := stop(); took != 0 {
			t.Errorf("it took %s to stop", took)
		}
		if got := hooks.since(); got != nil {
			t.Errorf("told %v", got)
		}
	})
}
