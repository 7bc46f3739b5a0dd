package prefect3

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// Whatever a server calls its version, versions have one order.
func FuzzVersions(f *testing.F) {
	f.Add("3.9.1", "3.10.0rc1", "2.20")
	f.Add("", "3..1", "99999999999999999999.1")
	f.Add("-1.2", "3.4.0+g12", "v3")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		switch {
		case less(a, a):
			t.Fatalf("%q is less than itself", a)
		case less(a, b) && less(b, a):
			t.Fatalf("%q and %q are less than each other", a, b)
		case less(a, b) && less(b, c) && !less(a, c):
			t.Fatalf("%q, %q and %q have no order", a, b, c)
		case less(a, a+".0") || less(a+".0", a):
			t.Fatalf("%q.0 is another version", a)
		}
	})
}

// Whatever a proxy answers, it is an error of a kind that fits the status, in words that
// were bounded, and the pause that it asks for is one.
func FuzzErrors(f *testing.F) {
	f.Add(429, "1.5", `{"detail":"slow down"}`)
	f.Add(404, "", `{"detail":"Not Found"}`)
	f.Add(422, "NaN", `{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body"],"msg":"x"}]}`)
	f.Add(503, "Fri, 31 Dec 9999 23:59:59 GMT", "<html>")
	f.Add(204, "-1", "")
	f.Add(301, "1e400", `{"detail":{"a":1}}`)
	f.Fuzz(func(t *testing.T, status int, header, text string) {
		if pause := retryAfter(header, time.Now()); pause < 0 || pause > exchange.MaxRetryAfter {
			t.Fatalf("%q asks for %s", header, pause)
		}
		e := classify(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {header}}}, []byte(text))
		if (e == nil) != (status >= 200 && status < 300) {
			t.Fatalf("%d is %v", status, e)
		}
		if e == nil {
			return
		}
		if len(e.detail) > len(text)+2 { // two spaces between three members
			t.Fatalf("%q grows to %q", text, e.detail)
		}
		switch {
		case e.Is(prefect.ErrAuth) && status != http.StatusUnauthorized && status != http.StatusForbidden,
			e.Is(prefect.ErrNotFound) && status != http.StatusNotFound,
			e.Temporary() && status >= 200 && status < 400,
			!e.Temporary() && status >= 500:
			t.Fatalf("%d is %+v", status, e)
		}
	})
}

// A frame of the stream is an event or is none; one that is read means the same when it
// comes in the form that servers give it.
func FuzzEvent(f *testing.F) {
	f.Add(`{"type":"event","event":{"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","event":"prefect.flow-run.Late"}}`)
	f.Add(`{"type":"event","event":null}`)
	f.Add(`{"type":"event","event":{"id":"{6ba7b810-9dad-11d1-80b4-00c04fd430c8}","event":"\ud800"}}`)
	f.Add(`{"TYPE":"event","event":{"id":"","event":1}}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		id, event, ok := eventIn([]byte(text))
		if !ok {
			if id != uuid.Nil || event != "" {
				t.Fatalf("no event, and yet %s %q", id, event)
			}
			return
		}
		frame, err := json.Marshal(map[string]any{"type": "event", "event": map[string]any{"id": id, "event": event}})
		if err != nil {
			t.Fatal(err)
		}
		sameID, same, ok := eventIn(frame)
		if !ok || sameID != id || same != event {
			t.Fatalf("%s %q comes back as %s %q, %v", id, event, sameID, same, ok)
		}
		seen := []uuid.UUID{id}
		if isKnown(seen, id) != (id != uuid.Nil) {
			t.Fatalf("%s is known: %v", id, isKnown(seen, id))
		}
	})
}

// A state is kept as it came. It can be proposed again if it has a type, and never leaves
// the texts that the database cannot keep in ours.
func FuzzState(f *testing.F) {
	f.Add(`{"id":"1","type":"SCHEDULED","name":"AwaitingRetry","message":"x (returned 3 times)","timestamp":"2026-11-28T11:32:13.491545Z","state_details":{"scheduled_time":"2026-11-28T12:00:00+00:00"}}`)
	f.Add(`{"type":"PENDING","state_details":{"deployment_concurrency_lease_id":"a"},"data":{"a":[1.0,1e3]}}`)
	f.Add(`{"type":"FAILED","state_details":null,"message":"\u0000"}`)
	f.Add(`null`)
	f.Add(`{"type":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		var s state
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		domain := s.domain()
		if string(domain.Opaque) != strings.Trim(text, " \t\r\n") && text != "null" && domain.Opaque != nil {
			t.Fatalf("%q is kept as %q", text, domain.Opaque)
		}
		p, err := restorable(domain)
		if err == nil && s.Type == "" {
			t.Fatalf("%q can be restored to %+v", text, p)
		}
		if kept := storable(s.Message); strings.Contains(kept, "\x00") || len(kept) > maxText+len("…") || storable(kept) != kept {
			t.Fatalf("%q is stored as %q", s.Message, kept)
		}
		var again state
		written, err := json.Marshal(domain.Opaque)
		if err != nil || len(domain.Opaque) == 0 {
			return
		}
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatal(err)
		}
		again.raw = s.raw // white space
		if d := cmp.Diff(s, again, cmp.AllowUnexported(state{}), cmp.Comparer(func(a, b moment) bool { return a.Equal(b.Time) })); d != "" {
			t.Fatalf("-read +read again:\n%s", d)
		}
	})
}
