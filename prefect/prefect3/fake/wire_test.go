package fake_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// recorded is a call of a real server, with its answer. Lists are cut after three rows.
type recorded struct {
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Body   json.RawMessage `json:"req"`
	Status int             `json:"status"`
	Answer any             `json:"resp"`
	line   int
}

var (
	anyID   = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	anyTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$`)
	runPath = regexp.MustCompile(`^/flow_runs/([0-9a-f-]{36})`)
)

// replay maps recorded ids to ours, and makes what the recording had made unseen.
type replay struct {
	*stand
	now  time.Time
	ours map[string]string
}

// translate replaces the recorded ids by ours.
func (r *replay) translate(text string) string {
	return anyID.ReplaceAllStringFunc(text, func(id string) string {
		if ours, known := r.ours[id]; known {
			return ours
		}
		return id
	})
}

// meet learns, by place, which of our ids stands for a recorded one.
func (r *replay) meet(recorded, ours any) {
	switch recorded := recorded.(type) {
	case map[string]any:
		if ours, ok := ours.(map[string]any); ok {
			for k, v := range recorded {
				r.meet(v, ours[k])
			}
		}
	case []any:
		if ours, ok := ours.([]any); ok {
			for i, v := range recorded[:min(len(recorded), len(ours))] {
				r.meet(v, ours[i])
			}
		}
	case string:
		if ours, ok := ours.(string); ok && anyID.FindString(recorded) == recorded && recorded != "" && anyID.MatchString(ours) && ours != recorded && r.ours[recorded] == "" {
			r.ours[recorded] = ours
		}
	}
}

// varies are the members whose values nobody can foretell.
func varies() []string {
	return []string{"estimated_run_time", "estimated_start_time_delta", "total_run_time", "token", "time_in_current_state", "flow_runs"}
}

// normal is an answer with our ids, and with marks for what may differ.
func (r *replay) normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		_, isRun := v["infrastructure_pid"]
		for k, inner := range v {
			switch {
			case slices.Contains(varies(), k), isRun && k == "name": // names of runs are random
				out[k] = fmt.Sprintf("some %T", inner)
			default:
				out[k] = r.normal(inner)
			}
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

// cut cuts our answer where the recording is cut.
func cut(recorded, ours any) (any, any) {
	list, is := recorded.([]any)
	rows, same := ours.([]any)
	if !is || !same || len(list) == 0 {
		return recorded, ours
	}
	if more, is := list[len(list)-1].(string); is && strings.HasPrefix(more, "… ") {
		list = list[:len(list)-1]
		return list, rows[:min(len(list), len(rows))]
	}
	return recorded, ours
}

// leftOut are the lines that are not replayed, with the reason.
func leftOut() map[int]string {
	const world, blocks, none = "shows what others made unseen", "levers make blocks", "the product does not ask for it"
	return map[int]string{
		95: none, 117: blocks, 118: blocks, 119: blocks, 135: world, 137: world, 138: world, 145: none,
	}
}

// differences change recorded answers where the stand-in may differ.
func differences() map[int]func(answer map[string]any) {
	lessOfBlocks := func(answer map[string]any) {
		for _, name := range []string{"block_schema", "block_schema_id", "block_type", "block_type_id"} {
			delete(answer, name) // only the data is of use
		}
	}
	return map[int]func(map[string]any){
		32: func(answer map[string]any) { // the recording is cut
			loc := answer["exception_detail"].([]any)[0].(map[string]any)["loc"].([]any)
			loc[3] = "transition_id"
		},
		82:  func(answer map[string]any) { delete(answer["request_body"].(map[string]any), "parameters") }, // a default
		120: lessOfBlocks,
		121: lessOfBlocks,
	}
}

// The stand-in answers recorded requests as the real server did.
func TestAnswersAsRecorded(t *testing.T) {
	file, err := os.Open("testdata/wire.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := &replay{now: time.Date(2026, 11, 28, 11, 31, 18, 0, time.UTC), ours: map[string]string{}}
	open := func(o fake.Options) {
		o.Now = func() time.Time { return r.now }
		r.stand = newStand(t, o)
	}
	open(fake.Options{})
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	before, calls := unseen(), 0
	for n := 0; lines.Scan(); n++ {
		c := recorded{line: n}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		switch n {
		case 157:
			open(fake.Options{AuthString: "u:p"})
		case 172:
			open(fake.Options{CSRF: true})
		}
		r.prepare(c, before[n])
		if leftOut()[n] == "" {
			calls++
			r.compare(c)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if calls < 165 {
		t.Errorf("only %d calls were replayed", calls)
	}
}

// prepare brings the stand-in to where the server was.
func (r *replay) prepare(c recorded, before func(*replay)) {
	r.now = r.now.Add(10 * time.Millisecond)
	if at := answeredAt(c); at.After(r.now) {
		r.now = at
	}
	if before != nil {
		before(r)
		r.now = r.now.Add(time.Millisecond)
	}
	if c.Status == http.StatusServiceUnavailable {
		r.Break(fake.Fault{Times: 1, Status: c.Status})
	}
	if m := runPath.FindStringSubmatch(c.Path); m != nil && r.ours[m[1]] == "" && c.Status != http.StatusNotFound {
		r.made(m[1], fake.Order{Deployment: r.ours[deploymentA], At: scheduledAt(c)})
		r.now = r.now.Add(time.Millisecond)
	}
}

// answeredAt is when the server made what it answered.
func answeredAt(c recorded) time.Time {
	answer, _ := c.Answer.(map[string]any)
	text, _ := answer["created"].(string)
	if state, is := answer["state"].(map[string]any); is && c.Method == http.MethodPost {
		text, _ = state["timestamp"].(string)
	}
	at, _ := time.Parse(time.RFC3339Nano, text)
	return at
}

// scheduledAt is the time of the run that the answer is about.
func scheduledAt(c recorded) time.Time {
	answer, _ := c.Answer.(map[string]any)
	state, _ := answer["state"].(map[string]any)
	details, _ := state["state_details"].(map[string]any)
	text, _ := details["scheduled_time"].(string)
	at, _ := time.Parse(time.RFC3339Nano, text)
	return at
}

func (r *replay) compare(c recorded) {
	r.t.Helper()
	r.header = http.Header{}
	headers(r, c.line)
	var body any
	if string(c.Body) != "null" {
		body = json.RawMessage(r.translate(string(c.Body)))
	}
	resp, text := r.send(c.Method, r.translate(c.Path), body)
	var answer any = ""
	if len(text) > 0 {
		if err := json.Unmarshal(bytes.TrimSpace(text), &answer); err != nil {
			r.t.Fatalf("line %d: %v: %s", c.line, err, text)
		}
	}
	r.meet(c.Answer, answer)
	if change := differences()[c.line]; change != nil {
		change(c.Answer.(map[string]any))
		change(answer.(map[string]any))
	}
	want, got := cut(c.Answer, answer)
	if diff := cmp.Diff(r.normal(want), r.normal(got)); diff != "" || resp.StatusCode != c.Status {
		r.t.Errorf("line %d, %s %s %s: status %d, want %d (-recorded +ours):\n%s", c.line, c.Method, c.Path, c.Body, resp.StatusCode, c.Status, diff)
	}
}
