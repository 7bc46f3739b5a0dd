package scaler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// fakeStream is KEDA's end of a stream. While stalled, a message waits with the
// sender, as it does when the flow-control window is full.
type fakeStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // a stream has one

	mu    sync.Mutex
	times []time.Time
	wrong int
	stall chan struct{}
}

func (f *fakeStream) Context() context.Context { return f.ctx }

func (f *fakeStream) Send(r *externalscaler.IsActiveResponse) error {
	f.mu.Lock()
	stall := f.stall
	f.mu.Unlock()
	if stall != nil {
		<-stall
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !r.Result {
		f.wrong++
	}
	f.times = append(f.times, time.Now())
	return f.ctx.Err()
}

func (f *fakeStream) block() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stall = make(chan struct{})
}

func (f *fakeStream) unblock() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.stall)
	f.stall = nil
}

// got is when messages came, since the last call.
func (f *fakeStream) got() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	times := f.times
	f.times = nil
	return times
}

// open has a stream open during f; it must then end with nil at once.
func open(t *testing.T, s *Server, f func(*fakeStream), metadata ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stream := &fakeStream{ctx: ctx}
	ended := make(chan error, 1)
	go func() { ended <- s.service.StreamIsActive(ref("etl", metadata...), stream) }()
	synctest.Wait()
	f(stream)
	cancel()
	synctest.Wait()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the stream ended with %v", err)
		}
	default:
		t.Error("the stream goes on after its client left")
	}
	if stream.wrong > 0 {
		t.Errorf("%d messages said false", stream.wrong)
	}
}

func due() prefect.DueRun { return run("1", time.Time{}) }

func TestStreamSpeaksOnOpening(t *testing.T) {
	f := &fakeSource{due: []prefect.DueRun{due()}}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(st *fakeStream) {
			if n := len(st.got()); n != 1 {
				t.Errorf("%d messages on opening with demand, want 1", n)
			}
		})
		f.set()
		pass(2 * time.Second)
		open(t, s, func(st *fakeStream) {
			pass(time.Minute)
			if n := len(st.got()); n != 0 {
				t.Errorf("%d messages without demand", n)
			}
		})
	})
}

func TestStreamOpenedBeforeTheFirstLook(t *testing.T) {
	f := slowSource{fakeSource: &fakeSource{due: []prefect.DueRun{due()}}, takes: 5 * time.Second}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(st *fakeStream) {
			pass(6 * time.Second)
			if n := len(st.got()); n != 1 {
				t.Errorf("%d messages, want 1 once the first look returned", n)
			}
		})
	})
}

func TestStreamRepeatsALittleWhileDemandLasts(t *testing.T) {
	f := &fakeSource{due: []prefect.DueRun{due()}}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(st *fakeStream) {
			pass(20 * time.Minute)
			got := st.got()
			if len(got) != 1+maxRepeats {
				t.Errorf("%d messages in 20 minutes of demand, want %d", len(got), 1+maxRepeats)
			}
			for i := 1; i < len(got); i++ {
				if gap := got[i].Sub(got[i-1]); gap != 17500*time.Millisecond {
					t.Errorf("%s between two messages, want 17.5s", gap)
				}
			}
			// A new demand is news again.
			f.set()
			pass(2 * time.Second)
			f.set(due())
			pass(2 * time.Second)
			if n := len(st.got()); n != 1 {
				t.Errorf("%d messages on a new demand, want 1", n)
			}
		})
	})
}

func TestStreamCoalescesForAReaderThatDoesNotRead(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(st *fakeStream) {
			st.block()
			flap := func() {
				for range 50 {
					f.set(due())
					pass(8 * time.Second)
					f.set()
					pass(8 * time.Second)
				}
			}
			flap()
			st.unblock()
			pass(time.Minute)
			if n := len(st.got()); n != 1 {
				t.Errorf("%d messages after 50 edges nobody read, want the 1 that was under way", n)
			}
			// The window of the transport takes messages that nobody reads, so
			// their pace is bounded as well.
			for range 300 {
				f.set(due())
				pass(1100 * time.Millisecond)
				f.set()
				pass(1100 * time.Millisecond)
			}
			if n := len(st.got()); n > 300*22/50+edgesAtOnce {
				t.Errorf("%d messages in 11 minutes of flapping, want at most one in %s", n, minGap)
			}
		})
	})
}

