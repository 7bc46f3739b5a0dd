package launcher

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"
)

func TestScheduledRunsAreLaunchedOnTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		want := map[string]time.Duration{}
		for i := range 40 {
			after := time.Duration(i)*777*time.Millisecond + 123*time.Microsecond
			id := fmt.Sprintf("r%02d", i)
			m.set(run(id).due(time.Now().Add(after)))
			want[id] = after
		}
		got := map[string]time.Duration{}
		var mu sync.Mutex
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.Concurrency = 1 // what is ahead must not occupy it
			began := time.Now()
			refusing(client, func(run string) error {
				mu.Lock()
				defer mu.Unlock()
				got[run] = time.Since(began)
				return nil
			})
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		// The first is due before Jobs are known.
		for _, id := range []string{"r00"} {
			if got[id] > time.Second {
				t.Errorf("%s was launched at %s", id, got[id])
			}
			delete(got, id)
			delete(want, id)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("when launched, by run (-want +got):\n%s", diff)
		}
	})
}

// With no lookahead a run is launched at the first look after its time.
func TestNoLookahead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now().Add(30 * time.Second)))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.Lookahead = 0 })
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if b.Lookahead != 0 || len(b.jobs()) != 0 {
			t.Errorf("looks %s ahead and has %d Jobs before the run is due", b.Lookahead, len(b.jobs()))
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs once the run is due, want 1", len(b.jobs()))
		}
		b.stop()
	})
}

func TestRunsOnHoldHideNoYoungerOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		for i := range 300 {
			r := run(fmt.Sprintf("r%03d", i)).due(time.Now().Add(-time.Hour))
			r.runConfig("away")
			m.set(r)
		}
		m.set(run("good").due(time.Now().Add(-time.Minute)))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 5 * time.Second })
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"good": 1}, jobsByRun(t, b.client)); diff != "" || m.count("due") > 2 {
			t.Errorf("after %d looks Jobs by run (-want +got):\n%s", m.count("due"), diff)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		// 5, 10, 20, 40 and then 60 s, seen at the next look.
		if tries := counter(t, b.metrics.actions.WithLabelValues("launch", "error")) / 300; tries != 13 {
			t.Errorf("%v tries a run in 10 minutes in which its template is away, want 13", tries)
		}
		for i := range 300 {
			r := &runBuilder{m.get(fmt.Sprintf("r%03d", i))}
			m.set(r.runConfig(""))
		}
		time.Sleep(maxBackoff + 6*time.Second)
		synctest.Wait()
		if n := len(b.jobs()); n != 301 {
			t.Errorf("%d Jobs a minute after the template is there again, want 301", n)
		}
		b.stop()
	})
}

// Cloud hands out 25 runs at a time; a burst must not wait for an interval each.
func TestTheNextLookFollowsAtOnceWhenThereIsMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.queue = 25
		m.slow(10 * time.Millisecond).uneven = true
		for i := range 200 {
			m.set(run(fmt.Sprintf("r%03d", i)).due(time.Now()))
		}
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 20 * time.Second })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(b.jobs()); n != 200 {
			t.Errorf("%d Jobs within half an interval, want 200", n)
		}
		if n := m.count("due"); n != 9 {
			t.Errorf("%d looks for 200 runs of which 25 are handed out at once", n)
		}
		b.stop()
	})
}

func TestPokeLooksAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 50 * time.Second })
		time.Sleep(time.Second)
		m.set(run("r").due(time.Now()))
		b.Poke()
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs right after the poke, want 1", len(b.jobs()))
		}
		b.stop()
	})
}

// Anybody may poke, as often as he likes: Prefect is asked once a second, and the
// last poke is heard as the first one is.
// Whoever pokes knows of what the look under way was too early for.
func TestPokeDuringALookIsHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.slow(2 * time.Second)
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 20 * time.Second })
		time.Sleep(time.Second) // into the first looks
		b.Poke()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if due, claimed := m.count("due"), m.count("claimed"); due != 2 || claimed != 2 {
			t.Errorf("%d looks at what is due and %d at the claims, want a second one each", due, claimed)
		}
		b.stop()
	})
}

func TestPokesAreHeardOnceASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 50 * time.Second })
		time.Sleep(time.Second)
		before := m.count("due")
		for range 95 {
			b.Poke()
			time.Sleep(100 * time.Millisecond)
		}
		if n := m.count("due") - before; n != 10 {
			t.Errorf("Prefect was asked %d times in 9.5 s of poking, want 10", n)
		}
		m.set(run("r").due(time.Now()))
		b.Poke()
		synctest.Wait()
		b.Poke()
		time.Sleep(time.Second)
		synctest.Wait()
		if n, looks := len(b.jobs()), m.count("due")-before; n != 1 || looks != 11 {
			t.Errorf("%d Jobs and %d looks a second after the last poke, want 1 and 11", n, looks)
		}
		b.stop()
	})
}

func TestManyClaimsDoNotDelayWhatIsDue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.claimsLag = 20 * time.Second
		b := start(t, m)
		time.Sleep(3 * time.Second)
		m.set(run("r").due(time.Now()))
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs a poll interval after the run was due, want 1", len(b.jobs()))
		}
		b.stop()
	})
}

// A look may be overtaken by what we did while its answer was under way.
func TestAnswerOlderThanOurActionsIsNotActedUpon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now().Add(500 * time.Millisecond)))
		m.replicated().lag = 700 * time.Millisecond
		// Looks begin at 0, and again within 0.8 to 1.0 s at the latest; poked, one begins
		// right before the launch and answers after it.
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 100 * time.Millisecond })
		time.Sleep(20 * time.Second)
		b.stop()
		if diff := cmp.Diff([]string{"claim r Submitted"}, m.writes); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
}
