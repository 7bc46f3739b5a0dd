package servertest

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// heardWithin is how long a test waits for what has to come.
const heardWithin = 30 * time.Second

// stream is the events that a server tells of at once (prefect3 §6.2).
func stream(s *suite) {
	address := strings.Replace(s.URL, "http", "ws", 1) + "/events/out"
	ctx, cancel := context.WithTimeout(s.Context(), heardWithin)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{Subprotocols: []string{"prefect"}}) //nolint:bodyclose // the library closes it
	if !s.since("3.0.0") {
		if err == nil {
			s.Error("Prefect 2 has a stream")
		}
		return
	}
	if err != nil {
		s.Error(err)
		return
	}
	defer conn.CloseNow() //nolint:errcheck // the test is over
	var hello object
	say := func(v any) {
		if err := wsjson.Write(ctx, conn, v); err != nil {
			s.Error(err)
		}
	}
	say(object{"type": "auth", "token": nil})
	if err := wsjson.Read(ctx, conn, &hello); err != nil || hello["type"] != "auth_success" {
		s.Error("welcome:", hello, err)
	}
	names := []string{}
	for _, name := range []string{"Scheduled", "Cancelling", "Pending"} {
		names = append(names, "prefect.flow-run."+name)
	}
	say(object{"type": "filter", "backfill": false, "filter": object{
		"occurred":     object{"since": time.Now().Add(-time.Minute), "until": time.Now().Add(time.Hour)},
		"event":        object{"name": names},
		"any_resource": object{"labels": object{"prefect.work-pool.type": []string{"kubernetes"}}},
	}})
	time.Sleep(time.Second) // nothing says that the filter is in place
	id := s.now()
	s.claim(id)
	s.propose(id, "CANCELLING")
	heard := []string{}
	for len(heard) < len(names) {
		var frame struct {
			Type  string
			Event struct {
				ID       string
				Event    string
				Resource map[string]string
				Payload  struct {
					State object `json:"validated_state"`
				}
			}
		}
		if err := wsjson.Read(ctx, conn, &frame); err != nil {
			s.Error("heard", heard, "and then:", err)
			return
		}
		e := frame.Event
		if e.Resource["prefect.resource.id"] != "prefect.flow-run."+id {
			continue
		}
		heard = append(heard, e.Event)
		if e.Resource["prefect.state-type"] != e.Payload.State["type"] || e.ID == "" {
			s.Errorf("event: %+v", e)
		}
	}
	if last := s.ok(http.MethodGet, "/flow_runs/"+id, nil).(object)["state_type"]; last != "CANCELLING" {
		s.Error(last)
	}
}