// Some edges may come as they like; then each waits until its gap is over.
func TestPaceOfFlappingDemand(t *testing.T) {
	var p bucket
	now := noon
	sent := func(d time.Duration) (gaps []string) {
		before := now
		for end := now.Add(d); now.Before(end); now = now.Add(time.Second) {
			if k, _ := p.step(true, now); k != nothing {
				gaps = append(gaps, fmt.Sprint(k, " after ", now.Sub(before)))
				before = now
			}
			p.step(false, now)
		}
		return gaps
	}
	// Six at once, one more in the time they take, and then one every five seconds.
	free := []string{"edge after 1s", "edge after 1s", "edge after 1s", "edge after 1s", "edge after 1s", "edge after 1s", "edge after 4s"}
	long := append(free, slices.Repeat([]string{"edge after 5s"}, 9)...)
	if diff := cmp.Diff(append([]string{"open after 0s"}, long...), sent(time.Minute)); diff != "" {
		t.Error(diff)
	}
	now = now.Add(edgesAtOnce * minGap)
	if diff := cmp.Diff(append([]string{"edge after 0s"}, free[:6]...), sent(10*time.Second)); diff != "" {
		t.Errorf("after a quiet time: %s", diff)
	}
	// Runs that come one by one are no flapping.
	for range 100 {
		now = now.Add(minGap)
		if k, _ := p.step(true, now); k != edge {
			t.Fatalf("%q at the beginning of demand, want an edge", k)
		}
		p.step(false, now)
	}
}

func TestScheduledRunWakesExactlyInTime(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		when := time.Now().Add(47*time.Second + 123*time.Millisecond)
		f.set(run("1", when, "etl"))
		open(t, s, func(st *fakeStream) {
			pass(time.Minute)
			if diff := cmp.Diff(when.Add(-15*time.Second), st.got()[0]); diff != "" {
				t.Error(diff)
			}
		}, "labels=etl", "warmUpLead=15")
	})
}

// TestKnownScheduleSurvivesAnOutage: the run's time is known, so Prefect need
// not be there for the launcher to be woken for it.
func TestKnownScheduleSurvivesAnOutage(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		when := time.Now().Add(40 * time.Second)
		f.set(run("1", when))
		pass(2 * time.Second)
		f.change(func(f *fakeSource) { f.err = errors.New("away") })
		open(t, s, func(st *fakeStream) {
			pass(time.Minute)
			if diff := cmp.Diff(when.Add(-10*time.Second), st.got()[0]); diff != "" {
				t.Error(diff)
			}
		})
	})
}

func TestStreamRotatesCleanly(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		for range 10 {
			began := time.Now()
			if err := s.service.StreamIsActive(ref("etl"), &fakeStream{ctx: t.Context()}); err != nil {
				t.Fatal(err)
			}
			if lived := time.Since(began); lived != 27*time.Minute {
				t.Errorf("a stream lived %s, want 27m", lived)
			}
		}
	})
}

func TestStreamStaysOpenThroughAnOutage(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(st *fakeStream) {
			f.change(func(f *fakeSource) { f.err = errors.New("away") })
			pass(10 * time.Minute)
			f.change(func(f *fakeSource) { f.err, f.due = nil, []prefect.DueRun{due()} })
			pass(maxBackoff + maxBackoff/10)
			if n := len(st.got()); n != 1 {
				t.Errorf("%d messages when demand and Prefect came back, want 1", n)
			}
		})
	})
}

func TestStreamRefusesWhatOnlyAnOperatorCanMend(t *testing.T) {
	inBubble(t, bubbleOptions(&fakeSource{}), func(t *testing.T, s *Server) {
		for want, metadata := range map[codes.Code]string{codes.InvalidArgument: "lables=a", codes.NotFound: "connection=prod"} {
			err := s.service.StreamIsActive(ref("etl", metadata), &fakeStream{ctx: t.Context()})
			if status.Code(err) != want {
				t.Errorf("%s: %v, want %s", metadata, err, want)
			}
		}
	})
}

func TestOverlappingStreamsDoNotInterfere(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		open(t, s, func(first *fakeStream) {
			open(t, s, func(second *fakeStream) {
				f.set(due())
				pass(2 * time.Second)
				if a, b := len(first.got()), len(second.got()); a != 1 || b != 1 {
					t.Errorf("%d and %d messages, want 1 each", a, b)
				}
			})
			f.set()
			pass(10 * time.Second)
			f.set(due())
			pass(2 * time.Second)
			if n := len(first.got()); n != 1 {
				t.Errorf("%d messages after the other stream ended, want 1", n)
			}
		})
	})
}
