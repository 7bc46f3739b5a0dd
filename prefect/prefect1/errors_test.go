package prefect1_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
)

// refusal is an answer with errors as Apollo writes them.
func refusal(message, code string) answer {
	text, _ := json.Marshal(message)
	return status(http.StatusOK, fmt.Sprintf(`{"errors":[{"message":%s,"locations":[{"line":1,"column":46}],"path":["set_flow_run_states"],
		"extensions":{"code":%q,"exception":{"message":%s}}}],"data":{"set_flow_run_states":null}}`, text, code, text))
}

const internal = "INTERNAL_SERVER_ERROR"

func throttle(code int, after string) answer {
	return func(w http.ResponseWriter, _ request) {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(code)
	}
}

// outcome is all that callers can branch on; for writes, a claim's answer.
type outcome struct {
	claim      prefect.Answer
	claimFails bool // the claim is an error, not an answer
	auth       bool
	notFound   bool
	temporary  bool
	retryAfter time.Duration
	result     string // the metric's label
}

// Every refusal of the API that was seen or is documented (prefect1 §7.4, §7.5;
// prefect1-server §a, §b), and the faults that networks add.
func TestWhatTheAPISaysIsUnderstood(t *testing.T) {
	for _, tc := range []struct {
		name string
		says answer
		want outcome
		text string // part of the error's text
	}{
		{
			"already submitted", refusal("State update failed: this run has already been submitted.", internal),
			outcome{claim: prefect.NotNow, result: "submitted"},
			"this run has already been submitted",
		},
		{
			"Cloud's version lock", refusal("locked", "VERSION_LOCKING_ERROR"),
			outcome{claim: prefect.Lost, result: "locked"},
			"locked",
		},
		{
			"Cloud's older version lock", refusal("State update failed for flow run ID "+runID+": provided version 1 but current version is 2.", internal),
			outcome{claim: prefect.Lost, result: "locked"},
			"current version is 2",
		},
		{
			"unknown run", refusal("State update failed for flow run ID "+runID, internal),
			outcome{claim: prefect.Lost, notFound: true, result: "not_found"},
			runID,
		},
		{
			"unknown run in a log", refusal("Foreign key violation.", internal),
			outcome{claim: prefect.Lost, notFound: true, result: "not_found"},
			"Foreign key",
		},
		{
			"bad UUID", refusal("Variable '$input' got invalid value 'zzz' at 'input.states[0].flow_run_id'; Expected type UUID. Could not parse UUID: zzz", internal),
			outcome{claimFails: true, result: "rejected"},
			"Could not parse UUID",
		},
		{
			"unknown state type", refusal("{'type': ['Unsupported value: Nope']}", internal),
			outcome{claimFails: true, result: "rejected"},
			"Nope",
		},
		{
			"no state type", refusal("{'type': ['Missing data for required field.']}", internal),
			outcome{claimFails: true, result: "rejected"},
			"required field",
		},
		{
			"state as a string", refusal("{'_schema': 'Invalid data type: ...'}", internal),
			outcome{claimFails: true, result: "rejected"},
			"Invalid data type",
		},
		{
			"state too large", refusal("State payload is too large.", internal),
			outcome{claimFails: true, result: "request_too_large"},
			"takes states of up to 1 MB",
		},
		{
			"unknown key in the input", status(400, `{"errors":[{"message":"Field \"x\" is not defined by type y.","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}`),
			outcome{claimFails: true, result: "rejected"},
			"HTTP 400: Field",
		},
		{
			"unknown field", status(400, `{"errors":[{"message":"Cannot query field \"x\"","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`),
			outcome{claimFails: true, result: "rejected"},
			"Cannot query field",
		},
		{
			"400 without a body", status(400, ""),
			outcome{claimFails: true, result: "rejected"},
			"HTTP 400: Bad Request",
		},
		{
			"the API behind Apollo is away", refusal("request to http://graphql:4201/graphql/ failed, reason: connect ECONNREFUSED 127.0.0.1:4201", internal),
			outcome{temporary: true, result: "transient"},
			"ECONNREFUSED",
		},
		{
			"Cloud's own trouble", refusal("API_ERROR: please retry", "API_ERROR"),
			outcome{temporary: true, result: "transient"},
			"please retry",
		},
		{
			"an error nobody knows", refusal("'NoneType' object has no attribute 'sort'", internal),
			outcome{temporary: true, result: "unclear"},
			"NoneType",
		},
		{
			"not logged in", refusal("UNAUTHENTICATED", "UNAUTHENTICATED"),
			outcome{claimFails: true, auth: true, result: "auth"},
			"check both",
		},
		{
			"malformed key", status(400, `{"errors":[{"message":"Malformed Authorization header","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}`),
			outcome{claimFails: true, auth: true, result: "auth"},
			"Malformed Authorization header",
		},
		{"401", status(401, "no"), outcome{claimFails: true, auth: true, result: "auth"}, "HTTP 401: Unauthorized"},
		{"403", status(403, "<html>no</html>"), outcome{claimFails: true, auth: true, result: "auth"}, "HTTP 403: Forbidden"},
		{"404", status(404, "nothing here"), outcome{claimFails: true, result: "rejected"}, "check it: HTTP 404"},
		{
			"413 as HTML", status(413, "<html><body>Payload\n\n  Too   Large</body></html>"),
			outcome{claimFails: true, result: "request_too_large"},
			"takes states of up to 1 MB",
		},
		{
			"redirect", func(w http.ResponseWriter, _ request) {
				w.Header().Set("Location", "https://elsewhere.example/")
				w.WriteHeader(http.StatusMovedPermanently)
			},
			outcome{claimFails: true, result: "rejected"},
			"elsewhere.example",
		},
		{"500", status(500, "oops"), outcome{temporary: true, result: "transient"}, "HTTP 500"},
		{"502", status(502, "<html>bad gateway</html>"), outcome{temporary: true, result: "transient"}, "HTTP 502: Bad Gateway"},
		{"503 with a wish", throttle(503, "77"), outcome{temporary: true, retryAfter: 77 * time.Second, result: "transient"}, "HTTP 503"},
		{"504", status(504, ""), outcome{temporary: true, result: "transient"}, "HTTP 504"},
		{"429", throttle(429, "180"), outcome{claim: prefect.NotNow, temporary: true, retryAfter: 180 * time.Second, result: "throttled"}, "HTTP 429"},
		{"413 with a wish", throttle(413, "20"), outcome{claim: prefect.NotNow, temporary: true, retryAfter: 20 * time.Second, result: "throttled"}, "HTTP 413"},
		{"200 as HTML", status(200, "<html>log in first</html>"), outcome{temporary: true, result: "malformed"}, "not JSON but: <html>"},
		{"200 and nothing", status(200, ""), outcome{temporary: true, result: "malformed"}, "not JSON"},
		{"200 and no data", status(200, `{"data":null}`), outcome{temporary: true, result: "malformed"}, "neither data nor errors"},
		{"200 and other data", status(200, `{"data":{"set_flow_run_states":7,"flow_run":7}}`), outcome{temporary: true, result: "malformed"}, "not what was asked for"},
		{"204", status(204, ""), outcome{temporary: true, result: "malformed"}, "HTTP 204"},
		{"errors of a strange form", status(200, `{"errors":"boom","data":null}`), outcome{temporary: true, result: "unclear"}, "boom"},
		{
			"half an answer", func(w http.ResponseWriter, _ request) {
				w.Header().Set("Content-Length", "1000")
				fmt.Fprint(w, `{"data":`)
			},
			outcome{temporary: true, result: "transient"},
			"read the answer",
		},
		{"lost answer", hangUp, outcome{temporary: true, result: "transient"}, "no answer from the Prefect API"},
		{
			"an answer without end", func(w http.ResponseWriter, _ request) {
				chunk := []byte(strings.Repeat(" ", 1<<20))
				for range 40 {
					if _, err := w.Write(chunk); err != nil {
						return
					}
				}
			},
			outcome{result: "answer_too_large"},
			"larger than 16 MiB",
		},
		{
			"time-out", nil,
			outcome{temporary: true, result: "transient"},
			"deadline exceeded",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name == "time-out" {
				tc.says = func(http.ResponseWriter, request) { <-t.Context().Done() }
			}
			api := newFakeAPI(t, answers{"setFlowRunStates": tc.says})
			metrics := prometheus.NewRegistry()
			c := api.client(t, func(o *prefect1.Options) {
				o.Registerer = metrics
				if tc.name == "time-out" {
					o.RequestTimeout = 20 * time.Millisecond
				}
			})
			run := prefect.FlowRun{ID: runID, Revision: "1", State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}

			result, err := c.Claim(t.Context(), run, prefect.Claim{})
			if (err != nil) != tc.want.claimFails || result.Answer != tc.want.claim {
				t.Errorf("claim = %v, %v; want %v, error %v", result, err, tc.want.claim, tc.want.claimFails)
			}
			said := result.Reason
			if err != nil {
				said = err.Error()
			}
			if !strings.Contains(said, tc.text) {
				t.Errorf("%q does not say %q", said, tc.text)
			}
			if len(said) > 600 || strings.Contains(said, "\n") {
				t.Errorf("not one short line: %q", said)
			}
			if result.RetryAfter != tc.want.retryAfter {
				t.Errorf("look again after %v", result.RetryAfter)
			}
			if n := len(api.asked("")); n != 1 {
				t.Errorf("a write was sent %d times", n)
			}

			err = c.Fail(t.Context(), run, prefect.Failure{Message: "x"})
			var e *prefect1.Error
			if !errors.As(err, &e) {
				t.Fatalf("fail: %v, want an *Error", err)
			}
			got := outcome{
				claim: tc.want.claim, claimFails: tc.want.claimFails,
				auth: errors.Is(err, prefect.ErrAuth), notFound: errors.Is(err, prefect.ErrNotFound),
				temporary: e.Temporary(), retryAfter: e.RetryAfter(), result: resultOf(t, metrics),
			}
			if got != tc.want {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
			if n := len(api.asked("")); n != 2 {
				t.Errorf("a write was sent %d times", n-1)
			}
		})
	}
}

