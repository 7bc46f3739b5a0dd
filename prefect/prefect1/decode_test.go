package prefect1

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

func TestTimes(t *testing.T) {
	for in, want := range map[string]time.Time{
		"2026-11-23T16:27:48.596694+00:00":    time.Date(2026, 11, 23, 16, 27, 48, 596694000, time.UTC),
		"2026-11-23T16:27:48+00:00":           time.Date(2026, 11, 23, 16, 27, 48, 0, time.UTC),
		"2026-11-23T16:27:48Z":                time.Date(2026, 11, 23, 16, 27, 48, 0, time.UTC),
		"2026-11-23T17:27:48.123456789+01:00": time.Date(2026, 11, 23, 16, 27, 48, 123456789, time.UTC),
		"2026-11-23T16:27:48.5":               time.Date(2026, 11, 23, 16, 27, 48, 500000000, time.UTC),
		"2026-11-23 16:27:48.5+00:00":         time.Date(2026, 11, 23, 16, 27, 48, 500000000, time.UTC),
		"2026-11-23 16:27:48.5+00":            time.Date(2026, 11, 23, 16, 27, 48, 500000000, time.UTC),
		"2026-11-23 16:27:48":                 time.Date(2026, 11, 23, 16, 27, 48, 0, time.UTC),
		"":                                    {},
		"tomorrow":                            {},
		"2026-13-40T00:00:00Z":                {},
	} {
		if got := timeOf(in); !got.Equal(want) {
			t.Errorf("timeOf(%q) = %v, want %v", in, got, want)
		}
	}
	if got := formatTime(time.Date(2026, 11, 23, 17, 0, 0, 1999, time.FixedZone("", 3600))); got != "2026-11-23T16:00:00.000001+00:00" {
		t.Errorf("formatTime: %s", got)
	}
}

