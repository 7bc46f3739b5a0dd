package launcher

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// The number of claims under way after one answer after another, of requests sent
// one after another.
func TestPace(t *testing.T) {
	const unanswered = -1
	repeat := func(took time.Duration, n int) []time.Duration {
		all := make([]time.Duration, n)
		for i := range all {
			all[i] = took
		}
		return all
	}
	for name, tc := range map[string]struct {
		answers []time.Duration // an unanswered one took that long below zero
		want    float64
	}{
		"at first":                               {nil, 1},
		"it doubles with every round":            {repeat(20*time.Millisecond, 3), 4},
		"up to the most":                         {repeat(20*time.Millisecond, 40), 16},
		"far away":                               {repeat(hard, 40), 16},
		"so far away that a claim may be late":   {repeat(hard+1, 40), slowPace},
		"and overloaded as well":                 {append(repeat(hard+1, 40), repeat(2*hard+3, 40)...), leastPace},
		"slow again once it was slower still":    {append(append(repeat(hard+1, 40), repeat(2*hard+3, 40)...), hard+1), leastPace},
		"longer than it ever took":               {append(repeat(20*time.Millisecond, 40), easy+1), 8},
		"longer, but soon enough":                {append(repeat(20*time.Millisecond, 40), easy), 16},
		"twice what it takes at best":            {append(repeat(time.Second/2, 40), time.Second), 16},
		"more than that":                         {append(repeat(time.Second/2, 40), time.Second+1), 8},
		"from then on it grows by one a round":   {append(append(repeat(20*time.Millisecond, 40), time.Second), repeat(20*time.Millisecond, 8)...), 8.95},
		"down to one and a pause":                {append(repeat(20*time.Millisecond, 3), repeat(time.Second, 40)...), leastPace},
		"and up again":                           {[]time.Duration{time.Second, 3 * time.Second, 3 * time.Second, time.Second, time.Second}, .7},
		"given up":                               {append(repeat(20*time.Millisecond, 40), unanswered*time.Second), 8},
		"refused at once, which tells of no one": {append(repeat(20*time.Millisecond, 2), unanswered*time.Millisecond), 3},
	} {
		p, now := newPace(16), time.Now()
		for _, took := range tc.answers {
			sent := now
			now = now.Add(max(took, -took))
			p.apply(sent, now, took > 0)
			now = now.Add(time.Millisecond)
		}
		if math.Abs(p.limit-tc.want) > .05 {
			t.Errorf("%s: %v, want %v", name, p.limit, tc.want)
		}
	}
}

// Of a round of claims that all took too long one says so; the others were sent at
// the same pace.
func TestPaceIsSlowedOnceARound(t *testing.T) {
	p, sent := newPace(16), time.Now()
	for range 15 {
		p.apply(sent, sent.Add(20*time.Millisecond), true)
	}
	sent = sent.Add(time.Minute)
	for i := range 16 {
		p.apply(sent, sent.Add(time.Second+time.Duration(i)), true)
	}
	if p.limit != 8 {
		t.Errorf("%v claims may be under way, want 8", p.limit)
	}
}

func TestPaceAllows(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		p      pace
		claims int
		want   bool
	}{
		"the first":            {pace{limit: 1}, 0, true},
		"no second":            {pace{limit: 1.9}, 1, false},
		"a second":             {pace{limit: 2}, 1, true},
		"below one":            {pace{limit: .2}, 0, true},
		"below one, no second": {pace{limit: .2}, 1, false},
		"in a pause":           {pace{limit: .2, from: now.Add(1)}, 0, false},
		"after it":             {pace{limit: .2, from: now}, 0, true},
	} {
		if got := tc.p.allows(tc.claims, now); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	p := pace{limit: 1, most: 16, least: 20 * time.Millisecond}
	p.apply(now, now.Add(time.Second), true)
	if pause := p.from.Sub(now.Add(time.Second)); pause != time.Second {
		t.Errorf("half a claim at a time pauses for %s after one that took 1s, want 1s", pause)
	}
	p.limit = 1
	p.apply(now.Add(2*time.Second), now.Add(2*time.Second), true)
	if !p.from.IsZero() {
		t.Errorf("at full pace it pauses until %s", p.from)
	}
	for limit, want := range map[float64]time.Duration{16: 250 * time.Millisecond, 1: 4 * time.Second, leastPace: longestPause} {
		p.limit = limit
		if got := p.stretch(time.Second); got != want {
			t.Errorf("at a pace of %v the next look is %s after one that took 1s, want %s", limit, got, want)
		}
	}
}

