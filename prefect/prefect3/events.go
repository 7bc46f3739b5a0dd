package prefect3

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/prefect-keda/prefect-keda/backoff"
)

const (
	// pingEvery finds connections that are open at our end only: the server sends nothing
	// while there are no events.
	pingEvery = 20 * time.Second
	// openWithin bounds connecting, and the answer to a ping.
	openWithin = 10 * time.Second
	// maxFrame is the largest event that is read.
	maxFrame = 1 << 20
	// backfillFor is how far before the last event a new connection starts.
	backfillFor = time.Minute
	// listenFor is the end of the time that is listened to. Without one that lies ahead no
	// event ever comes (prefect3 §6.2).
	listenFor = 365 * 24 * time.Hour
	// eventsEvery is the pause between two looks while the stream of events is up. Runs by
	// schedule have no event of their own, but are there an hour before their time.
	eventsEvery = 15 * time.Second
	// cloudEvery is that pause at Cloud, which counts requests, while the stream is down.
	cloudEvery = 5 * time.Second
)

// afterEvent are the pauses between looks after an event. It comes before what it tells of
// can be read (prefect3 §6.2).
func afterEvent() []time.Duration {
	return []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 700 * time.Millisecond}
}

// ofRun begins the names of flow runs' events; the state's name is the rest.
const ofRun = "prefect.flow-run."

// freeing are the states in which a run frees its slot. They change demand only while runs
// are held back.
func freeing() []string { return []string{"Cancelled", "Completed", "Failed", "Crashed"} }

func freesSlot(event string) bool {
	name, ok := strings.CutPrefix(event, ofRun)
	return ok && slices.Contains(freeing(), name)
}

// eventNames are what changes demand: runs that wait or are being cancelled, runs that free
// a slot, and work pools that are paused or resumed.
func eventNames() []string {
	var names []string
	for _, of := range append([]string{nameScheduled, nameLate, nameRetry, nameAwaitsSlot, "Resuming", "Cancelling"}, freeing()...) {
		names = append(names, ofRun+of)
	}
	return append(names, "prefect.work-pool.ready", "prefect.work-pool.paused", "prefect.work-pool.not-ready", "prefect.work-pool.updated")
}

// PollEvery is how long demand may go unread: longer while the stream of events tells of
// it. Zero leaves it to the caller.
func (c *Client) PollEvery() time.Duration {
	switch {
	case c.events.Load():
		return eventsEvery
	case c.isCloud:
		return cloudEvery
	}
	return 0
}

// Notify listens to the stream of events until ctx ends, and calls changed when demand may
// have changed. It connects again and again: without the stream, changes are only seen
// later. changed must not block.
func (c *Client) Notify(ctx context.Context, changed func()) error {
	pauses := backoff.Growing{First: time.Second, Longest: time.Minute}
	var last time.Time
	for failures := 0; ; {
		began := time.Now()
		err := c.listen(ctx, last, changed)
		if c.events.Swap(false) {
			changed() // PollEvery has
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the caller ended it
		}
		last = time.Now()
		if failures++; time.Since(began) > time.Minute {
			failures = 1
		}
		c.log.DebugContext(ctx, "the stream of events ended", "failures", failures, "err", err)
		select {
		case <-time.After(backoff.Jitter(nil).Spread(pauses.After(failures), 0.5)):
		case <-ctx.Done():
			return nil
		}
	}
}

// listen is one connection. It starts with what has happened since last; zero for now.
func (c *Client) listen(ctx context.Context, last time.Time, changed func()) error {
	conn, err := c.open(ctx, last)
	if err != nil {
		return err
	}
	defer conn.CloseNow() //nolint:errcheck // it is over
	c.events.Store(true)
	events := make(chan struct{}, 1)
	events <- struct{}{} // what happened before the server listened to us
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return c.readEvents(ctx, conn, events) })
	all.Go(func() error { return ping(ctx, conn) })
	all.Go(func() error { return pass(ctx, events, changed) })
	return all.Wait()
}

// TryEvents opens the stream of events once, to see whether it can be.
func (c *Client) TryEvents(ctx context.Context) error {
	conn, err := c.open(ctx, time.Time{})
	if err != nil {
		return err
	}
	// A server that dislikes the filter hangs up; a ping tells whether it has.
	reading, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	err = conn.Ping(conn.CloseRead(reading))
	conn.CloseNow() //nolint:errcheck // it was only tried
	return err
}

