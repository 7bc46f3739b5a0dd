package launcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/trouble/resolve"
)

// What the operator has to see to is neither written to the runs again and again nor
// keeps them once it is mended.
func TestWhatIsForbiddenIsNotTriedWithOneRunAfterAnother(t *testing.T) {
	skipLong(t)
	forbidden := apierrors.NewForbidden(jobsResource, "j", errors.New(`User "x" cannot create resource "jobs"`))
	missing := apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "flows")
	for name, tc := range map[string]struct {
		err    error
		trials bool // dry runs tell of it
		// handBacks of one run in an hour at most, and how soon it starts once mended
		handBacks int
		within    time.Duration
	}{
		"a permission":                        {forbidden, true, 1, claims.HandBackDelay + 10*time.Second},
		"the namespace":                       {missing, true, 1, claims.HandBackDelay + 10*time.Second},
		"something that dry runs do not meet": {forbidden, false, 15, maxHandBack + 10*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const runs = 40
				m, mended := newMemory(), false
				for i := range runs {
					m.set(run(fmt.Sprintf("r%02d", i)).due(time.Now()))
				}
				b := start(t, m, func(o *Options, client *fake.Clientset) {
					o.Concurrency, o.IdleTimeout = 4, 15*time.Minute
					judging(client, func(_ *batchv1.Job, dry bool) error {
						if m.mu.Lock(); mended || dry && !tc.trials {
							m.mu.Unlock()
							return nil
						}
						m.mu.Unlock()
						return tc.err
					})
				})
				time.Sleep(time.Hour)
				synctest.Wait()
				m.mu.Lock()
				returns, most := map[string]int{}, 0
				for _, w := range m.writes {
					if after, ok := strings.CutPrefix(w, "hand back "); ok {
						id := strings.Fields(after)[0]
						returns[id]++
						most = max(most, returns[id])
					}
				}
				mended = true
				m.mu.Unlock()
				if most == 0 || most > tc.handBacks || tc.trials && len(returns) > 4 {
					t.Errorf("handed back %v, want each at most %d times, and with dry runs to tell not more runs than were begun at first", returns, tc.handBacks)
				}
				for id := range returns {
					if lines := m.linesOf(id); len(lines) != 1 || !strings.HasPrefix(lines[0], "WARNING No Job could be created") {
						t.Errorf("run %s has the lines %q, want one", id, lines)
					}
				}
				if n, again := b.logs.count("level=WARN"), b.logs.count(`level=WARN msg="upstream is still failing`); n != 6 || again != 5 {
					t.Errorf("%d WARN lines in an hour, %d of them again, want one and five again:\n%s", n, again, b.logs)
				}
				time.Sleep(tc.within)
				synctest.Wait()
				if n := len(b.jobs()); n != runs {
					t.Errorf("%d Jobs %s after it was mended, want %d", n, tc.within, runs)
				}
				b.stop()
			})
		})
	}
}

// A launcher that was told so when it began claims nothing at all, and asks no more
// once it is mended.
func TestWhatIsForbiddenFromTheStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, client := newMemory(), fake.NewClientset()
		var mended atomic.Bool
		judging(client, func(_ *batchv1.Job, _ bool) error {
			if mended.Load() {
				return nil
			}
			return apierrors.NewForbidden(jobsResource, "j", errors.New("no"))
		})
		o := options("me")
		o.IdleTimeout = time.Hour
		l := mustNew(t, o, m, client)
		if err := l.Trial(t.Context()); admission.AddresseeOf(err) != admission.Operator {
			t.Fatalf("the trial says %v", err)
		}
		due := func(id string) { m.set(run(id).due(time.Now())); time.Sleep(time.Minute); synctest.Wait() }
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		due("first")
		if len(m.writes) > 0 {
			t.Errorf("wrote %q", m.writes)
		}
		mended.Store(true)
		due("second")
		asked := dryRuns(client)
		due("third")
		if diff := cmp.Diff(map[string]int{"first": 1, "second": 1, "third": 1}, jobsByRun(t, client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
		if n := dryRuns(client) - asked; n > 0 {
			t.Errorf("%d dry runs once it is known to be mended", n)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestReturnsAreCountedInARow(t *testing.T) {
	h, a, cause := newBackoffs(), Action{Kind: Launch, Run: run("r").FlowRun}, errors.New("forbidden")
	now := time.Now()
	for i, step := range []struct {
		result string
		err    error
		want   int
	}{
		{handedBack, cause, 1},
		{overtaken, nil, 1},
		{handedBack, cause, 2},
		{handedBack, nil, 2}, // for a full quota, or because we left
		{done, nil, 0},
		{handedBack, cause, 1},
		{adopted, nil, 0},
	} {
		h.apply(now, outcome{Action: a, result: step.result, err: step.err})
		h.forget(now.Add(resolve.MaxRefused))
		if n := h.failures[a.handedBackKey()]; n != step.want {
			t.Errorf("step %d, %s: %d in a row, want %d", i, step.result, n, step.want)
		}
	}
	h.apply(now, outcome{Action: a, result: handedBack, err: cause})
	if h.forget(now.Add(resolve.MaxRefused + time.Second)); len(h.failures) > 0 {
		t.Errorf("remembers %v for ever", h.failures)
	}
}