// Each launcher sends heartbeats for all runs whose pods wait, which must not be all
// that a slow server does.
func TestHeartbeatsLeaveASlowServerTimeForOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ago := time.Now().Add(-8 * time.Minute)
		m := newMemory()
		m.slow(time.Second)
		client := fake.NewClientset()
		for i := range 30 {
			id := fmt.Sprint("waits-", i)
			m.set(run(id).version(2).claimedBy("gone", "v1", "prefect-job-"+id, ago))
			add(t, client, jobOfRun(id))
		}
		b := startWith(t, m, client, func(o *Options, _ *fake.Clientset) { o.Concurrency = 1 })
		time.Sleep(time.Minute)
		synctest.Wait()
		// One takes a second, and the next follows after otherShare times as long.
		if beats := m.count("heartbeat"); beats < 11 || beats > 15 {
			t.Errorf("%d heartbeats in a minute, want one in about 4 s", beats)
		}
		b.stop()
	})
}

// What waits for the end of a pause goes on then, not when the loop happens to turn.
func TestLoopTurnsWhenAPauseEnds(t *testing.T) {
	l, _ := alone(newMemory())
	s, now := newLoop(t.Context(), l, nil), time.Now()
	for q := range questions {
		s.next[q] = now.Add(time.Hour)
	}
	s.claimsFrom, s.pending, s.pace.from = now, []Action{{}}, now.Add(time.Second)
	if next := s.nextEvent(now).Sub(now); next != time.Second {
		t.Errorf("the loop turns after %s, want 1s", next)
	}
	f := &flight{Action: Action{Kind: Launch}, began: now.Add(-heldUp + time.Millisecond)}
	s.inFlight["r"] = f
	if next := s.nextEvent(now).Sub(now); next != time.Millisecond {
		t.Errorf("the loop turns after %s, want when a try counts as held up", next)
	}
	f.stage.Store(atClaim)
	s.pending, s.pace.from, s.heartbeats, s.heartbeatsFrom = nil, time.Time{}, []Action{{}}, now.Add(2*time.Second)
	if next := s.nextEvent(now).Sub(now); next != 2*time.Second {
		t.Errorf("the loop turns after %s, want 2s", next)
	}
}

// stuck renders as a template does whose server takes connections and does not answer.
type stuck struct{ template }

func (h stuck) Render(ctx context.Context, r prefect.FlowRun) (job.Rendering, error) {
	if configOf(r) != "hangs" {
		return h.template.Render(ctx, r)
	}
	select {
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
	}
	return job.Rendering{}, errors.New("no answer")
}

// Whatever a try waits for before its claim, or after it, is not Prefect.
func TestOnlyClaimsCountAsClaims(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		kind  Kind
		stage int32
		began time.Duration
		want  int
	}{
		"it is about to claim":        {Launch, beforeClaim, heldUp - 1, 1},
		"its template's server hangs": {Launch, beforeClaim, heldUp, 0},
		"the server is slow":          {Launch, atClaim, time.Minute, 1},
		"Kubernetes is":               {Launch, afterClaim, 0, 0},
		"it claims nothing":           {Repair, beforeClaim, 0, 0},
	} {
		f := &flight{Action: Action{Kind: tc.kind}, began: now.Add(-tc.began)}
		f.stage.Store(tc.stage)
		l, _ := alone(newMemory())
		s := newLoop(t.Context(), l, nil)
		s.inFlight["r"] = f
		if _, _, got := s.inFlightNow(now); got != tc.want {
			t.Errorf("%s: %d claims, want %d", name, got, tc.want)
		}
	}
}

// The loop is told when a try is past its claim: what follows may take long.
func TestATryTellsThatItIsPastItsClaim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l, world := alone(newMemory(run("r").due(time.Now())))
		world.before["create"] = func() {
			if len(l.freed) != 1 {
				t.Error("a Job is created and nobody is told that the claim is over")
			}
		}
		f := &flight{Action: Action{Kind: Launch, Run: world.memory.get("r")}}
		if o := l.carryOut(t.Context(), f, sleep); o.result != done || f.stage.Load() != afterClaim {
			t.Errorf("%s (%v), at stage %d", o.result, o.err, f.stage.Load())
		}
	})
}

func TestTemplatesThatHangHoldUpNoOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("good").due(time.Now().Add(-time.Minute)))
		for i := range 8 {
			r := run(fmt.Sprint("hangs-", i)).due(time.Now().Add(-time.Hour))
			r.runConfig("hangs")
			m.set(r)
		}
		l, err := New(options("me"), m, stuck{}, kubernetes(fake.NewClientset()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		time.Sleep(9 * heldUp)
		synctest.Wait()
		if m.get("good").State.Name != "Submitted" {
			t.Errorf("a run is not claimed %s after the beginning", 9*heldUp)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// With few runs due there are few claims to tell that the server is well again.
func TestPaceRecoversWithoutClaims(t *testing.T) {
	p := pace{most: 16, limit: leastPace, least: 20 * time.Millisecond}
	p.poll(easy + 1)
	if p.limit != leastPace {
		t.Errorf("a slow look makes it %v", p.limit)
	}
	for range 20 {
		p.poll(easy)
	}
	if p.limit != 1 {
		t.Errorf("%v after 20 quick looks, want 1", p.limit)
	}
	p.limit = 1.5
	if p.poll(easy); p.limit != 1.5 {
		t.Errorf("a look makes it %v, which claims would have to", p.limit)
	}
}
