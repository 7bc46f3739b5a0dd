// Package servertest is what a Prefect server does with claims, limits and leases, as
// tests over its REST API. Real servers pass them (e2e/conformance) and so does the
// stand-in, so what the product's tests learn from the stand-in holds for real servers. It
// knows none of our clients.
package servertest

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Server is a server under test.
type Server struct {
	// URL of the API, with /api.
	URL string
	// Transport reaches it; nil for the network.
	Transport http.RoundTripper
	// Version of the server, as in 3.9.1.
	Version string
	// Wait lets time pass, on the server's clock.
	Wait func(time.Duration)
	// Lease is how long a claim holds a deployment's slot.
	Lease time.Duration
	// Restart stops the server and starts it again; nil to leave that out.
	Restart func()
}

// Run runs all tests. Those that wait do so together, at the end.
func Run(t *testing.T, of Server) {
	s := &suite{T: t, Server: of, client: &http.Client{Transport: of.Transport, CheckRedirect: asIs}, tag: hex()}
	if of.Transport == nil {
		// A real server cuts idle connections now and then.
		s.client.Transport = &http.Transport{DisableKeepAlives: true}
	}
	s.flow = s.text("id", s.ok(http.MethodPost, "/flows/", object{"name": "flow-" + s.tag}))
	s.pool = s.newPool("plain", nil)
	s.deployment = s.deploy(nil)
	for _, part := range []struct {
		name string
		test func(*suite)
	}{
		{"transitions", transitions},
		{"claims", claims},
		{"cancelling", cancelling},
		{"races", races},
		{"offers", offers},
		{"slots", slots},
		{"lists", lists},
		{"conventions", conventions},
		{"stream", stream},
		{"later", later},
		{"restart", restart},
	} {
		began := time.Now()
		t.Run(part.name, func(t *testing.T) {
			inner := *s
			inner.T = t
			part.test(&inner)
		})
		t.Logf("%s: %s", part.name, time.Since(began).Round(time.Millisecond))
	}
}

