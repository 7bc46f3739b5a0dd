package fake_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// stand speaks to a stand-in without a network.
type stand struct {
	*fake.API
	t      *testing.T
	header http.Header
}

func newStand(t *testing.T, o fake.Options) *stand {
	t.Helper()
	return &stand{API: fake.New(o), t: t, header: http.Header{}}
}

type fields = map[string]any

// call sends a request and returns the answer's status and its decoded body.
func (s *stand) call(method, path string, body any) (int, any) {
	s.t.Helper()
	resp, text := s.send(method, path, body)
	if len(text) == 0 {
		return resp.StatusCode, nil
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		s.t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	return resp.StatusCode, v
}

func (s *stand) send(method, path string, body any) (*http.Response, []byte) {
	s.t.Helper()
	resp, err := s.try(method, path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, text
}

func (s *stand) try(method, path string, body any) (*http.Response, error) {
	s.t.Helper()
	var in []byte
	if body != nil {
		in, _ = json.Marshal(body)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://prefect/api"+path, bytes.NewReader(in))
	if err != nil {
		s.t.Fatal(err)
	}
	maps.Copy(r.Header, s.header)
	return s.Transport().RoundTrip(r)
}

// ok is a call that has to succeed.
func (s *stand) ok(method, path string, body any) any {
	s.t.Helper()
	status, v := s.call(method, path, body)
	if status >= http.StatusMultipleChoices {
		s.t.Fatalf("%s %s: status %d: %v", method, path, status, v)
	}
	return v
}

// claim proposes PENDING and returns the server's word.
func (s *stand) claim(id, transition string) string {
	s.t.Helper()
	v := s.ok("POST", "/flow_runs/"+id+"/set_state", fields{"state": fields{"type": "PENDING", "state_details": fields{"transition_id": transition}}})
	return v.(fields)["status"].(string)
}

// offered are the runs that a worker of a pool would see.
func (s *stand) offered(pool string, body fields) []string {
	s.t.Helper()
	ids := []string{}
	for _, row := range s.ok("POST", "/work_pools/"+pool+"/get_scheduled_flow_runs", body).([]any) {
		ids = append(ids, row.(fields)["flow_run"].(fields)["id"].(string))
	}
	return ids
}

const (
	one = "11111111-1111-4111-8111-111111111111"
	two = "22222222-2222-4222-8222-222222222222"
)
