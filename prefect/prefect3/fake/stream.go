package fake

import (
	"context"
	"encoding/json"
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
	drop   context.CancelFunc
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
	conn, ok := a.accept(w, r, "GET /events/out")
	if !ok {
		return
	}
	defer conn.CloseNow() //nolint:errcheck // it may be closed already
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if filter, backfill := a.welcome(ctx, conn); filter != nil {
		a.serveStream(ctx, conn, &stream{filter: filter, queue: make(chan *event, waiting), drop: cancel}, backfill)
	}
}

// takeStream is the socket that the real worker sends its events through. Nobody here reads them.
func (a *API) takeStream(w http.ResponseWriter, r *http.Request) {
	conn, ok := a.accept(w, r, "GET /events/in")
	if !ok {
		return
	}
	defer conn.CloseNow() //nolint:errcheck // it may be closed already
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s := a.store
	s.mu.Lock()
	s.senders[conn] = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.senders, conn)
	}()
	if !a.greet(ctx, conn) {
		return
	}
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			return
		}
	}
}

// accept takes a client's connection for events.
func (a *API) accept(w http.ResponseWriter, r *http.Request, route string) (conn *websocket.Conn, ok bool) {
	a.count(route)
	if f := a.fault(route); f != nil {
		f.wait(r.Context())
		if f.strike(w) {
			return nil, false
		}
	}
	switch {
	case !a.version.since(withPrefect3): // the experiment is off
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return nil, false
	case !slices.Contains(r.Header.Values("Sec-Websocket-Protocol"), "prefect"):
		http.Error(w, "Forbidden", http.StatusForbidden)
		return nil, false
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"prefect"}, InsecureSkipVerify: true})
	return conn, err == nil
}

// greet takes a client's token, or closes the connection.
func (a *API) greet(ctx context.Context, conn *websocket.Conn) bool {
	var hello greeting
	if err := wsjson.Read(ctx, conn, &hello); err != nil {
		return false
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
		return false
	}
	return wsjson.Write(ctx, conn, map[string]string{"type": "auth_success"}) == nil
}

// welcome takes a client's token and filter, or closes the connection.
func (a *API) welcome(ctx context.Context, conn *websocket.Conn) (*eventFilter, bool) {
	if !a.greet(ctx, conn) {
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
	for st := range a.store.streams {
		st.drop()
	}
	for _, drop := range a.store.senders {
		drop()
	}
}
