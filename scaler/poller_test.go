package scaler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// inBubble runs the loops of a scaler, without its listener, in fake time.
func inBubble(t *testing.T, o Options, f func(*testing.T, *Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { running(t, o, f) })
}

// running runs them in the fake time of a bubble that is there.
func running(t *testing.T, o Options, f func(*testing.T, *Server)) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	for _, p := range s.service.pollers {
		loops.Go(func() { p.run(ctx) })
	}
	for _, w := range s.watches {
		if len(w.namespaces) > 0 {
			loops.Go(func() { w.run(ctx) })
		}
	}
	s.started.Store(true)
	synctest.Wait()
	f(t, s)
	s.drain()
	cancel()
	loops.Wait()
}

func bubbleOptions(f Source) Options {
	o := options(f)
	o.PollInterval = time.Second
	return o
}

// pass lets fake time pass and everything that is due in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func active(t *testing.T, s *Server, metadata ...string) (bool, error) {
	t.Helper()
	r, err := s.service.IsActive(t.Context(), ref("etl", metadata...))
	return r.GetResult(), err
}

func wantActive(t *testing.T, s *Server, want bool, metadata ...string) {
	t.Helper()
	if got, err := active(t, s, metadata...); err != nil || got != want {
		t.Errorf("active %v, %v; want %v", got, err, want)
	}
}

func TestPollerSlowsDownWhenNobodyAsks(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		per := func(d time.Duration) int {
			before := f.asked()
			pass(d)
			return f.asked() - before
		}
		if n := per(time.Minute); n != 66 {
			t.Errorf("%d looks in the first minute, want 66", n)
		}
		pass(time.Minute)
		if n := per(time.Minute); n != 14 {
			t.Errorf("%d looks in a minute in which nobody asks, want 14", n)
		}
		before := f.asked()
		wantActive(t, s, false)
		synctest.Wait()
		if f.asked() != before+1 {
			t.Error("no look at once when somebody asks again")
		}
		if n := per(time.Minute); n != 66 {
			t.Errorf("%d looks in a minute after somebody asked, want 66", n)
		}
	})
}

func TestPollerStaysQuickWhileAStreamIsOpen(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(*fakeStream) {
			pass(10 * time.Minute)
			before := f.asked()
			pass(time.Minute)
			if n := f.asked() - before; n != 67 {
				t.Errorf("%d looks in a minute with an open stream, want 67", n)
			}
		})
	})
}

func TestPollerBacksOffAndRecovers(t *testing.T) {
	f := &fakeSource{err: errors.New("502")}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		pass(3 * time.Minute)
		for range 100 { // KEDA asks again, and the last of the slow looks is over
			_, _ = active(t, s)
			pass(100 * time.Millisecond)
		}
		before := f.asked()
		for range 600 {
			_, _ = active(t, s)
			pass(100 * time.Millisecond)
		}
		if n := f.asked() - before; n != 22 {
			t.Errorf("%d looks in a minute of failures, want 22, however often KEDA asks", n)
		}
		if s.Live() != nil {
			t.Error("a failing upstream is not a reason to restart: ", s.Live())
		}
		f.change(func(f *fakeSource) { f.err = nil })
		pass(3300 * time.Millisecond)
		wantActive(t, s, false)
		if s.service.pollers["default"].current.Load().Failures != 0 {
			t.Error("failures are remembered after a success")
		}
	})
}

// wish is an API that asks to be left alone.
type wish time.Duration

func (w wish) Error() string             { return "HTTP 429" }
func (w wish) RetryAfter() time.Duration { return time.Duration(w) }

func TestPrefectIsLeftAloneWhenItAsksForIt(t *testing.T) {
	for name, since := range map[string]time.Duration{"while somebody asks": 0, "after nobody asked": 3 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSource{}
			inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
				pass(since)
				f.change(func(f *fakeSource) { f.err = wish(time.Minute) })
				pass(6 * time.Second)
				before := f.asked()
				for range 600 {
					_, _ = active(t, s)
					pass(time.Second)
				}
				if n := f.asked() - before; n != 10 {
					t.Errorf("%d looks in 10 minutes in which Prefect says each time to wait for one", n)
				}
				if err := s.Live(); err != nil {
					t.Errorf("waiting is taken for standing still: %v", err)
				}
				f.change(func(f *fakeSource) { f.err = nil })
				pass(time.Minute)
				wantActive(t, s, false)
			})
		})
	}
}

