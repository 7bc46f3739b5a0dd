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

	"github.com/google/go-cmp/cmp"

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
	s.service.pollers["default"].apply(ended, reply{err: context.Canceled})
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

// More runs than a look returns, or larger ones, are said when it begins and not at
// every look. Nobody's launcher is held back by them.
func TestTooManyRunsAreSaidOnce(t *testing.T) {
	for says, large := range map[string]bool{"more runs wait than one poll returns": false, "runs wait that are too large to be read together": true} {
		f := &fakeSource{}
		log := logged(t, bubbleOptions(f), func(t *testing.T, s *Server) {
			for range 2 {
				f.change(func(f *fakeSource) { f.trunc, f.large = true, large })
				pass(10 * time.Second)
				wantActive(t, s, true, "labels=anything")
				if page := pageOf(t, s); !strings.Contains(strings.ToLower(page), says+".") {
					t.Errorf("the page does not say %q:\n%s", says, page)
				}
				f.change(func(f *fakeSource) { f.trunc, f.large = false, false })
				pass(10 * time.Second)
			}
		})
		if n := strings.Count(log, `level=WARN msg="`+says); n != 2 || strings.Count(log, "level=WARN") != 2 {
			t.Errorf("said %d times, want once for each of two floods that %s:\n%s", n, says, log)
		}
	}
}