// resultOf is the one result counted for the operation.
func resultOf(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "prefect_keda_prefect_requests_total" {
			continue
		}
		if len(f.GetMetric()) != 1 || f.GetMetric()[0].GetCounter().GetValue() != 2 {
			t.Fatalf("counted %v", f.GetMetric())
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			if l.GetName() == "result" {
				return l.GetValue()
			}
		}
	}
	t.Fatal("nothing counted")
	return ""
}

func TestNobodyAnswers(t *testing.T) {
	api := newFakeAPI(t, nil)
	c := api.client(t)
	api.server.Close()
	run := prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}
	result, err := c.Claim(t.Context(), run, prefect.Claim{})
	if err != nil || result.Answer != prefect.Unknown || !strings.Contains(result.Reason, "refused") {
		t.Errorf("claim = %v, %v", result, err)
	}
}

// A launcher that is told to stop while it claims must read the run back like
// after any lost answer, and must see its own context in the error of a read.
func TestOurOwnGivingUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	giveUp := func(http.ResponseWriter, request) { cancel(); <-t.Context().Done() }
	api := newFakeAPI(t, answers{"setFlowRunStates": giveUp, "flowRun": giveUp})
	c := api.client(t)
	run := prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}
	result, err := c.Claim(ctx, run, prefect.Claim{})
	if err != nil || result.Answer != prefect.Unknown {
		t.Errorf("claim = %v, %v", result, err)
	}
	if _, err := c.FlowRun(ctx, runID); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
}