// The question about Jobs is answered when the next look has its time already.
func TestPrefectIsLeftAloneWhenTheQuestionAboutJobsIsAnsweredSo(t *testing.T) {
	f := &fakeSource{superviseErr: wish(time.Minute)}
	inBubble(t, withJobs(f, fakeKube()), func(t *testing.T, s *Server) {
		for range 3 {
			before := f.asked()
			if before == 0 || f.supervisions() == 0 {
				t.Fatal("nothing was asked")
			}
			for range 29 {
				_, _ = active(t, s)
				pass(2 * time.Second)
			}
			if n := f.asked() - before; n > 0 {
				t.Errorf("%d looks within a minute in which Prefect wants to be left alone", n)
			}
			pass(2 * time.Second)
		}
	})
}

func TestLastKnownIsServedUntilItIsStale(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want codes.Code
		says string
	}{
		"away": {errors.New("connect: connection refused"), codes.Unavailable, "more than 2m0s; check that the API is up: connect: connection refused"},
		"auth": {fmt.Errorf("observe: %w", prefect.ErrAuth), codes.FailedPrecondition, "give the scaler a valid one"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSource{due: []prefect.DueRun{run("1", time.Time{})}}
			inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
				wantActive(t, s, true)
				f.change(func(f *fakeSource) { f.err = tc.err })
				pass(2*time.Minute - 2*time.Second)
				wantActive(t, s, true)
				if err := s.upstream(); err != nil {
					t.Error(err)
				}
				pass(4 * time.Second)
				_, err := active(t, s)
				if status.Code(err) != tc.want || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("error %v, want %s saying %q", err, tc.want, tc.says)
				}
				if s.upstream() == nil {
					t.Error("the upstream is reported as fine")
				}
				if s.Ready() != nil || s.Live() != nil {
					t.Error("Prefect's trouble must not take the scaler out of service")
				}
				if _, err := s.service.GetMetricSpec(t.Context(), ref("etl")); err != nil {
					t.Errorf("GetMetricSpec depends on the upstream: %v", err)
				}
				f.change(func(f *fakeSource) { f.err = nil })
				pass(maxBackoff + maxBackoff/10)
				wantActive(t, s, true)
			})
		})
	}
}

// A refused key does not end the scaler: KEDA hears of it, and the log tells once
// which setting to mend, also when Prefect was away before.
func TestRefusedKeyIsSaidOnce(t *testing.T) {
	var log strings.Builder
	f := &fakeSource{err: errors.New("connection refused")}
	o := bubbleOptions(f)
	o.Connections = map[string]Connection{"default": {Source: f, Credentials: "PREFECT__CLOUD__API_KEY"}}
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	inBubble(t, o, func(t *testing.T, s *Server) {
		pass(time.Minute)
		for range 2 {
			f.change(func(f *fakeSource) { f.err = fmt.Errorf("observe: %w", prefect.ErrAuth) })
			pass(5 * time.Minute)
			_, err := active(t, s)
			if want := "check PREFECT__CLOUD__API_KEY: observe: the Prefect API refused the key"; status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %s saying %q", err, codes.FailedPrecondition, want)
			}
			f.change(func(f *fakeSource) { f.err = nil })
			pass(IdleFactor * o.PollInterval * 11 / 10) // nobody had asked for long
			wantActive(t, s, false)
		}
	})
	for text, want := range map[string]int{"level=ERROR": 2, "check PREFECT__CLOUD__API_KEY": 3, "level=WARN": 2, "Prefect answers again": 2} {
		if n := strings.Count(log.String(), text); n != want {
			t.Errorf("%q is logged %d times, want %d:\n%s", text, n, want, log.String())
		}
	}
}

