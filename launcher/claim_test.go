package launcher

import (
	"context"
	"errors"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// meanwhile is a launcher's world in which something happens right before a call
// takes effect, or before its answer arrives.
type meanwhile struct {
	*eyes
	// before and after by the call's name; each is called once for each such call.
	before, after map[string]func()
	// createBy is the deadline that creating last had, handBackBy by when handing back
	// had to be sent, confirmed when the last request was sent that told whose the run
	// is.
	createBy, handBackBy, confirmed time.Time
}

func happens(at map[string]func(), op string) {
	if do := at[op]; do != nil {
		do()
	}
}

func (m *meanwhile) FlowRun(ctx context.Context, id string) (prefect.FlowRun, error) {
	m.confirmed = time.Now()
	happens(m.before, "read")
	defer happens(m.after, "read")
	return m.eyes.FlowRun(ctx, id)
}

func (m *meanwhile) History(ctx context.Context, id string, attempt prefect.Attempt) (prefect.History, error) {
	m.confirmed = time.Now()
	happens(m.before, "read")
	defer happens(m.after, "read")
	return m.eyes.History(ctx, id, attempt)
}

func (m *meanwhile) Claim(ctx context.Context, run prefect.FlowRun, c prefect.Claim) (prefect.ClaimResult, error) {
	m.confirmed = time.Now()
	happens(m.before, "claim")
	defer happens(m.after, "claim")
	return m.eyes.Claim(ctx, run, c)
}

func (m *meanwhile) list(ctx context.Context, run string) (Presence, error) {
	happens(m.before, "list")
	return m.eyes.list(ctx, run)
}

func (m *meanwhile) create(ctx context.Context, j *batchv1.Job) error {
	happens(m.before, "create")
	defer happens(m.after, "create")
	m.createBy, _ = ctx.Deadline()
	return m.eyes.create(ctx, j)
}

func (m *meanwhile) HandBack(ctx context.Context, run prefect.FlowRun, at time.Time, message string) error {
	m.handBackBy, _ = prefect.SendBy(ctx)
	return m.eyes.HandBack(ctx, run, at, message)
}

// alone is a launcher that acts on what is in the memory, in an empty cluster of
// which its watch tells nothing.
func alone(m *memory) (*Launcher, *meanwhile) {
	world := &meanwhile{
		eyes:   &eyes{memory: m, store: emptyStore(), actor: "me", uid: "here", blind: true},
		before: map[string]func(){}, after: map[string]func(){},
	}
	return newLauncher(Options{Name: "me", Namespace: "flows"}.withDefaults(), world, template{}, world), world
}

// ours is a claim of an attempt from here.
func ours(attempt prefect.Attempt) *prefect.Claim {
	name, _ := job.Name("prefect-job", "r", attempt, 0)
	return &prefect.Claim{Launcher: "me", Namespace: "flows", NamespaceUID: "here", Attempt: attempt, Job: name}
}

// submitted is a run with a claim.
func submitted(version int, claim *prefect.Claim) *runBuilder {
	b := run("r").version(version).in(prefect.Submitted)
	b.Claim = claim
	return b
}

// inHand is a run that was claimed as ours, that long ago.
func inHand(since time.Duration) *errand {
	return &errand{Action: Action{Kind: Launch, Run: run("r").FlowRun}, claim: *ours("v1"), claimed: true, confirmed: time.Now().Add(-since), tries: 1}
}

func TestNothingIsClaimedWhileStopping(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for name, r := range map[string]*runBuilder{
			"due":             run("r"),
			"a retry is due":  run("r").retrying("t", 4, time.Now()),
			"scheduled again": run("r").version(3),
		} {
			m := newMemory(r)
			l, world := alone(m)
			l.stopping.Store(true)
			kind := Launch
			if r.State.Type.IsRunning() {
				kind = Relaunch
			}
			o := l.perform(t.Context(), &errand{Action: Action{Kind: kind, Run: r.readAt(time.Now()).FlowRun}})
			if o.result != left || len(m.asked) > 0 || len(world.store.created) > 0 {
				t.Errorf("%s: %s, asked %v, created %q; want it left alone", name, o.result, m.asked, world.store.created)
			}
		}
	})
}

// A run may have been read long before the answer arrives; from then on it may have
// finished, and a claim would bring it back.
func TestRunIsNotClaimedFromAReadThatTookLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, tc := range []struct {
			took time.Duration
			want string
		}{{claimWithin - time.Second, done}, {claimWithin + time.Second, overtaken}} {
			m := newMemory(run("r"))
			l, world := alone(m)
			world.after["read"] = func() { time.Sleep(tc.took) }
			o := l.perform(t.Context(), &errand{Action: Action{Kind: Launch, Run: run("r").readAt(time.Now().Add(-2 * fresh)).FlowRun}})
			if claims := m.count("claim"); o.result != tc.want || claims > 0 != (tc.want == done) {
				t.Errorf("read for %s: %s after %d claims, want %s", tc.took, o.result, claims, tc.want)
			}
		}
	})
}