// A state nobody expected must still give a run, because the runs beside it
// wait for the same answer.
func TestStates(t *testing.T) {
	due := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const stamp = "2026-11-23T12:00:00+00:00"
	for _, tc := range []struct {
		name, column, start, serialized string
		want                            prefect.State
	}{
		{"usual", "Scheduled", stamp, `{"type":"Scheduled","message":"m","start_time":"` + stamp + `"}`, prefect.State{Phase: prefect.Waiting, Name: "Scheduled", Message: "m", StartTime: due}},
		{"the state's time wins", "Scheduled", "2020-01-01T00:00:00Z", `{"start_time":"` + stamp + `"}`, prefect.State{Phase: prefect.Waiting, Name: "Scheduled", StartTime: due}},
		{"null time", "Paused", "", `{"type":"Paused","start_time":null,"message":null}`, prefect.State{Phase: prefect.Held, Name: "Paused"}},
		{"time only in the column", "Queued", stamp, `{"type":"Queued"}`, prefect.State{Phase: prefect.Waiting, Name: "Queued", Limited: true, StartTime: due}},
		{"wrong types inside", "Scheduled", stamp, `{"type":7,"message":{"a":1},"start_time":5,"context":"x"}`, prefect.State{Phase: prefect.Waiting, Name: "Scheduled", StartTime: due}},
		{"no column", "", "", `{"type":"Running"}`, prefect.State{Phase: prefect.Running, Name: "Running"}},
		{"no object", "Running", "", `"Running"`, prefect.State{Phase: prefect.Running, Name: "Running"}},
		{"nothing", "Running", "", ``, prefect.State{Phase: prefect.Running, Name: "Running"}},
		{"no time where none belongs", "Running", stamp, `{"type":"Running","start_time":"` + stamp + `"}`, prefect.State{Phase: prefect.Running, Name: "Running"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := stateOf(tc.column, tc.start, json.RawMessage(tc.serialized))
			if object(json.RawMessage(tc.serialized)) != nil && string(got.Opaque) != tc.serialized {
				t.Errorf("opaque %s", got.Opaque)
			}
			got.Opaque = nil
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClaimsThatAreNone(t *testing.T) {
	for _, s := range []string{
		``, `null`, `[]`, `"x"`, `{}`, `{"context":null}`, `{"context":[]}`, `{"context":{}}`,
		`{"context":{"prefect_keda":null}}`, `{"context":{"prefect_keda":"x"}}`, `{"context":{"prefect_keda":[1]}}`,
	} {
		if c := claimOf(json.RawMessage(s)); c != nil {
			t.Errorf("claimOf(%s) = %+v", s, *c)
		}
	}
	got := claimOf(json.RawMessage(`{"context":{"prefect_keda":{"job":"j","launcher":5}}}`))
	if diff := cmp.Diff(&prefect.Claim{Job: "j"}, got); diff != "" {
		t.Error(diff)
	}
}

// This release reads its own claims. Without the namespace's UID it leaves that out, as
// older releases did.
func TestClaimIsReadAsItWasWritten(t *testing.T) {
	for _, claim := range []prefect.Claim{
		{Launcher: "l-1", Namespace: "flows", Job: "job-1", Attempt: "v3"},
		{Launcher: "l-1", Namespace: "flows", Job: "job-1", Attempt: "v3", NamespaceUID: "6f1e2d3c"},
	} {
		state, err := submittedState("m", prefect.State{}, claim)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&claim, claimOf(state)); diff != "" {
			t.Error(diff)
		}
		if has := strings.Contains(string(state), "namespace_uid"); has != (claim.NamespaceUID != "") {
			t.Errorf("%s", state)
		}
	}
}

// FuzzState: whatever the server keeps as a state, reading it does not panic,
// and what a claim wraps is a JSON object that wraps nothing, or null.
func FuzzState(f *testing.F) {
	for _, s := range []string{
		`{"type":"Scheduled","start_time":"2026-11-23T12:00:00.123456+00:00","context":{},"cached_inputs":{},"_result":{"type":"NoResultType"}}`,
		`{"type":"Submitted","context":{"prefect_keda":{"job":"j","attempt":"v1"}},"state":{"type":"Queued","state":{"type":"Retrying","run_count":1}}}`,
		`{"type":"Paused","start_time":null}`, `null`, `"x"`, `[`, ``, `{"type":"Submitted","state":"x"}`,
	} {
		f.Add([]byte(s))
	}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, raw []byte) {
		state := stateOf("", "", raw)
		claimOf(raw)
		for _, written := range []func() (json.RawMessage, error){
			func() (json.RawMessage, error) { return submittedState("m", state, prefect.Claim{Job: "j"}) },
			func() (json.RawMessage, error) { return rescheduled(state, at, "m", 1) },
		} {
			out, err := written()
			if err != nil || !json.Valid(out) {
				t.Fatalf("%s: %s, %v", raw, out, err)
			}
			m := object(out)
			if inner := m["state"]; isPresent(inner) {
				switch text(object(inner)["type"]) {
				case "Submitted", "Queued", "ClientFailed":
					t.Fatalf("%s wraps %s", out, inner)
				}
			}
			if text(m["type"]) != "Submitted" && claimOf(out) != nil {
				t.Fatalf("%s: a claim came from nowhere", out)
			}
		}
	})
}

// FuzzFlowRuns: any answer to the query for due runs is either an error or
// runs; a claim of ours is only in Submitted ones, due tasks only in Running ones.
func FuzzFlowRuns(f *testing.F) {
	f.Add([]byte(`{"due":[{"id":"a","version":1,"labels":["x"],"state":"Scheduled","serialized_state":{"type":"Scheduled"},"run_config":{"type":"KubernetesRun"},"flow":{"id":"f","storage":{}},"task_runs":[]}],"retrying":[]}`))
	f.Add([]byte(`{"due":[],"retrying":[{"id":"a","labels":null,"state":"Running","task_runs":[{"id":"t","state":"Retrying","state_start_time":"2026-11-23T12:00:00Z"}]}]}`))
	f.Add([]byte(`{"due":[{"id":"a","state":"Submitted","serialized_state":{"context":{"prefect_keda":{}}}}],"x":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var rows dueRunsResponse
		if json.Unmarshal(raw, &rows) != nil {
			return
		}
		for _, row := range rows.Due {
			rows.Retrying = append(rows.Retrying, retryFields{runFields: row})
		}
		for _, row := range rows.Retrying {
			run, err := flowRunOf(row, time.Time{})
			if err != nil {
				continue
			}
			if run.ID == "" || run.Claim != nil && run.State.Name != "Submitted" || run.JobFirst != (len(dueTasks(run)) > 0) || run.JobFirst && run.State.Name != "Running" {
				t.Fatalf("%+v", run)
			}
		}
	})
}

// FuzzErrors: whatever comes as errors is an error of a known kind, in few words.
func FuzzErrors(f *testing.F) {
	f.Add([]byte(`[{"message":"State update failed: this run has already been submitted.","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]`))
	f.Add([]byte(`"x"`))
	f.Add([]byte(`[null,{"message":5}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list := decodeErrors(raw)
		if k := kindOfErrors(list); k.String() == "" {
			t.Fatal("a kind without a name")
		}
		if s := exchange.Shorten(describe(list)); len(s) > exchange.MaxWords+len("…") {
			t.Fatalf("%d bytes", len(s))
		}
	})
}

func TestAttempt(t *testing.T) {
	const first = `{"id":"t2","version":4,"state":"Retrying","state_start_time":"2026-11-23T12:00:00+00:00"}`
	const later = `{"id":"t1","version":9,"state":"Retrying","state_start_time":"2026-11-23T12:00:01+00:00"}`
	for _, tc := range []struct {
		name, state, tasks string
		want               prefect.Attempt
	}{
		{"scheduled", "Scheduled", "", "v3"},
		{"running", "Running", "", "v3"},
		{"retry", "Running", first, "retry-t2-v4"},
		{"a second due task does not change the attempt", "Running", later + "," + first, "retry-t2-v4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var row retryFields
			text := `{"id":"r","version":3,"state":"` + tc.state + `","task_runs":[` + tc.tasks + `]}`
			if err := json.Unmarshal([]byte(text), &row); err != nil {
				t.Fatal(err)
			}
			run, err := flowRunOf(row, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if run.Attempt != tc.want {
				t.Errorf("Attempt = %q, want %q", run.Attempt, tc.want)
			}
			if noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC); run.JobFirst != (tc.tasks != "") || run.JobFirst && !run.Due.Equal(noon) {
				t.Errorf("needs its Job first: %v, due %s", run.JobFirst, run.Due)
			}
		})
	}
}

func TestAttemptsVersion(t *testing.T) {
	for attempt, want := range map[prefect.Attempt]int{"v1": 1, "v12": 12, "": 0, "v": 0, "1": 0, "v01": 0, "v+1": 0, "vv1": 0, "v1 ": 0, "retry-t-v4": 0} {
		got, ok := versionOf(attempt)
		if ok != (want > 0) || ok && got != want {
			t.Errorf("%q: %d, %v, want %d", attempt, got, ok, want)
		}
	}
}