func TestHungUpstreamHoldsNobodyUp(t *testing.T) {
	f := &fakeSource{hung: true}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		began := time.Now()
		_, err := active(t, s)
		if took := time.Since(began); status.Code(err) != codes.Unavailable || took >= handlerDeadline {
			t.Errorf("cold: %v after %s", err, took)
		}
		pass(5 * time.Minute)
		began = time.Now()
		_, err = active(t, s)
		if took := time.Since(began); status.Code(err) != codes.Unavailable || took != 0 {
			t.Errorf("after a timed out look: %v after %s", err, took)
		}
		if err := s.Live(); err != nil {
			t.Error(err)
		}
	})
}

func TestFirstCallWaitsForTheFirstLook(t *testing.T) {
	f := slowSource{fakeSource: &fakeSource{due: []prefect.DueRun{run("1", time.Time{})}}, takes: firstFill / 2}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) { wantActive(t, s, true) })
}

type slowSource struct {
	*fakeSource
	takes time.Duration
}

func (s slowSource) Observe(ctx context.Context, until time.Time) (prefect.Observation, error) {
	time.Sleep(s.takes)
	return s.fakeSource.Observe(ctx, until)
}

// stuckSource does not even heed its context.
type stuckSource struct {
	fakeSource
	release chan struct{}
}

func (s *stuckSource) Observe(context.Context, time.Time) (prefect.Observation, error) {
	<-s.release
	return prefect.Observation{}, errors.New("released")
}

func TestLivenessEndsWhenTheLoopNoLongerTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &stuckSource{release: make(chan struct{})}
		s, err := New(bubbleOptions(f))
		if err != nil {
			t.Fatal(err)
		}
		p := s.service.pollers["default"]
		ctx, cancel := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		loop.Go(func() { p.run(ctx) })
		s.started.Store(true)
		pass(p.longestTick())
		if err := s.Live(); err != nil {
			t.Error(err)
		}
		pass(time.Second)
		if s.Live() == nil {
			t.Error("alive although the loop is stuck")
		}
		cancel()
		close(f.release)
		loop.Wait()
	})
}

func TestLooksReachBeyondTheLongestLead(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		// Six seconds: the pause is five while nobody asks.
		reach := func() time.Duration {
			pass(6 * time.Second)
			return time.Until(f.asksUntil())
		}
		if d := reach(); d != 10*time.Second+lookahead-600*time.Millisecond {
			t.Errorf("looks reach %s ahead by default, 0.6 s after the last one", d)
		}
		wantActive(t, s, false, "warmUpLead=5m")
		wantActive(t, s, false, "warmUpLead=1m") // whoever looks less far ahead takes nothing from others
		if d := reach(); d < 5*time.Minute+lookahead-2*time.Second {
			t.Errorf("looks reach %s ahead, less than a lead of 5m", d)
		}
		time.Sleep(rememberedFor)
		s.service.sweep(time.Now())
		if d := reach(); d > 10*time.Second+lookahead {
			t.Errorf("looks reach %s ahead for nobody", d)
		}
		if n := len(s.service.registry.all()); n != 0 {
			t.Errorf("%d ScaledObjects are remembered for ever", n)
		}
	})
}

func TestThresholdDelaysTheStartAndNotTheEnd(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		for _, step := range []struct {
			due  int
			want bool
		}{{5, false}, {6, true}, {1, true}, {0, false}, {5, false}, {6, true}} {
			var due []prefect.DueRun
			for i := range step.due {
				due = append(due, run(fmt.Sprint(i), time.Time{}))
			}
			f.set(due...)
			pass(2 * time.Second)
			if got, err := active(t, s, "activationThreshold=5"); err != nil || got != step.want {
				t.Errorf("%d due: active %v, %v; want %v", step.due, got, err, step.want)
			}
		}
		// What ended while nobody asked has ended.
		f.set()
		pass(2 * time.Second)
		f.set(run("1", time.Time{}))
		pass(2 * time.Second)
		wantActive(t, s, false, "activationThreshold=5")
	})
}
