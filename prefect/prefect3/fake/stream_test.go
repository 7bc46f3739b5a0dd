package fake_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"go.uber.org/goleak"

	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen opens the event stream with a filter.
func listen(t *testing.T, url string, token any, filter fields) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(url, "http", "ws", 1)+"/events/out", &websocket.DialOptions{Subprotocols: []string{"prefect"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	for _, v := range []any{fields{"type": "auth", "token": token}, fields{"type": "filter", "backfill": false, "filter": filter}} {
		if err := wsjson.Write(t.Context(), conn, v); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// heard is the next frame's event, or the frame's type.
func heard(ctx context.Context, conn *websocket.Conn) string {
	var frame struct {
		Type  string `json:"type"`
		Event struct {
			Event string `json:"event"`
		} `json:"event"`
	}
	if err := wsjson.Read(ctx, conn, &frame); err != nil {
		return err.Error()
	}
	if frame.Type == "event" {
		return frame.Event.Event
	}
	return frame.Type
}

// The real worker sends its events through a socket of its own, and does not ask for work before
// that is open.
func TestEventsAreTaken(t *testing.T) {
	api := fake.New(fake.Options{AuthString: "u:p"})
	address := strings.Replace(api.Start(t), "http", "ws", 1) + "/events/in"
	open := func(token string) (*websocket.Conn, string) {
		conn, _, err := websocket.Dial(t.Context(), address, &websocket.DialOptions{Subprotocols: []string{"prefect"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.CloseNow() })
		if err := wsjson.Write(t.Context(), conn, fields{"type": "auth", "token": token}); err != nil {
			t.Fatal(err)
		}
		return conn, heard(t.Context(), conn)
	}
	conn, got := open("u:p")
	if got != "auth_success" {
		t.Fatal(got)
	}
	if err := wsjson.Write(t.Context(), conn, fields{"event": "prefect.worker.submitted-flow-run"}); err != nil {
		t.Error(err)
	}
	if _, got := open("u:q"); !strings.Contains(got, "Invalid token") {
		t.Error(got, "instead of Invalid token")
	}
	api.DropStreams()
	if got := heard(t.Context(), conn); !strings.Contains(got, "EOF") && !strings.Contains(got, "reset") {
		t.Error(got, "instead of the end of the connection")
	}
}

func TestEventStream(t *testing.T) {
	api := fake.New(fake.Options{AuthString: "u:p"})
	url := api.Start(t)
	api.CreatePool(fake.Pool{Name: "docker", Type: "docker"})
	api.CreatePool(fake.Pool{Name: "p"})
	until := fields{"until": time.Now().Add(time.Hour)}
	pools := fields{"labels": fields{"prefect.work-pool.type": []string{"kubernetes"}}}
	conn := listen(t, url, "u:p", fields{"occurred": until, "any_resource": pools})
	deaf := listen(t, url, "u:p", fields{"any_resource": pools})
	if got := heard(t.Context(), conn); got != "auth_success" {
		t.Fatal(got)
	}
	for api.Streams() < 2 {
		time.Sleep(time.Millisecond)
	}
	api.CreateRuns(fake.Order{Pool: "docker"})
	id := api.CreateRuns(fake.Order{Pool: "p"})[0]
	api.Propose(id, fake.Proposal{Type: "PENDING", Name: "Mine"})
	for _, want := range []string{"prefect.flow-run.Scheduled", "prefect.flow-run.Mine"} {
		if got := heard(t.Context(), conn); got != want {
			t.Error(got, "instead of", want)
		}
	}
	api.DropStreams()
	if got := heard(t.Context(), conn); !strings.Contains(got, "EOF") && !strings.Contains(got, "reset") {
		t.Error("after the connection was cut:", got)
	}
	if got := heard(t.Context(), deaf); got != "auth_success" {
		t.Fatal(got)
	}
	if got := heard(t.Context(), deaf); strings.HasPrefix(got, "prefect.") {
		t.Error("a filter that ends now hears", got)
	}
	if got := heard(t.Context(), listen(t, url, "u:q", fields{})); !strings.Contains(got, "1008") && !strings.Contains(got, "StatusPolicyViolation") {
		t.Error("a wrong token:", got)
	}
}
