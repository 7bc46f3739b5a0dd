package prefect3_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// listening is a client that listens to a stand-in's events, on a real connection.
type listening struct {
	*prefect3.Client
	t       *testing.T
	changes chan struct{}
	count   atomic.Int64
}

func listen(t *testing.T, api *fake.API, o prefect3.Options) *listening {
	t.Helper()
	o.API = api.Start(t)
	c, err := prefect3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l := &listening{Client: c, t: t, changes: make(chan struct{}, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- c.Notify(ctx, func() {
			l.count.Add(1)
			l.changes <- struct{}{}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	return l
}

// next waits for a change. The time-out is only for a test that fails.
func (l *listening) next(what string) {
	l.t.Helper()
	select {
	case <-l.changes:
	case <-time.After(time.Minute):
		l.t.Fatalf("no change is told after %s", what)
	}
}

// four waits for a change and the three looks after it.
func (l *listening) four(what string) {
	l.t.Helper()
	for range 4 {
		l.next(what)
	}
}

// connected waits until the server sends events.
func (l *listening) connected(api *fake.API) {
	for api.Streams() == 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestNotify(t *testing.T) {
	api := fake.New(fake.Options{AuthString: "user:word"})
	l := listen(t, api, prefect3.Options{AuthString: "user:word"})
	if l.PollEvery() != 0 && l.count.Load() == 0 {
		t.Error("before it is connected polls are rare")
	}
	if err := l.TryEvents(t.Context()); err != nil {
		t.Errorf("the stream cannot be opened: %v", err)
	}
	l.four("connecting")
	l.connected(api)
	if l.PollEvery() == 0 {
		t.Error("once connected polls are as frequent as before")
	}
	later := time.Now().Add(time.Hour) // none of them becomes late
	id := api.CreateRuns(fake.Order{Pool: "k8s", At: later})[0]
	l.four("a run was created")
	api.CreatePool(fake.Pool{Name: "docker", Type: "docker"})
	api.CreateRuns(fake.Order{Pool: "docker", At: later})
	api.Begin(id)
	api.End(id, "COMPLETED", "") // frees a slot that nobody waits for
	other := api.CreateRuns(fake.Order{Pool: "k8s", At: later})[0]
	l.four("another run was created")
	api.Propose(other, fake.Proposal{Type: "PENDING"})
	api.Cancel(other)
	l.four("a run is being cancelled")
	if n := l.count.Load(); n != 16 {
		t.Errorf("%d changes were told, want 16", n)
	}

	// While runs are held back, an end tells of a free slot.
	api.CreatePool(fake.Pool{Name: "full", Limit: new(0)})
	api.CreateRuns(fake.Order{Pool: "full", At: later})
	l.four("a run waits for a slot")
	if o, err := l.Observe(t.Context(), later.Add(time.Hour)); err != nil || len(o.Held) != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	api.End(other, "CANCELLED", "")
	l.four("a run has ended")
}

// A run that is being cancelled is in the first look after the event, however new the last one
// is: nobody else may end it.
func TestEventOfACancelledRunIsLookedAt(t *testing.T) {
	api := fake.New(fake.Options{})
	l := listen(t, api, prefect3.Options{})
	l.four("connecting")
	l.connected(api)
	id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0]
	l.four("a run was created")
	win(t, l.Client, id)
	if o := observe(t, l.Client); len(o.Ending) > 0 {
		t.Fatalf("ending: %+v", o.Ending)
	}
	api.Cancel(id)
	l.next("a run is being cancelled")
	if o := observe(t, l.Client); len(o.Ending) != 1 {
		t.Errorf("ending: %+v", o.Ending)
	}
}

// A stream that breaks is opened again, and what happened meanwhile is told.
func TestNotifyReconnects(t *testing.T) {
	api := fake.New(fake.Options{})
	l := listen(t, api, prefect3.Options{})
	l.four("connecting")
	l.connected(api)
	api.Restart()
	l.next("the stream is gone")
	if l.PollEvery() != 0 {
		t.Error("without the stream polls are rare")
	}
	l.next("connecting again")
	if l.PollEvery() == 0 {
		t.Error("once connected again polls are frequent")
	}
}

// Without events, and with a key that is refused, nothing is told, and all else goes on.
func TestNotifyWithoutEvents(t *testing.T) {
	for name, tc := range map[string]struct {
		server fake.Options
		client prefect3.Options
	}{
		"an old server": {server: fake.Options{Version: "2.20.26"}},
		"a wrong key":   {server: fake.Options{AuthString: "user:word"}, client: prefect3.Options{AuthString: "user:other"}},
	} {
		t.Run(name, func(t *testing.T) {
			api := fake.New(tc.server)
			l := listen(t, api, tc.client)
			for api.Counts()["GET /events/out"] < 2 {
				time.Sleep(10 * time.Millisecond)
			}
			if err := l.TryEvents(t.Context()); err == nil || errors.Is(err, prefect.ErrAuth) != (name == "a wrong key") {
				t.Errorf("the stream is tried: %v", err)
			}
			if l.PollEvery() != 0 || l.count.Load() > 0 {
				t.Errorf("polls are every %s, and %d changes were told", l.PollEvery(), l.count.Load())
			}
		})
	}
}