// open connects, authenticates and says what to send.
func (c *Client) open(ctx context.Context, last time.Time) (conn *websocket.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	headers := http.Header{}
	c.wire.authorize(headers)
	headers.Set("User-Agent", c.wire.userAgent)
	conn, answer, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(c.wire.base, "http")+"/events/out", &websocket.DialOptions{ //nolint:bodyclose // the library says that it needs no closing
		HTTPClient: &http.Client{Transport: c.wire.Through()}, HTTPHeader: headers, Subprotocols: []string{"prefect"},
	})
	if err != nil {
		if answer != nil {
			return nil, fmt.Errorf("open the stream of events: HTTP %d", answer.StatusCode)
		}
		return nil, fmt.Errorf("open the stream of events: %s", c.wire.hide(err.Error()))
	}
	defer func() {
		if err != nil {
			conn.CloseNow() //nolint:errcheck // it failed
		}
	}()
	conn.SetReadLimit(maxFrame)
	var token any
	if t := c.wire.token(); t != "" {
		token = t
	}
	if err := wsjson.Write(ctx, conn, map[string]any{"type": "auth", "token": token}); err != nil {
		return conn, fmt.Errorf("authenticate at the stream of events: %w", err)
	}
	var greeting struct{ Type string }
	err = wsjson.Read(ctx, conn, &greeting)
	if websocket.CloseStatus(err) == websocket.StatusPolicyViolation || err == nil && greeting.Type != "auth_success" {
		return conn, &Error{Operation: "events", kind: auth, detail: "the stream was closed", cause: err}
	}
	if err != nil {
		return conn, fmt.Errorf("authenticate at the stream of events: %w", err)
	}
	if err := wsjson.Write(ctx, conn, eventFilter(last, time.Now())); err != nil {
		return conn, fmt.Errorf("say which events are wanted: %w", err)
	}
	return conn, nil
}

// eventFilter asks for the events of runs in work pools of our type, and of those pools.
// The stream ignores a filter of related resources; of the runs' own labels it takes the
// type of their pool (prefect3 §6.2).
func eventFilter(last, now time.Time) map[string]any {
	since := now.Add(-backfillFor)
	if !last.IsZero() {
		since = last.Add(-backfillFor)
	}
	return map[string]any{
		"type": "filter", "backfill": !last.IsZero(),
		"filter": map[string]any{
			"occurred":     map[string]any{"since": formatTime(since), "until": formatTime(now.Add(listenFor))},
			"event":        map[string]any{"name": eventNames()},
			"any_resource": map[string]any{"labels": map[string]any{"prefect.work-pool.type": []string{workerType}}},
		},
	}
}

// readEvents reads frames and drops those that tell nothing.
func (c *Client) readEvents(ctx context.Context, conn *websocket.Conn, events chan<- struct{}) error {
	var seen [64]uuid.UUID // a new connection starts with old events
	for n := 0; ; {
		_, text, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("read the stream of events: %w", err)
		}
		id, event, ok := eventIn(text)
		if !ok || isKnown(seen[:], id) || freesSlot(event) && !c.holds.Load() {
			continue
		}
		if event == ofRun+"Cancelling" {
			c.looks.stir()
		}
		seen[n%len(seen)] = id
		n++
		select {
		case events <- struct{}{}:
		default: // a look is due anyway
		}
	}
}

// eventIn is the event in a frame, if it is one.
func eventIn(text []byte) (id uuid.UUID, event string, ok bool) {
	var frame struct {
		Type  string
		Event struct {
			ID    uuid.UUID
			Event string
		}
	}
	if json.Unmarshal(text, &frame) != nil || frame.Type != "event" {
		return uuid.Nil, "", false
	}
	return frame.Event.ID, frame.Event.Event, true
}

func isKnown(seen []uuid.UUID, id uuid.UUID) bool {
	for _, s := range seen {
		if s == id && id != uuid.Nil {
			return true
		}
	}
	return false
}

func ping(ctx context.Context, conn *websocket.Conn) error {
	for {
		select {
		case <-time.After(pingEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
		bounded, cancel := context.WithTimeout(ctx, openWithin)
		err := conn.Ping(bounded)
		cancel()
		if err != nil {
			return fmt.Errorf("no answer to a ping: %w", err)
		}
	}
}

// pass calls changed for each event at once, but not before the shortest of the pauses is
// over, and again after each of them. An event meanwhile starts them anew.
func pass(ctx context.Context, events <-chan struct{}, changed func()) error {
	var left []time.Duration
	var next, gap <-chan time.Time
	news := events
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gap:
			news, gap = events, nil
			continue
		case <-news:
			left = afterEvent()
		case <-next:
			left = left[1:]
		}
		changed()
		news, next, gap = nil, nil, time.After(afterEvent()[0])
		if len(left) > 0 {
			next = time.After(left[0])
		}
	}
}
