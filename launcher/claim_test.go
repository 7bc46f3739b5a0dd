package launcher

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
)

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
			if r.State.Phase.IsRunning() {
				kind = Relaunch
			}
			o := carriedOut(t, l, Action{Kind: kind, Run: r.readAt(time.Now()).FlowRun})
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
		}{{claims.SendWithin - time.Second, done}, {claims.SendWithin + time.Second, overtaken}} {
			m := newMemory(run("r"))
			l, world := alone(m)
			world.after["read"] = func() { time.Sleep(tc.took) }
			o := carriedOut(t, l, Action{Kind: Launch, Run: run("r").readAt(time.Now().Add(-2 * claims.MaxAge)).FlowRun})
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
			{claims.SendWithin, map[string]int{"claim": 1}},
			{claims.SendWithin + time.Second, map[string]int{"claim": 1, "read": 1}}, // before the Job is created
			{confirmedFor + time.Second, map[string]int{"claim": 1, "read": 1}},
		} {
			m := newMemory(run("r"))
			l, world := alone(m)
			world.before["claim"] = func() { m.slow(tc.took) }
			world.after["claim"] = func() { m.slow(0) }
			o := carriedOut(t, l, Action{Kind: Launch, Run: run("r").readAt(time.Now()).FlowRun})
			if diff := cmp.Diff(tc.want, m.asked); diff != "" || o.result != done {
				t.Errorf("answered after %s: %s (%v), requests (-want +got):\n%s", tc.took, o.result, o.err, diff)
			}
		}
	})
}

// A launcher that is stopped between the read and the write does not send it.
func TestStateIsNotSetLate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").in("Success"))
		l, _ := alone(m)
		run, read := inFlight(l, 0), time.Now()
		call, cancel := claims.Writing(t.Context(), read)
		defer cancel()
		time.Sleep(claims.SendWithin + time.Second)
		if r, err := m.Claim(call, run.run, run.claim); err != nil || r.Answer != prefect.NotNow {
			t.Errorf("the claim is %s (%v)", r.Answer, err)
		}
		if err := m.Fail(call, run.run, prefect.Failure{}); !errors.Is(err, errUnsent) {
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
	for name, tc := range map[string]struct {
		run    *runBuilder
		launch func(*testing.T, *Launcher) outcome
	}{
		"after a claim": {run("r"), func(t *testing.T, l *Launcher) outcome {
			return carriedOut(t, l, Action{Kind: Launch, Run: run("r").readAt(time.Now()).FlowRun})
		}},
		"after the claim was read again": {submitted(2, ours("v1")), func(t *testing.T, l *Launcher) outcome {
			return inFlight(l, confirmedFor+time.Second).finish(t.Context())
		}},
		"of a repair": {submitted(2, ours("v1")), func(t *testing.T, l *Launcher) outcome {
			return carriedOut(t, l, repairOf(ours("v1")))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l, world := alone(newMemory(tc.run))
				late := func() { time.Sleep(2 * time.Second) }
				world.after["read"], world.after["claim"] = late, late
				if o := tc.launch(t, l); o.result != done {
					t.Fatalf("%s (%v), want %s", o.result, o.err, done)
				}
				if want := world.confirmed.Add(claims.CreateWithin); !world.createBy.Equal(want) {
					t.Errorf("creation may last %s after the run was confirmed, want %s", world.createBy.Sub(world.confirmed), claims.CreateWithin)
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
		{"at work", submitted(3, ours("v1")).in("Running"), false},
		{"finished", submitted(4, ours("v1")).in("Success"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.now)
				l, world := alone(m)
				create := inFlight(l, confirmedFor+time.Second).finish(t.Context())
				if want := tc.ours; create.result == done != want || len(world.store.created) > 0 != want {
					t.Errorf("to create: %s, created %q", create.result, world.store.created)
				}
				fail := failing(l, confirmedFor+time.Second, "no such image").finish(t.Context())
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
		want    string
	}{
		"as it was":                    {submitted(2, ours("v1")), time.Second, "Failed"},
		"cancelled meanwhile":          {submitted(3, ours("v1")).in("Cancelled"), 0, "Cancelled"},
		"stopped again after the read": {submitted(2, ours("v1")), claims.SendWithin + 1, "Submitted"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.now)
				l, world := alone(m)
				world.after["read"] = func() { time.Sleep(tc.stopped) }
				failing(l, claims.MaxAge+1, "it is wrong").finish(t.Context())
				if s := m.get("r").State.Name; s != tc.want {
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
		"as it was":                     {submitted(2, ours("v1")), handedBack},
		"taken by a Job and its pod":    {submitted(3, ours("v1")).in("Running"), overtaken},
		"claimed again, from elsewhere": {submitted(4, &prefect.Claim{Launcher: "other", Namespace: "flows", NamespaceUID: "there", Attempt: "v3"}), overtaken},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.now)
				l, world := alone(m)
				world.after["read"] = func() { time.Sleep(time.Second) }
				if o := inFlight(l, claims.MaxAge).handItBack(t.Context(), "a quota is full"); o.result != tc.want {
					t.Fatalf("%s (%v), want %s", o.result, o.err, tc.want)
				}
				if tc.want != handedBack {
					if len(m.writes) > 0 {
						t.Errorf("wrote %q", m.writes)
					}
					return
				}
				if want := world.confirmed.Add(claims.SendWithin); !world.handBackBy.Equal(want) {
					t.Errorf("handing back may be sent %s after the run was read, want %s", world.handBackBy.Sub(world.confirmed), claims.SendWithin)
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
		if got := claims.Age(setWall(t, now.Add(-tc.monotonic), tc.monotonic-tc.wall), now); got != tc.want {
			t.Errorf("%s: age %s, want %s", name, got, tc.want)
		}
	}
}

// Deadlines of requests go by the monotonic clock, so a machine that slept between
// the last look at the run and the request would send it hours too late.
func TestNothingIsWrittenAfterTheMachineSlept(t *testing.T) {
	m := newMemory(run("r"))
	l, world := alone(m)
	e := inFlight(l, time.Second)
	e.confirmed = setWall(t, e.confirmed, -time.Hour)
	e.made.Job = jobOfRun("r")
	if err := e.sendJob(t.Context()); err == nil || len(world.store.created) > 0 {
		t.Errorf("created %q, err %v", world.store.created, err)
	}
	if o := e.unclaimed(e.sendClaim(t.Context())); o.result != overtaken || m.count("claim") > 0 { // and is decided on anew at once
		t.Errorf("sent %d claims: %s", m.count("claim"), o.result)
	}
}

func TestRefusedClaimIsNotNowAndNotNever(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now()))
		m.locks["r"] = time.Now() // submitted and rescheduled within the server's 30 s
		b := start(t, m)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs after the lock was gone, want 1", len(b.jobs()))
		}
		if claims := m.count("claim"); claims > 9 {
			t.Errorf("claimed %d times in 30 s, want about every 5 s", claims)
		}
		b.stop()
	})
}
