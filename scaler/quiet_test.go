package scaler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// What Prefect is not asked, and what is not said.

// logged has the log of what f does in a bubble, without times.
func logged(t *testing.T, o Options, f func(*testing.T, *Server)) string {
	t.Helper()
	var log strings.Builder
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	inBubble(t, o, f)
	return log.String()
}

// Asking again wakes a poller that had slowed down, but mends no trouble upstream.
func TestAskingAgainMendsNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		trouble func(*fakeSource)
		looks   int
	}{
		"all is well":     {func(*fakeSource) {}, 1},
		"Prefect is away": {func(f *fakeSource) { f.err = errors.New("away") }, 0},
		"Prefect wants to be left alone, and said so elsewhere": {func(f *fakeSource) { f.superviseErr = wish(5 * time.Minute) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSource{}
			inBubble(t, withJobs(f, fakeKube()), func(t *testing.T, s *Server) {
				pass(3 * time.Minute) // nobody asks
				f.change(tc.trouble)
				pass(time.Minute)
				before := f.asked()
				_, _ = active(t, s)
				synctest.Wait()
				if n := f.asked() - before; n != tc.looks {
					t.Errorf("%d looks as soon as somebody asks, want %d", n, tc.looks)
				}
			})
		})
	}
}

// Of a connection whose Jobs are not watched nobody asks what their runs are at.
func TestOnlyWatchedJobsAreAskedAbout(t *testing.T) {
	watched, other := &fakeSource{}, &fakeSource{}
	o := withJobs(watched, fakeKube())
	o.Connections["other"] = Connection{Source: other}
	inBubble(t, o, func(t *testing.T, _ *Server) { pass(time.Minute) })
	if watched.supervisions() == 0 || other.supervisions() != 0 {
		t.Errorf("asked %d times about watched Jobs and %d times about others", watched.supervisions(), other.supervisions())
	}
}

// While looks fail there is no use in asking about Jobs as well.
func TestNothingIsAskedAboutJobsWhilePrefectIsAway(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, withJobs(f, fakeKube()), func(t *testing.T, _ *Server) {
		f.change(func(f *fakeSource) { f.err = errors.New("away") })
		pass(2 * time.Second)
		before := f.supervisions()
		pass(5 * time.Minute)
		if n := f.supervisions() - before; n != 0 {
			t.Errorf("asked %d times about Jobs while looks failed", n)
		}
	})
}

// A look, or a question about Jobs, that ends because the scaler does is no trouble.
func TestTheEndIsNoTrouble(t *testing.T) {
	for name, hangs := range map[string]func(*fakeSource){
		"in a look":             func(f *fakeSource) { f.hung = true },
		"in a question of Jobs": func(f *fakeSource) { f.mute = true },
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSource{}
			f.change(hangs)
			log := logged(t, withJobs(f, fakeKube()), func(*testing.T, *Server) { pass(2 * time.Second) })
			if log != "" {
				t.Error(log)
			}
		})
	}
}

// Also when the answer comes together with the end, and the loop takes it first.
func TestAnAnswerAtTheEndIsNoTrouble(t *testing.T) {
	var log strings.Builder
	o := withJobs(&fakeSource{}, fakeKube())
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.service.pollers["default"].learn(ended, reply{err: context.Canceled})
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

// deafSource does not heed its context in Supervise.
type deafSource struct {
	fakeSource
	release chan struct{}
}

func (s *deafSource) Supervise(context.Context, []string, []string) (prefect.Supervision, error) {
	<-s.release
	return prefect.Supervision{}, nil
}

// The loop ends with the question it asked, not before: nothing is left behind.
func TestTheLoopWaitsForItsQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &deafSource{release: make(chan struct{})}
		s, err := New(withJobs(f, fakeKube()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.service.pollers["default"].run(ctx); close(ended) }()
		pass(time.Second)
		cancel()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("the loop ended before its question")
		default:
		}
		close(f.release)
		<-ended
	})
}

// More runs than a look returns are said when it begins, not at every look.
func TestTooManyRunsAreSaidOnce(t *testing.T) {
	f := &fakeSource{}
	log := logged(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		for range 2 {
			f.change(func(f *fakeSource) { f.trunc = true })
			pass(10 * time.Second)
			wantActive(t, s, true, "labels=anything")
			f.change(func(f *fakeSource) { f.trunc = false })
			pass(10 * time.Second)
		}
	})
	if n := strings.Count(log, "level=WARN"); n != 2 {
		t.Errorf("said %d times, want once for each of two floods:\n%s", n, log)
	}
}

// An answer about Jobs that asks for nothing is not taken for a wish to be let alone
// from now on, and one that does not concern runs of ours wakes no reader.
func TestNothingIsPublishedForNothing(t *testing.T) {
	f := &fakeSource{superviseErr: errors.New("502")}
	o := withJobs(f, fakeKube())
	o.PollInterval, o.MaxStaleness = time.Hour, 24*time.Hour
	inBubble(t, o, func(t *testing.T, s *Server) {
		pass(time.Minute)
		p := s.service.pollers["default"]
		if !p.quietUntil.IsZero() {
			t.Errorf("Prefect is left alone until %s and did not ask for it", p.quietUntil)
		}
		before := p.current.Load()
		p.recount(time.Now())
		if p.current.Load() != before {
			t.Error("a snapshot with nothing new in it is published")
		}
	})
}

// A key that was refused is told to KEDA with what was said, whether or not the
// setting of the key is known.
func TestRefusedKeyWithoutASetting(t *testing.T) {
	f := &fakeSource{err: fmt.Errorf("observe: %w", prefect.ErrAuth)}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		pass(time.Second)
		_, err := active(t, s)
		if want := "give the scaler a valid one: observe: the Prefect API refused the key"; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("error %v, want it to end with %q", err, want)
		}
	})
}