// Apollo names the service that it asked in vain. Nothing else tells which is away.
func TestAway(t *testing.T) {
	internal := "INTERNAL_SERVER_ERROR"
	for message, want := range map[string]string{
		"request to http://graphql:4201/graphql/ failed, reason: connect ECONNREFUSED 10.0.0.7:4201":  "the Server's GraphQL service (graphql:4201)",
		"request to http://hasura:3000/v1alpha1/graphql failed, reason: getaddrinfo ENOTFOUND hasura": "Hasura (hasura:3000), by which the Server reads its database,",
		"request to https://db.example.com/v1/graphql failed, reason: socket hang up":                 "Hasura (db.example.com), by which the Server reads its database,",
		"request to http://me:word@graphql:4201/graphql/ failed, reason: network timeout":             "the Server's GraphQL service (graphql:4201)",
		"request to http:// failed":                    "",
		"API_ERROR: please retry":                      "",
		"'NoneType' object has no attribute 'sort'":    "",
		"State update failed for flow run ID " + runID: "",
	} {
		api := newFakeAPI(t, answers{"kindOfAPI": refusal(message, internal)})
		_, err := api.client(t).Kind(t.Context())
		if got := prefect.Away(err); got != want || err == nil {
			t.Errorf("%s: %q of %v, want %q", message, got, err, want)
		}
	}
	if got := prefect.Away(errors.New("request to http://graphql:4201/ failed")); got != "" {
		t.Errorf("of another error: %q", got)
	}
}
