package prefecttest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// A step is a recorded call of a real Prefect Server, with its answer, or a change of the
// server between two calls.
type step struct {
	Call      int               `json:"call"`
	At        float64           `json:"at"`
	Headers   map[string]string `json:"headers"`
	Query     string            `json:"query"`
	Variables string            `json:"variables"`
	Status    int               `json:"status"`
	Answer    any               `json:"answer"`

	Create *struct {
		ID         string    `json:"id"`
		Name       string    `json:"name"`
		FlowID     string    `json:"flow_id"`
		Due        time.Time `json:"scheduled_start_time"`
		Parameters any       `json:"parameters"`
		RunConfig  any       `json:"run_config"`
	} `json:"create"`
	Delete string `json:"delete"`
}

var (
	anyID   = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	anyTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00$`)
)

// replay maps recorded ids to ours.
type replay struct {
	t    *testing.T
	ours map[string]string
}

// translate replaces the recorded ids by ours.
func (r replay) translate(text string) string {
	return anyID.ReplaceAllStringFunc(text, func(id string) string {
		if ours, known := r.ours[id]; known {
			return ours
		}
		return id
	})
}

// meet learns, by place, which of our ids stands for a recorded one.
func (r replay) meet(recorded, ours any) {
	switch recorded := recorded.(type) {
	case map[string]any:
		if ours, ok := ours.(map[string]any); ok {
			for k, v := range recorded {
				r.meet(v, ours[k])
			}
		}
	case []any:
		if ours, ok := ours.([]any); ok && len(ours) == len(recorded) {
			for i, v := range recorded {
				r.meet(v, ours[i])
			}
		}
	case string:
		if ours, ok := ours.(string); ok && anyID.MatchString(ours) && anyID.FindString(recorded) == recorded && r.ours[recorded] == "" {
			r.ours[recorded] = ours
		}
	}
}

// normal is an answer with our ids, and with a mark for each time.
func (r replay) normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, inner := range v {
			out[k] = r.normal(inner)
		}
		// The requests set no order for these, so PostgreSQL gave none.
		if tasks, ok := out["task_runs"].([]any); ok {
			slices.SortFunc(tasks, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		return out
	case []any:
		out := []any{}
		for _, inner := range v {
			out = append(out, r.normal(inner))
		}
		return out
	case string:
		if anyTime.MatchString(v) {
			return "a time"
		}
		return r.translate(v)
	}
	return v
}

// The stand-in answers the requests of the real client, agents and a real pod as the real
// server did.
func TestAnswersAsRecorded(t *testing.T) {
	file, err := os.Open("testdata/wire.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var now time.Time
	api := prefecttest.New(prefecttest.Options{Now: func() time.Time { return now }})
	r := replay{t: t, ours: map[string]string{}}
	// The recording began with a server that had this project.
	r.send(api, step{Query: `mutation { create_project(input: { name: "p1", tenant_id: "` + api.Tenant() + `" }) { id } }`})
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	calls := 0
	for lines.Scan() {
		var s step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		switch {
		case s.Create != nil:
			c := s.Create
			ids := api.CreateRuns(prefecttest.Order{
				FlowID: r.ours[c.FlowID], Name: c.Name, In: prefecttest.Duration(c.Due.Sub(now)), Parameters: c.Parameters, RunConfig: c.RunConfig,
			})
			r.ours[c.ID] = ids[0]
		case s.Delete != "":
			api.Delete(r.ours[s.Delete])
		default:
			now = time.UnixMicro(int64(s.At * 1e6))
			calls++
			status, answer := r.send(api, s)
			r.meet(s.Answer, answer)
			if diff := cmp.Diff(r.normal(s.Answer), r.normal(answer)); diff != "" || status != s.Status {
				t.Errorf("call %d, %s: status %d, want %d (-recorded +ours):\n%s", s.Call, strings.Join(strings.Fields(s.Query), " "), status, s.Status, diff)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if calls < 90 {
		t.Errorf("only %d calls were replayed", calls)
	}
}

func (r replay) send(api *prefecttest.API, s step) (int, any) {
	r.t.Helper()
	body, err := json.Marshal(map[string]any{"query": r.translate(s.Query), "variables": r.translate(s.Variables)})
	if err != nil {
		r.t.Fatal(err)
	}
	req := httptest.NewRequestWithContext(r.t.Context(), http.MethodPost, "/graphql", bytes.NewReader(body))
	for name, value := range s.Headers {
		req.Header.Set(name, r.translate(value))
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, req)
	var answer any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		r.t.Fatal(fmt.Errorf("call %d: %w: %s", s.Call, err, w.Body))
	}
	return w.Code, answer
}
