package prefecttest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

const submitting = `{"query":"mutation($i: set_flow_run_states_input!) { set_flow_run_states(input: $i) { states { status } } }",
	"variables":{"i":{"states":[{"flow_run_id":"RUN","state":{"type":"Submitted"}}]}}}`

// The client notices every fault, and a request carried out before it has its effect all
// the same.
func TestFaults(t *testing.T) {
	const lost = "no answer"
	for name, tc := range map[string]struct {
		fault prefecttest.Fault
		// answers to two requests, one after the other.
		answers [2]string
		state   string
	}{
		"none":                     {prefecttest.Fault{Operation: "hello", Status: 503}, [2]string{"200 SUCCESS", "200 already"}, "Submitted"},
		"refused":                  {prefecttest.Fault{Status: 503}, [2]string{"503 <html>", "503 <html>"}, "Scheduled"},
		"refused once":             {prefecttest.Fault{Status: 429, RetryAfter: "7", Times: 1}, [2]string{"429 after 7 <html>", "200 SUCCESS"}, "Submitted"},
		"refused for an operation": {prefecttest.Fault{Operation: "set_flow_run_states", Error: "boom", Times: 1}, [2]string{"200 boom", "200 SUCCESS"}, "Submitted"},
		"not an envelope":          {prefecttest.Fault{Body: "sign in", Times: 1}, [2]string{"200 sign in", "200 SUCCESS"}, "Submitted"},
		"away":                     {prefecttest.Fault{Drop: true}, [2]string{lost, lost}, "Scheduled"},
		"the answer is lost":       {prefecttest.Fault{Drop: true, After: true, Times: 1}, [2]string{lost, "200 already"}, "Submitted"},
		"an error after the write": {prefecttest.Fault{Status: 502, After: true, Times: 1}, [2]string{"502 <html>", "200 already"}, "Submitted"},
		"slow":                     {prefecttest.Fault{Delay: prefecttest.Duration(time.Millisecond)}, [2]string{"200 SUCCESS", "200 already"}, "Submitted"},
	} {
		t.Run(name, func(t *testing.T) {
			api := prefecttest.New(prefecttest.Options{})
			url, run := api.Start(t), api.CreateRuns(prefecttest.Order{})[0]
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			api.Break(tc.fault)
			for i, want := range tc.answers {
				if got := told(t, client, url, strings.ReplaceAll(submitting, "RUN", run)); got != lost && !contains(got, want) || got == lost && want != lost {
					t.Errorf("request %d is answered %q, want %q", i+1, got, want)
				}
			}
			if got := api.Runs(run)[0].State; got != tc.state {
				t.Errorf("the run is %s, want %s", got, tc.state)
			}
			api.Mend()
			if got := told(t, client, url, `{"query":"{ hello }"}`); !contains(got, "200 👋") {
				t.Errorf("mended, it answers %q", got)
			}
		})
	}
}

// contains reports whether the words of want are in got, in their order.
func contains(got, want string) bool {
	for word := range strings.FieldsSeq(want) {
		_, rest, found := strings.Cut(got, word)
		if !found {
			return false
		}
		got = rest
	}
	return true
}

func told(t *testing.T, client *http.Client, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "no answer"
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	words := resp.Status
	if after := resp.Header.Get("Retry-After"); after != "" {
		words += " after " + after
	}
	return words + " " + string(text)
}

func TestRequestsAreCounted(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	s.submit(s.one())
	s.queue()
	s.queue()
	s.call("{ hello }", nil)
	want := map[string]int{"requests": 4, "set_flow_run_states": 1, "get_runs_in_queue": 2, "hello": 1}
	if d := cmp.Diff(want, s.Counts()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// One line of an unknown run spoils the whole batch (prefect1-server §h).
func TestLogsAreStoredAllOrNone(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	id := s.one()
	line := func(run, message string) fields {
		return fields{"flow_run_id": run, "message": message, "level": "WARNING", "name": "agent"}
	}
	write := func(lines ...fields) string {
		return s.mutate("write_run_logs", fields{"logs": lines}, "success").message()
	}
	if got := write(line(id, "one"), line(unknown, "two")); got != "Foreign key violation." {
		t.Errorf("a line of an unknown run is answered %q", got)
	}
	if got := s.run(id).Logs; len(got) != 0 {
		t.Errorf("lines were stored all the same: %v", got)
	}
	if got := write(line(id, "one"), fields{"flow_run_id": id, "message": "two"}); got != "" {
		t.Fatal(got)
	}
	var got []string
	for _, l := range s.run(id).Logs {
		got = append(got, l.Level+" "+l.Name+" "+l.Message)
	}
	if d := cmp.Diff([]string{"WARNING agent one", "INFO  two"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
