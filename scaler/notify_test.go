package scaler

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// tellingSource can tell of changes.
type tellingSource struct {
	fakeSource
	tell func() // set by Notify

	every time.Duration // under the lock of the fakeSource
	fails error
}

func (f *tellingSource) Notify(ctx context.Context, changed func()) error {
	f.change(func(*fakeSource) { f.tell = changed })
	if f.fails != nil {
		return f.fails
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *tellingSource) PollEvery() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.every
}

// connect has it begin or cease to tell of changes, and tells of that.
func (f *tellingSource) connect(every time.Duration) {
	f.change(func(*fakeSource) { f.every = every })
	f.tell()
}

// watched is a scaler for Jobs of work pools, which KEDA asks all the time.
func watchedPools(f Source) Options {
	o := withJobs(f, fakeKube())
	c := o.Connections["default"]
	c.Places, c.Announce = ByWorkPools, true
	o.Connections["default"] = c
	return o
}

// However many work pools and ScaledObjects there are, an idle scaler asks about once a
// second, or four times a minute while it is told of changes.
func TestIdleCalls(t *testing.T) {
	for name, tc := range map[string]struct {
		every time.Duration
		most  int
	}{
		"without being told of changes": {0, 75},
		"told of changes":               {15 * time.Second, 20},
	} {
		t.Run(name, func(t *testing.T) {
			f := &announcingSource{}
			inBubble(t, watchedPools(f), func(t *testing.T, s *Server) {
				for i := range 50 {
					open(t, s, func(*fakeStream) {}, "workPools=k8s-"+strings.Repeat("x", i+1))
				}
				f.connect(tc.every)
				pass(20 * time.Second)
				calls := func() int { return f.asked() + f.supervisions() + len(f.announcements()) }
				before := calls()
				const minutes = 20
				for range 2 * minutes {
					wantActive(t, s, false) // as KEDA asks
					pass(30 * time.Second)
				}
				if n := calls() - before; n > tc.most*minutes || n < minutes*4 {
					t.Errorf("%d calls in %d minutes, want at most %d a minute", n, minutes, tc.most)
				}
			})
		})
	}
}

// What is told is looked at at once, and again soon after, as the first look may be too early.
func TestChangesAreLookedAtAtOnce(t *testing.T) {
	f := &tellingSource{every: 15 * time.Second}
	inBubble(t, poolOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(stream *fakeStream) {
			pass(time.Minute)
			began, before := time.Now(), f.asked()
			f.tell()
			pass(50 * time.Millisecond)
			f.set(pooled("late", time.Now(), "k8s", "default")) // the commit
			pass(13 * time.Second)
			var after []time.Duration
			for _, at := range f.callsSince(before) {
				after = append(after, at.Sub(began))
			}
			want := []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second}
			if diff := cmp.Diff(want, after); diff != "" {
				t.Errorf("looks after the change: %s", diff)
			}
			if got := stream.got(); len(got) != 1 || got[0].Sub(began) != 100*time.Millisecond {
				t.Errorf("pushed at %v, want 0.1 s after %v", got, began)
			}
		})
	})
}

// A busy API tells of changes all the time, and is asked as often as if it told of none.
func TestManyChangesShareLooks(t *testing.T) {
	f := &tellingSource{every: 15 * time.Second}
	inBubble(t, poolOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(*fakeStream) {
			for _, gap := range []time.Duration{10 * time.Millisecond, 700 * time.Millisecond, 1100 * time.Millisecond} {
				pass(time.Minute)
				before, began := f.asked(), time.Now()
				for time.Since(began) < time.Minute {
					f.tell()
					pass(gap)
				}
				if n := f.asked() - before; n > 70 || n < 45 {
					t.Errorf("a change every %s: %d looks in a minute, want about 60", gap, n)
				}
			}
		})
	})
}

// No change waits for longer than a second for a look that is after it.
func TestNoChangeIsOverlooked(t *testing.T) {
	for gap := 50 * time.Millisecond; gap < 12*time.Second; gap = gap * 17 / 10 {
		var l looks
		now := noon
		var told []time.Time
		for range 200 {
			l.told(now, time.Second)
			told = append(told, now)
			next := now.Add(gap)
			for len(l.next) > 0 && !l.next[0].After(next) {
				looked := l.next[0]
				l.looked(looked)
				for len(told) > 0 && !told[0].After(looked.Add(-commitLag)) {
					if wait := looked.Sub(told[0]); wait > time.Second+commitLag {
						t.Errorf("a change every %s: one waited %s", gap, wait)
					}
					told = told[1:]
				}
			}
			now = next
		}
		if len(told) > 25 || len(told) > 0 && len(l.next) == 0 {
			t.Errorf("a change every %s: %d are never looked at", gap, len(told))
		}
	}
}

// Without being told, demand is found by polls; and it is said once.
func TestLossOfChangesCostsLatencyOnly(t *testing.T) {
	f := &tellingSource{}
	log := logged(t, poolOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(stream *fakeStream) {
			pass(time.Minute)
			f.connect(15 * time.Second)
			pass(time.Minute)
			f.connect(0)
			pass(time.Minute)
			began := time.Now()
			f.set(pooled("1", began, "k8s", "default"))
			pass(2 * time.Second)
			if got := stream.got(); len(got) != 1 || got[0].Sub(began) > time.Second {
				t.Errorf("pushed at %v, want within a second of %v", got, began)
			}
		})
	})
	const says = `level=INFO msg="polls have another interval, because Prefect begins or ceases to tell of changes" connection=default interval=`
	if !strings.Contains(withoutTimes(log), says+"15s\n"+says+"1s\n") || strings.Count(log, "changes") != 2 {
		t.Error(log)
	}
}