// That KEDA is answered with errors from now on is said when it begins, each time, and
// when it is over; also when no look has failed, or none has succeeded.
func TestItIsSaidOnceThatNothingIsScaled(t *testing.T) {
	const frozen, again = `msg="KEDA gets errors and scales nothing until Prefect answers"`, `msg="KEDA gets answers again"`
	const failed = `msg="polling Prefect failed; KEDA gets answers from the last poll until that is too old"`
	away, busy := errors.New("the answer is no answer"), wish(10*time.Minute)
	for name, tc := range map[string]struct {
		begin, end func(*fakeSource)
		first      bool // it is so from the start
		known      bool // the last answer is served at first
		want       []string
		cause      string
	}{
		"looks fail": {
			func(f *fakeSource) { f.err = away }, func(f *fakeSource) { f.err = nil }, false, true,
			[]string{failed, frozen, again, failed, frozen, again},
			"check that the API is up: the answer is no answer",
		},
		"from the start": {
			func(f *fakeSource) { f.err = away }, func(f *fakeSource) { f.err = nil }, true, false,
			[]string{frozen, again, failed, frozen, again},
			"Prefect has not answered since the scaler started",
		},
		"Prefect wants to be left alone": {
			func(f *fakeSource) { f.superviseErr = busy }, func(f *fakeSource) { f.superviseErr = nil }, false, true,
			[]string{frozen, again, frozen, again},
			"check that the API is up: the current poll has not returned",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSource{}
			if tc.first {
				tc.begin(f)
			}
			log := logged(t, withJobs(f, fakeKube()), func(t *testing.T, s *Server) {
				for i := range 2 {
					f.change(tc.begin)
					pass(90 * time.Second)
					if _, err := active(t, s); (err == nil) != (tc.known || i > 0) {
						t.Errorf("asked after 90s: %v", err)
					}
					pass(5 * time.Minute)
					if _, err := active(t, s); err == nil {
						t.Error("an old answer is served")
					}
					f.change(tc.end)
					pass(10 * time.Minute)
					wantActive(t, s, false)
				}
			})
			var got []string
			for line := range strings.Lines(log) {
				for _, msg := range []string{failed, frozen, again} {
					if strings.Contains(line, msg) {
						got = append(got, msg)
					}
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || !strings.Contains(log, tc.cause) {
				t.Errorf("-want +got:\n%s\n%s", diff, log)
			}
		})
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

// A refusal is said when it begins, and now and then while it lasts, however often KEDA
// asks.
func TestRefusalThatLastsIsRepeated(t *testing.T) {
	log := logged(t, bubbleOptions(&fakeSource{}), func(t *testing.T, s *Server) {
		for range 40 * 12 {
			if _, err := active(t, s, "labl=x"); err == nil {
				t.Fatal("answered")
			}
			pass(5 * time.Second)
		}
	})
	if n := strings.Count(log, "a ScaledObject is refused"); n != 4 {
		t.Errorf("said %d times in 40 minutes, want 4:\n%s", n, log)
	}
}

// A refusal that was mended is news when it comes back; one trigger of two that stays
// refused is none, though the other is answered.
func TestRefusalThatComesBackIsSaid(t *testing.T) {
	asked := func(how func(t *testing.T, s *Server)) int {
		return strings.Count(logged(t, bubbleOptions(&fakeSource{}), how), "a ScaledObject is refused")
	}
	wrong := func(t *testing.T, s *Server) {
		if _, err := active(t, s, "labl=x"); err == nil {
			t.Fatal("answered")
		}
	}
	right := func(t *testing.T, s *Server) {
		if _, err := active(t, s, "labels=x"); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked(func(t *testing.T, s *Server) {
		pass(time.Second)
		wrong(t, s)
		for range 12 {
			pass(5 * time.Second)
			right(t, s)
		}
		wrong(t, s)
	}); n != 2 {
		t.Errorf("said %d times, want 2", n)
	}
	if n := asked(func(t *testing.T, s *Server) {
		for range 12 {
			pass(5 * time.Second)
			wrong(t, s)
			right(t, s)
		}
	}); n != 1 {
		t.Errorf("of two triggers said %d times, want 1", n)
	}
}

// A ScaledObject that is refused by now is not shown as if it were well.
func TestRefusedScaledObjectIsMarked(t *testing.T) {
	logged(t, bubbleOptions(&fakeSource{}), func(t *testing.T, s *Server) {
		pass(time.Second)
		wantActive(t, s, false, "labels=x")
		pass(5 * time.Second)
		if o := s.service.report(time.Now()).ScaledObjects; len(o) != 1 || o[0].Refused != "" {
			t.Errorf("before: %+v", o)
		}
		if _, err := active(t, s, "labl=x"); err == nil {
			t.Fatal("answered")
		}
		if o := s.service.report(time.Now()).ScaledObjects; len(o) != 1 || !strings.Contains(o[0].Refused, `unknown key "labl"`) {
			t.Errorf("refused: %+v", o)
		}
		pass(5 * time.Second)
		wantActive(t, s, false, "labels=x")
		if o := s.service.report(time.Now()).ScaledObjects; o[0].Refused != "" {
			t.Errorf("mended: %+v", o)
		}
	})
}

// So is whatever else lasts: Prefect is asked every second, of Jobs every 30, and says
// the same each time.
func TestFailureThatLastsIsRepeated(t *testing.T) {
	away := errors.New("502")
	for says, tc := range map[string]struct {
		change func(*fakeSource)
		times  int
	}{
		"polling Prefect failed":                                    {func(f *fakeSource) { f.err = away }, 1}, // then KEDA gets errors
		"KEDA gets errors and scales nothing until Prefect answers": {func(f *fakeSource) { f.err = away }, 4},
		"the Prefect API refuses the key":                           {func(f *fakeSource) { f.err = fmt.Errorf("x: %w", prefect.ErrAuth) }, 4},
		"cannot read the flow runs of Jobs":                         {func(f *fakeSource) { f.superviseErr = away }, 4},
		"more runs wait than one poll returns":                      {func(f *fakeSource) { f.trunc = true }, 4},
		"runs wait that are too large to be read together":          {func(f *fakeSource) { f.trunc, f.large = true, true }, 4},
	} {
		f := &fakeSource{}
		log := logged(t, withJobs(f, fakeKube()), func(t *testing.T, s *Server) {
			pass(time.Minute)
			f.change(tc.change)
			pass(39 * time.Minute)
		})
		if n := strings.Count(log, `msg="`+says); n != tc.times {
			t.Errorf("%q is said %d times in 39 minutes, want %d:\n%s", says, n, tc.times, log)
		}
	}
}