// asIs leaves redirects to the test.
func asIs(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// suite is the surroundings of one test.
type suite struct {
	*testing.T
	Server
	client *http.Client
	// tag makes names unique on a server that is used again.
	tag string
	// flow and deployment by id, pool by name: plain ones without limits.
	flow, deployment, pool string
}

type object = map[string]any

// since reports whether the server is of that version or newer.
func (s *suite) since(version string) bool {
	var has, want [3]int
	fmt.Sscanf(s.Version, "%d.%d.%d", &has[0], &has[1], &has[2])  //nolint:errcheck // what is missing is zero
	fmt.Sscanf(version, "%d.%d.%d", &want[0], &want[1], &want[2]) //nolint:errcheck // likewise
	return cmp.Or(has[0]-want[0], has[1]-want[1], has[2]-want[2]) >= 0
}

// hex is a short random word.
func hex() string {
	var b [4]byte
	rand.Read(b[:])
	return fmt.Sprintf("%x", b)
}

// uuid is a new random one.
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// tries is how often a request is sent to a server that is busy.
const tries = 20

// send sends a request, again when the server is busy or cuts the connection. It reads and
// closes the answer's body.
func (s *suite) send(method, path string, body any, header ...string) (*http.Response, []byte) {
	s.Helper()
	in, err := json.Marshal(body)
	if err != nil {
		s.Fatal(err)
	}
	for range tries {
		r, err := http.NewRequestWithContext(s.Context(), method, s.URL+path, bytes.NewReader(in))
		if err != nil {
			s.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := s.client.Do(r)
		if err == nil && resp.StatusCode != http.StatusServiceUnavailable {
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				s.Fatal(err)
			}
			return resp, text
		}
		if err == nil {
			resp.Body.Close()
		} else if s.Context().Err() != nil {
			break
		} else {
			s.Logf("%s %s: %v", method, path, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.Fatalf("%s %s: no answer", method, path)
	return nil, nil
}

// call returns an answer's status and its decoded body.
func (s *suite) call(method, path string, body any, header ...string) (int, any) {
	s.Helper()
	resp, text := s.send(method, path, body, header...) //nolint:bodyclose // send has closed it
	var v any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &v); err != nil {
			s.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
	return resp.StatusCode, v
}

// ok is a call that has to succeed.
func (s *suite) ok(method, path string, body any, header ...string) any {
	s.Helper()
	status, v := s.call(method, path, body, header...)
	if status >= http.StatusMultipleChoices {
		s.Fatalf("%s %s: status %d: %v", method, path, status, v)
	}
	return v
}

func (s *suite) text(name string, v any) string {
	s.Helper()
	row, _ := v.(object)
	text, is := row[name].(string)
	if !is {
		s.Fatalf("no text %q in %v", name, v)
	}
	return text
}

// newPool makes a work pool and returns its name.
func (s *suite) newPool(name string, limit any) string {
	s.Helper()
	name += "-" + s.tag
	s.ok(http.MethodPost, "/work_pools/", object{"name": name, "type": "kubernetes", "concurrency_limit": limit})
	return name
}

// deploy makes a deployment in the plain pool, with more settings, and returns its id.
func (s *suite) deploy(more object) string {
	s.Helper()
	body := object{
		"name": "d-" + hex(), "flow_id": s.flow, "work_pool_name": s.pool, "work_queue_name": "default", "enforce_parameter_schema": false,
	}
	maps.Copy(body, more)
	return s.text("id", s.ok(http.MethodPost, "/deployments/", body))
}

// schedule makes a run of a deployment and returns its id.
func (s *suite) schedule(deployment string, at time.Time) string {
	s.Helper()
	state := object{"type": "SCHEDULED"}
	if !at.IsZero() {
		state["state_details"] = object{"scheduled_time": at}
	}
	return s.text("id", s.ok(http.MethodPost, "/deployments/"+deployment+"/create_flow_run", object{"state": state, "idempotency_key": uuid()}))
}

// now makes a run of the plain deployment that is due.
func (s *suite) now() string {
	s.Helper()
	return s.schedule(s.deployment, time.Time{})
}

// clock is the server's time, as far as anybody outside knows it.
func (s *suite) clock() time.Time {
	s.Helper()
	at, err := time.Parse(time.RFC3339Nano, s.text("timestamp", s.state(s.now())))
	if err != nil {
		s.Fatal(err)
	}
	return at
}

func (s *suite) run(id string) object {
	s.Helper()
	return s.ok(http.MethodGet, "/flow_runs/"+id, nil).(object)
}

func (s *suite) state(id string) object {
	s.Helper()
	return s.run(id)["state"].(object)
}

// answer is what a server says to a proposal.
type answer struct {
	Status, Reason      string
	Type, Name, Message string
	Transition, Lease   string
	Scheduled           bool
	Delay               float64
}

// pod is the User-Agent of a Prefect client that renews its lease.
const pod = "prefect/3.9.1 (API 0.8.4)"

// propose sends a state. Members of its details begin with a dot. An empty value is left
// out.
func (s *suite) propose(id, kind string, more ...string) answer {
	s.Helper()
	return s.proposeAs("servertest", id, kind, more...)
}

func (s *suite) proposeAs(agent, id, kind string, more ...string) answer {
	s.Helper()
	details, state, force := object{}, object{"type": kind}, false
	for i := 0; i+1 < len(more); i += 2 {
		name, value := more[i], more[i+1]
		switch {
		case name == "force":
			force = true
		case value == "": // also takes back what came before
			delete(details, strings.TrimPrefix(name, "."))
		case strings.HasPrefix(name, "."):
			details[name[1:]] = value
		default:
			state[name] = value
		}
	}
	if kind == "PAUSED" {
		details["pause_timeout"], details["pause_key"] = time.Now().Add(10*time.Minute), hex()
		details["pause_reschedule"] = state["name"] == "Suspended"
	}
	state["state_details"] = details
	return s.answered(s.ok(http.MethodPost, "/flow_runs/"+id+"/set_state", object{"state": state, "force": force}, "User-Agent", agent))
}

func (s *suite) answered(v any) answer {
	s.Helper()
	row := v.(object)
	out := answer{Status: row["status"].(string)}
	about, _ := row["details"].(object)
	out.Reason, _ = about["reason"].(string)
	out.Delay, _ = about["delay_seconds"].(float64)
	if state, is := row["state"].(object); is {
		out.Type, _ = state["type"].(string)
		out.Name, _ = state["name"].(string)
		out.Message, _ = state["message"].(string)
		details, _ := state["state_details"].(object)
		out.Transition, _ = details["transition_id"].(string)
		out.Lease, _ = details["deployment_concurrency_lease_id"].(string)
		_, out.Scheduled = details["scheduled_time"].(string)
	}
	return out
}

// claim proposes PENDING with a new transition id.
func (s *suite) claim(id string) answer {
	s.Helper()
	return s.propose(id, "PENDING", "name", "Pending", ".transition_id", uuid())
}
