package prefecttest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// unknown is an id of nothing.
const unknown = "00000000-0000-0000-0000-000000000001"

// stand is a stand-in API with a clock that the test moves.
type stand struct {
	*prefecttest.API
	t       *testing.T
	now     time.Time
	headers map[string]string
}

func newStand(t *testing.T, o prefecttest.Options) *stand {
	t.Helper()
	s := &stand{t: t, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), headers: map[string]string{}}
	o.Now = func() time.Time { return s.now }
	s.API = prefecttest.New(o)
	return s
}

type answer struct {
	Status int
	Data   map[string]any
	Errors []struct {
		Message    string
		Extensions struct{ Code string }
	}
}

func (a answer) message() string {
	if len(a.Errors) == 0 {
		return ""
	}
	return a.Errors[0].Message
}

func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	return a.Errors[0].Extensions.Code
}

func (s *stand) post(body any) (int, []byte) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(s.t.Context(), http.MethodPost, "/", bytes.NewReader(text))
	for k, v := range s.headers {
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	return w.Code, w.Body.Bytes()
}

func (s *stand) call(query string, variables any) answer {
	s.t.Helper()
	status, text := s.post(map[string]any{"query": query, "variables": variables})
	a := answer{Status: status}
	if err := json.Unmarshal(text, &a); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	return a
}

// mutate calls a mutation with an input and asks for some fields.
func (s *stand) mutate(name string, input any, fields string) answer {
	s.t.Helper()
	return s.call("mutation($input: "+name+"_input!) { "+name+"(input: $input) { "+fields+" } }", map[string]any{"input": input})
}

type fields = map[string]any

// set gives a flow run a state.
func (s *stand) set(id string, state any) answer {
	s.t.Helper()
	return s.mutate("set_flow_run_states", fields{"states": []any{fields{"flow_run_id": id, "state": state}}}, "states { id status message }")
}

func (s *stand) submit(id string) string {
	s.t.Helper()
	return s.set(id, fields{"type": "Submitted"}).message()
}

// mustSet is a set that has to succeed.
func (s *stand) mustSet(id string, state any) {
	s.t.Helper()
	if a := s.set(id, state); a.message() != "" {
		s.t.Fatal(a.message())
	}
}

func (s *stand) one() string { return s.CreateRuns(prefecttest.Order{})[0] }

func (s *stand) run(id string) prefecttest.Run {
	s.t.Helper()
	runs := s.Runs(id)
	if len(runs) != 1 {
		s.t.Fatalf("%d runs with id %s", len(runs), id)
	}
	return runs[0]
}

func (s *stand) history(id string) []string {
	s.t.Helper()
	var types []string
	for _, c := range s.run(id).History {
		types = append(types, c.Type)
	}
	return types
}

// row asks for columns of a flow run.
func (s *stand) row(id, columns string) map[string]any {
	s.t.Helper()
	a := s.call(`query { flow_run_by_pk(id: "`+id+`") { `+columns+` } }`, nil)
	if a.message() != "" {
		s.t.Fatal(a.message())
	}
	row, _ := a.Data["flow_run_by_pk"].(map[string]any)
	return row
}

func (s *stand) queue(labels ...string) []string {
	s.t.Helper()
	if labels == nil {
		labels = []string{}
	}
	return s.queueOf(fields{"tenant_id": s.Tenant(), "labels": labels, "before": s.now.Add(10 * time.Second)})
}

func (s *stand) queueOf(input fields) []string {
	s.t.Helper()
	a := s.mutate("get_runs_in_queue", input, "flow_run_ids")
	if a.message() != "" {
		s.t.Fatal(a.message())
	}
	ids := []string{}
	for _, id := range a.Data["get_runs_in_queue"].(map[string]any)["flow_run_ids"].([]any) {
		ids = append(ids, id.(string))
	}
	return ids
}
