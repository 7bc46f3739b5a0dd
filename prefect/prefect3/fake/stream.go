package fake

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// stream is a client that listens to events.
type stream struct {
	filter *eventFilter
	queue  chan *event
}

// waiting is how many events may wait for a slow client before it loses some, as on the
// real server.
const waiting = 1000

func (st *stream) push(e *event) {
	select {
	case st.queue <- e:
	default:
	}
}

// greeting is what a client sends first, and then.
type greeting struct {
	Type     string       `json:"type"`
	Token    *string      `json:"token"`
	Backfill bool         `json:"backfill"`
	Filter   *eventFilter `json:"filter"`
}

// streamEvents is the server's event stream (prefect3 §6.2).
func (a *API) streamEvents(w http.ResponseWriter, r *http.Request) {
	a.connect(w, r, "GET /events/out", func(ctx context.Context, conn *websocket.Conn) {
		if filter, backfill := a.welcome(ctx, conn); filter != nil {
			a.serveStream(ctx, conn, &stream{filter: filter, queue: make(chan *event, waiting)}, backfill)
		}
	})
}

// takeStream is the socket that the real worker sends its events through. Nobody here reads them.
func (a *API) takeStream(w http.ResponseWriter, r *http.Request) {
	a.connect(w, r, "GET /events/in", func(ctx context.Context, conn *websocket.Conn) {
		for err := a.greet(ctx, conn); err == nil; {
			_, _, err = conn.Read(ctx)
		}
	})
}

// connect serves a client's connection for events until DropStreams cuts it.
func (a *API) connect(w http.ResponseWriter, r *http.Request, route string, serve func(context.Context, *websocket.Conn)) {
	a.count(route)
	if f := a.fault(route); f != nil {
		f.wait(r.Context())
		if f.strike(w) {
			return
		}
	}
	switch {
	case !a.version.since(withPrefect3): // the experiment is off
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	case !slices.Contains(r.Header.Values("Sec-Websocket-Protocol"), "prefect"):
		http.Error(w, "Forbidden", http.StatusForbidden)
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"prefect"}, InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer conn.CloseNow() //nolint:errcheck // it may be closed already
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := a.store
	s.mu.Lock()
	s.drops[conn] = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.drops, conn)
	}()
	serve(ctx, conn)
}

// greet takes a client's token, or closes the connection.
func (a *API) greet(ctx context.Context, conn *websocket.Conn) error {
	var hello greeting
	if err := wsjson.Read(ctx, conn, &hello); err != nil {
		return err
	}
	want := a.options.AuthString
	if a.options.Key != "" {
		want = a.options.Key
	}
	if want != "" && (hello.Token == nil || *hello.Token != want) {
		reason := "Invalid token"
		if hello.Token == nil || *hello.Token == "" {
			reason = "Auth required but no token provided"
		}
		conn.Close(websocket.StatusPolicyViolation, reason) //nolint:errcheck // the client may be gone
		return errors.New(reason)
	}
	return wsjson.Write(ctx, conn, map[string]string{"type": "auth_success"})
}

// welcome takes a client's token and filter, or closes the connection.
func (a *API) welcome(ctx context.Context, conn *websocket.Conn) (*eventFilter, bool) {
	if a.greet(ctx, conn) != nil {
		return nil, false
	}
	var hello greeting
	if _, text, err := conn.Read(ctx); err != nil || json.Unmarshal(text, &hello) != nil || hello.Type != "filter" || hello.Filter == nil {
		conn.Close(websocket.StatusProtocolError, "Invalid filter") //nolint:errcheck // the client may be gone
		return nil, false
	}
	return hello.Filter, hello.Backfill
}

// ticks is how often the services run while somebody listens.
const ticks = 200 * time.Millisecond

func (a *API) serveStream(ctx context.Context, conn *websocket.Conn, st *stream, backfill bool) {
	s := a.store
	s.mu.Lock()
	st.filter.opened = s.catchUp()
	for _, e := range s.events {
		if backfill && st.filter.takesLive(e) {
			st.push(e)
		}
	}
	s.streams[st] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.streams, st)
	}()
	ctx = conn.CloseRead(ctx) // answers pings
	tick := time.NewTicker(ticks)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.mu.Lock()
			s.catchUp()
			s.mu.Unlock()
		case e := <-st.queue:
			if err := wsjson.Write(ctx, conn, map[string]any{"type": "event", "event": e}); err != nil {
				return
			}
		}
	}
}

// Streams says how many clients listen to events.
func (a *API) Streams() int {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	return len(a.store.streams)
}

// DropStreams cuts the connections of all who listen to events or send some.
func (a *API) DropStreams() {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	for _, drop := range a.store.drops {
		drop()
	}
}