func withoutTimes(log string) (all string) {
	for line := range strings.Lines(log) {
		_, line, _ = strings.Cut(line, " ")
		all += line
	}
	return all
}

func TestSourceThatCannotTellIsPolled(t *testing.T) {
	f := &tellingSource{fails: errors.New("no such route")}
	log := logged(t, poolOptions(f), func(t *testing.T, s *Server) {
		pass(time.Minute)
		if f.asked() < 60 {
			t.Errorf("%d looks in a minute", f.asked())
		}
	})
	if !strings.Contains(log, `level=WARN msg="Prefect cannot tell of changes, so only polls find them" connection=default err="no such route"`) || strings.Count(log, "\n") != 1 {
		t.Error(log)
	}
}

// Changes cause no look while nobody needs it, or while Prefect is away or wants to be
// left alone, and they put off none that is due.
func TestChangesThatCauseNoLook(t *testing.T) {
	for name, tc := range map[string]struct {
		change   func(*fakeSource)
		from, to int
	}{
		"nobody asks":      {func(*fakeSource) {}, 3, 6},
		"Prefect is away":  {func(f *fakeSource) { f.err = errors.New("away") }, 10, 35},
		"it asks for time": {func(f *fakeSource) { f.err = wish(5 * time.Minute) }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := &tellingSource{every: 15 * time.Second}
			inBubble(t, poolOptions(f), func(t *testing.T, s *Server) {
				f.change(tc.change)
				pass(3 * time.Minute)
				before := f.asked()
				for range 600 {
					f.tell()
					pass(100 * time.Millisecond)
				}
				if n := f.asked() - before; n < tc.from || n > tc.to {
					t.Errorf("%d looks in a minute, want %d to %d", n, tc.from, tc.to)
				}
			})
		})
	}
}

// Answers do not turn stale between two looks, however rare the source wants them.
func TestRareLooksAreNotStale(t *testing.T) {
	f := &tellingSource{every: time.Hour}
	inBubble(t, poolOptions(f), func(t *testing.T, s *Server) {
		for range 60 {
			pass(10 * time.Second)
			wantActive(t, s, false)
		}
	})
}

// announcingSource can tell of changes and be told of launchers.
type announcingSource struct {
	tellingSource
	lock sync.Mutex
	said []prefect.Scope
	err  error
}

func (f *announcingSource) Announce(_ context.Context, scope prefect.Scope) error {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.said = append(f.said, scope)
	return f.err
}

func (f *announcingSource) announcements() []prefect.Scope {
	f.lock.Lock()
	defer f.lock.Unlock()
	return f.said
}

func (f *announcingSource) answer(err error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.err = err
}

func TestAnnouncements(t *testing.T) {
	f := &announcingSource{}
	inBubble(t, watchedPools(f), func(t *testing.T, s *Server) {
		pass(time.Minute)
		if got := f.announcements(); got != nil {
			t.Errorf("announced without any ScaledObject: %v", got)
		}
		for range 3 { // as long as KEDA asks
			wantActive(t, s, false, "workPools=b,a", "workQueues=high")
			wantActive(t, s, false, "workPools=c")
			pass(4 * time.Minute)
		}
		both := prefect.Scope{Pools: []string{"a", "b", "c"}}
		if diff := cmp.Diff([]prefect.Scope{both, both, both}, f.announcements()); diff != "" {
			t.Errorf("in 12 minutes (-want +got):\n%s", diff)
		}
		wantActive(t, s, false)
		pass(10 * time.Second)
		if got := f.announcements(); len(got) != 4 || got[3].Pools != nil {
			t.Errorf("announced %v, want all work pools at last", got)
		}
		f.change(func(f *fakeSource) { f.err = errors.New("away") })
		pass(10 * time.Minute)
		if n := len(f.announcements()); n > 5 {
			t.Errorf("%d announcements to somebody who is away", n-5)
		}
	})
}

// A failed announcement is one line when it begins, and its wish to be left alone counts.
func TestAnnouncementsThatFail(t *testing.T) {
	f := &announcingSource{err: errors.New("HTTP 403")}
	log := logged(t, watchedPools(f), func(t *testing.T, s *Server) {
		for i := range 12 {
			if i == 7 {
				f.answer(nil)
			}
			wantActive(t, s, false)
			pass(time.Minute)
		}
		f.answer(wish(3 * time.Minute))
		wantActive(t, s, false)
		pass(5 * time.Minute)
		if looks := f.callsSince(0); time.Since(looks[len(looks)-1]) < time.Minute {
			t.Error("Prefect was not left alone")
		}
	})
	for says, times := range map[string]int{
		`level=WARN msg="cannot announce to Prefect that launchers are ready, so it may show that nobody is; runs are launched all the same" connection=default err="HTTP 403"`: 1,
		`level=INFO msg="Prefect shows again that launchers are ready" connection=default`:                                                                                      1,
	} {
		if n := strings.Count(log, says); n != times {
			t.Errorf("said %d times: %s\n%s", n, says, log)
		}
	}
}

func TestNobodyAnnouncesAgainstOperatorsWill(t *testing.T) {
	f := &announcingSource{}
	inBubble(t, poolOptions(f), func(t *testing.T, s *Server) {
		for range 10 {
			wantActive(t, s, false)
			pass(time.Minute)
		}
		if got := f.announcements(); got != nil {
			t.Errorf("announced %v", got)
		}
	})
}