// A claim that left in time may be answered any time: the server goes on and applies
// it, so giving up would only cost it the question what came of it. What became of
// the run until it was applied is another matter (see TestWonClaimThatTookLongIsReadBack).
func TestAnswerToAClaimIsAwaited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, tc := range []struct {
			took time.Duration
			want map[string]int
		}{
			{claimWithin, map[string]int{"claim": 1}},
			{claimWithin + time.Second, map[string]int{"claim": 1, "read": 1}}, // before the Job is created
			{confirmedFor + time.Second, map[string]int{"claim": 1, "read": 1}},
		} {
			m := newMemory(run("r"))
			l, world := alone(m)
			world.before["claim"] = func() { m.slow(tc.took) }
			world.after["claim"] = func() { m.slow(0) }
			o := l.perform(t.Context(), &errand{Action: Action{Kind: Launch, Run: run("r").readAt(time.Now()).FlowRun}})
			if diff := cmp.Diff(tc.want, m.asked); diff != "" || o.result != done {
				t.Errorf("answered after %s: %s (%v), requests (-want +got):\n%s", tc.took, o.result, o.err, diff)
			}
		}
	})
}

// A launcher that is stopped between the read and the write does not send it.
func TestStateIsNotSetLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").in(prefect.Success))
		l, _ := alone(m)
		e := inHand(0)
		call, cancel := e.setting(t.Context())
		defer cancel()
		time.Sleep(claimWithin + time.Second)
		if r, err := m.Claim(call, e.Run, e.claim); err != nil || r.Answer != prefect.NotNow {
			t.Errorf("the claim is %s (%v)", r.Answer, err)
		}
		if err := l.failNow(t.Context(), e, "no"); !errors.Is(err, errUnsent) {
			t.Errorf("failing: %v", err)
		}
		if len(m.writes) > 0 {
			t.Errorf("wrote %q", m.writes)
		}
	})
}

// The Job of a run may have come and gone when its creation is this old, so the
// request ends then, however long the answer before it took.
func TestCreationEndsByWhenTheRunWasConfirmed(t *testing.T) {
	for name, e := range map[string]func() *errand{
		"after a claim": func() *errand {
			return &errand{Action: Action{Kind: Launch, Run: run("r").readAt(time.Now()).FlowRun}}
		},
		"after the claim was read again": func() *errand { return inHand(confirmedFor + time.Second) },
		"of a repair": func() *errand {
			return &errand{Action: Action{Kind: Repair, Run: submitted(2, ours("v1")).FlowRun}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := e()
				m := newMemory(run("r"))
				if e.claimed || e.Kind == Repair {
					m.set(submitted(2, ours("v1")))
				}
				l, world := alone(m)
				late := func() { time.Sleep(2 * time.Second) }
				world.after["read"], world.after["claim"] = late, late
				if o := l.perform(t.Context(), e); o.result != done {
					t.Fatalf("%s (%v), want %s", o.result, o.err, done)
				}
				if want := world.confirmed.Add(createWithin); !world.createBy.Equal(want) {
					t.Errorf("creation may last %s after the run was confirmed, want %s", world.createBy.Sub(world.confirmed), createWithin)
				}
			})
		})
	}
}

// A claim that was confirmed some time ago is read again before anything is made of
// it, be it a Job or a failure.
func TestClaimThatIsNotOursAnyMoreIsLeftAlone(t *testing.T) {
	elsewhere, abroad := ours("v1"), ours("v1")
	elsewhere.Namespace, abroad.NamespaceUID = "elsewhere", "there"
	for _, tc := range []struct {
		name string
		now  *runBuilder
		ours bool
	}{
		{"as it was", submitted(2, ours("v1")), true},
		{"claimed for another attempt", submitted(4, ours("v3")), false},
		{"claimed from another namespace", submitted(4, elsewhere), false},
		{"claimed from a namespace of that name in another cluster", submitted(4, abroad), false},
		{"submitted by an agent", submitted(4, nil), false},
		{"handed back", run("r").version(3), false},
		{"at work", submitted(3, ours("v1")).in(prefect.Running), false},
		{"finished", submitted(4, ours("v1")).in(prefect.Success), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.now)
				l, world := alone(m)
				create := l.perform(t.Context(), inHand(confirmedFor+time.Second))
				if want := tc.ours; create.result == done != want || len(world.store.created) > 0 != want {
					t.Errorf("to create: %s, created %q", create.result, world.store.created)
				}
				e := inHand(confirmedFor + time.Second)
				e.failure = "no such image"
				fail := l.perform(t.Context(), e)
				if want := tc.ours; fail.result == failed != want || len(m.writes) > 0 != want {
					t.Errorf("to fail: %s, wrote %q", fail.result, m.writes)
				}
				if !tc.ours && (create.result != overtaken || fail.result != overtaken) {
					t.Errorf("to create: %s, to fail: %s, want both %s", create.result, fail.result, overtaken)
				}
			})
		})
	}
}

