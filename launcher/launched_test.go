package launcher

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// keeping is a backend that keeps what it was told of Jobs.
type keeping struct {
	*meanwhile
	mu   sync.Mutex
	told []string
	err  error
	then func() // after each; may be nil
	slot bool   // claims hold one
}

// heard is how often it was told.
func (k *keeping) heard() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.told)
}

func (k *keeping) Claim(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (prefect.ClaimResult, error) {
	r, err := k.meanwhile.Claim(ctx, run, claim)
	r.HasSlot = k.slot
	return r, err
}

func (k *keeping) Launched(_ context.Context, run prefect.FlowRun, claim prefect.Claim) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.store.jobs) == 0 {
		return errors.New("it has no Job")
	}
	k.told = append(k.told, run.ID+" "+string(claim.Attempt))
	if k.then != nil {
		k.then()
	}
	return k.err
}

// The backend is told once of each run that has its Job, created or adopted, after the launch;
// a backend that cannot be told does no harm to the run.
func TestBackendIsToldThatTheJobExists(t *testing.T) {
	for name, tc := range map[string]struct {
		run  *runBuilder
		act  Action
		jobs bool // the run has one
		err  error
		want string
	}{
		"created":           {run("r"), Action{Kind: Launch}, false, nil, done},
		"created, not told": {run("r"), Action{Kind: Launch}, false, errors.New("503"), done},
		"adopted":           {run("r"), Action{Kind: Adopt, Job: "job-r"}, true, nil, adopted},
		"repaired":          {submitted(2, ours("v1")), Action{Kind: Repair}, false, nil, done},
		"before its claim":  {run("r").version(3).retrying("t", 4, time.Time{}), Action{Kind: Relaunch}, false, nil, done},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, world := alone(newMemory(tc.run))
				k := &keeping{meanwhile: world, err: tc.err}
				if tc.jobs {
					_ = world.store.create(jobOfRun("r"))
				}
				tc.act.Run = world.memory.get("r")
				tc.act.Run.ReadAt = time.Now()
				l := newLauncher(Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks()}.withDefaults(), k, template{}, world)
				if o := carriedOut(t, l, tc.act); o.result != tc.want || len(k.told) > 0 {
					t.Errorf("%s (%v), told %q; want %s before anything is told", o.result, o.err, k.told, tc.want)
				}
				l.tidings.write(t.Context(), over())
				if len(k.told) != 1 {
					t.Errorf("told %q; want it told once", k.told)
				}
			})
		})
	}
}

// over is closed.
func over() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// A claim whose slot Prefect takes back is told of before anything else.
func TestBackendIsToldAtOnceOfASlot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, world := alone(newMemory(run("r")))
		k := &keeping{meanwhile: world, slot: true}
		l := newLauncher(Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks()}.withDefaults(), k, template{}, world)
		l.tidings.setBurst(true)
		r := world.memory.get("r")
		r.ReadAt = time.Now()
		if o := carriedOut(t, l, Action{Kind: Launch, Run: r}); o.result != done || len(k.told) != 1 {
			t.Errorf("%s (%v), told %q", o.result, o.err, k.told)
		}
	})
}

// While runs wait to be claimed nothing is told, but for some seconds only.
func TestTidingsWaitForTheEndOfABurst(t *testing.T) {
	for name, ends := range map[string]time.Duration{"it ends": 4 * time.Second, "it goes on": time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				k := &keeping{meanwhile: &meanwhile{eyes: &eyes{store: storeWith(run("r"))}}}
				_ = k.store.create(jobOfRun("r"))
				l, stop := newTidings(k, slog.New(slog.DiscardHandler), 1), make(chan struct{})
				l.setBurst(true)
				began, ended := time.Now(), make(chan time.Duration, 1)
				k.then = func() { ended <- time.Since(began) }
				l.add(t.Context(), tiding{run: prefect.FlowRun{ID: "r"}, since: time.Now()})
				go l.write(t.Context(), stop)
				time.AfterFunc(ends, func() { l.setBurst(false) })
				if got, want := <-ended, min(ends, tidingsWait); got != want {
					t.Errorf("told after %s, want %s", got, want)
				}
				close(stop)
			})
		})
	}
}

// slowToTell takes a second to be told.
type slowToTell struct{ keeping }

func (s *slowToTell) Launched(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) error {
	time.Sleep(time.Second)
	return s.keeping.Launched(ctx, run, claim)
}

// In a burst without end no more wait than the first ones. The others are told at once, some
// at the same time, and hold launches up only when these are too many.
func TestTidingsOfALongBurst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := &slowToTell{keeping{meanwhile: &meanwhile{eyes: &eyes{store: storeWith(run("r"))}}}}
		_ = k.store.create(jobOfRun("r"))
		l := newTidings(k, slog.New(slog.DiscardHandler), 5)
		began, added := time.Now(), 0
		more := func(n int, takes time.Duration) {
			for range n {
				l.add(t.Context(), tiding{run: prefect.FlowRun{ID: strconv.Itoa(added), Recipe: "large"}})
				added++
			}
			if got := time.Since(began); got != takes {
				t.Errorf("%d have been added after %s, want %s", added, got, takes)
			}
		}
		more(tidingsWaiting+5, 0)
		more(5, time.Second)
		if next := <-l.waiting; next.run.ID != "0" || next.run.Recipe != nil {
			t.Errorf("flow run %s waits first, with the recipe %v; want 0 without", next.run.ID, next.run.Recipe)
		}
		time.Sleep(time.Second - time.Nanosecond)
		if got := k.heard(); got != 5 || len(l.waiting) != tidingsWaiting-1 {
			t.Errorf("%d are told and %d wait", got, len(l.waiting))
		}
		for len(l.waiting) > 0 {
			<-l.waiting
		}
		l.write(t.Context(), over())
		if got := k.heard(); got != 10 {
			t.Errorf("at the end %d are told, want 10", got)
		}
	})
}

// At the end all are told that wait.
func TestTidingsThatAreLeft(t *testing.T) {
	k := &keeping{meanwhile: &meanwhile{eyes: &eyes{store: storeWith(run("r"))}}}
	_ = k.store.create(jobOfRun("r"))
	l := newTidings(k, slog.New(slog.DiscardHandler), 1)
	for i := range 10 {
		l.add(t.Context(), tiding{run: prefect.FlowRun{ID: strconv.Itoa(i)}})
	}
	l.write(t.Context(), over())
	if got := k.heard(); got != 10 {
		t.Errorf("at the end %d are told, want 10", got)
	}
}

// A launcher that leaves does not wait for a backend that is still being told.
func TestTidingsHoldNobodyUpAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Date(2000, 1, 1, 0, 0, 10, 0, time.UTC)))
		m.neverTold = true
		b := start(t, m)
		for range tidingsWaiting + 1 { // the first one is being told
			b.tidings.add(t.Context(), tiding{since: time.Now()})
		}
		time.Sleep(12 * time.Second) // that of the run is told beside them
		if b.logs.count("created the Job") == 0 {
			t.Errorf("the run is not launched:\n%s", b.logs)
		}
		began := time.Now()
		b.stop()
		if took := time.Since(began); took != flushTimeout {
			t.Errorf("leaving took %s, want %s", took, flushTimeout)
		}
	})
}