// Handing back does harm to a run that has moved on, so it follows a read at once,
// even if the claim was confirmed just now.
// A launcher that was stopped after its claim, or whose first try got no answer, does
// not set Failed over what has happened since.
func TestRunIsFailedRightAfterItWasRead(t *testing.T) {
	for name, tc := range map[string]struct {
		now     *runBuilder
		stopped time.Duration // between reading and writing
		want    prefect.StateType
	}{
		"as it was":                    {submitted(2, ours("v1")), time.Second, prefect.Failed},
		"cancelled meanwhile":          {submitted(3, ours("v1")).in(prefect.Cancelled), 0, prefect.Cancelled},
		"stopped again after the read": {submitted(2, ours("v1")), claimWithin + 1, prefect.Submitted},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.now)
				l, world := alone(m)
				world.after["read"] = func() { time.Sleep(tc.stopped) }
				e := inHand(fresh + 1)
				e.failure = "it is wrong"
				l.perform(t.Context(), e)
				if s := m.get("r").State.Type; s != tc.want {
					t.Errorf("the run is %s, want %s", s, tc.want)
				}
			})
		})
	}
}

func TestRunIsHandedBackRightAfterItWasRead(t *testing.T) {
	for name, tc := range map[string]struct {
		now  *runBuilder
		want string
	}{
		"as it was":                     {submitted(2, ours("v1")), returned},
		"taken by a Job and its pod":    {submitted(3, ours("v1")).in(prefect.Running), overtaken},
		"claimed again, from elsewhere": {submitted(4, &prefect.Claim{Launcher: "other", Namespace: "flows", NamespaceUID: "there", Attempt: "v3"}), overtaken},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.now)
				l, world := alone(m)
				world.after["read"] = func() { time.Sleep(time.Second) }
				e := inHand(fresh)
				e.handBack = "a quota is full"
				if o := l.perform(t.Context(), e); o.result != tc.want {
					t.Fatalf("%s (%v), want %s", o.result, o.err, tc.want)
				}
				if tc.want != returned {
					if len(m.writes) > 0 {
						t.Errorf("wrote %q", m.writes)
					}
					return
				}
				if want := world.confirmed.Add(claimWithin); !world.handBackBy.Equal(want) {
					t.Errorf("handing back may be sent %s after the run was read, want %s", world.handBackBy.Sub(world.confirmed), claimWithin)
				}
			})
		})
	}
}

// setWall moves a time's wall clock and leaves its monotonic one, as no public
// function does: so looks a time from before the machine slept.
func setWall(t *testing.T, then time.Time, by time.Duration) time.Time {
	t.Helper()
	moved := then.Add(by)
	(*struct {
		wall      uint64
		monotonic int64
	})(unsafe.Pointer(&moved)).monotonic -= int64(by)
	if wall, monotonic := moved.Round(0).Sub(then.Round(0)), moved.Sub(then); wall != by || monotonic != 0 {
		t.Fatalf("the wall clock moved by %s and the monotonic one by %s: the layout of time.Time has changed", wall, monotonic)
	}
	return moved
}

func TestMachineThatSleptSendsNothingLate(t *testing.T) {
	soon := time.Now().Add(time.Second)
	if late := setWall(t, soon, -time.Hour); !prefect.TooLateToSend(prefect.WithSendBy(t.Context(), late)) {
		t.Error("a request may be sent an hour after its bound")
	}
}

func TestAgeTakesTheLongerOfTwoClocks(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct{ monotonic, wall, want time.Duration }{
		"both go on":                  {time.Second, time.Second, time.Second},
		"the machine slept":           {time.Second, time.Hour, time.Hour},
		"the wall clock was set back": {time.Minute, -time.Hour, time.Minute},
	} {
		if got := age(setWall(t, now.Add(-tc.monotonic), tc.monotonic-tc.wall), now); got != tc.want {
			t.Errorf("%s: age %s, want %s", name, got, tc.want)
		}
	}
}

// Deadlines of requests go by the monotonic clock, so a machine that slept between
// the last look at the run and the request would send it hours too late.
func TestNothingIsWrittenAfterTheMachineSlept(t *testing.T) {
	m := newMemory(run("r"))
	l, world := alone(m)
	e := inHand(time.Second)
	e.confirmed = setWall(t, e.confirmed, -time.Hour)
	e.job = jobOfRun("r")
	if err := l.create(t.Context(), e); err == nil || len(world.store.created) > 0 {
		t.Errorf("created %q, err %v", world.store.created, err)
	}
	if o, ok := l.claim(t.Context(), e); ok || o.result != overtaken || m.count("claim") > 0 { // and is decided on anew at once
		t.Errorf("sent %d claims: %s", m.count("claim"), o.result)
	}
}
