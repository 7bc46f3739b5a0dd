package prefecttest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// HTTP statuses and codes are the real server's (prefect1-server §b, §h).
func TestEnvelope(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	deep := "query { flow_run { flow { project { id } } task_runs { flow_run { task_runs { flow_run { task_runs { flow_run { id } } } } } } } }"
	for _, tc := range []struct {
		name      string
		query     string
		variables any
		status    int
		code      string
		data      bool
	}{
		{"hello", "query { hello }", nil, 200, "", true},
		{"variables as a string", "query($id: uuid!) { flow_run_by_pk(id: $id) { id } }", `{"id": "` + unknown + `"}`, 200, "", true},
		{"variables as an object", "query($id: uuid!) { flow_run_by_pk(id: $id) { id } }", fields{"id": unknown}, 200, "", true},
		{"variables as the string null", "query { hello }", "null", 200, "", true},
		{"variables as an empty string", "query { hello }", "", 200, "", true},
		{"unknown field", "query { nonsense }", nil, 400, "GRAPHQL_VALIDATION_FAILED", false},
		{"syntax", "query {", nil, 400, "GRAPHQL_VALIDATION_FAILED", false},
		{"too deep", deep, nil, 400, "GRAPHQL_VALIDATION_FAILED", false},
		{
			"unknown key of an input", "mutation($input: create_tenant_input!) { create_tenant(input: $input) { id } }",
			fields{"input": fields{"name": "n", "slug": "s", "extra": 1}},
			400, "INTERNAL_SERVER_ERROR", false,
		},
		{
			"missing key of an input", "mutation($input: create_tenant_input!) { create_tenant(input: $input) { id } }",
			fields{"input": fields{"name": "n"}},
			400, "INTERNAL_SERVER_ERROR", false,
		},
		{"an id that is none", "query($id: uuid!) { flow_run_by_pk(id: $id) { id } }", fields{"id": "zzz"}, 200, "INTERNAL_SERVER_ERROR", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, text := s.post(fields{"query": tc.query, "variables": tc.variables})
			var a answer
			if err := json.Unmarshal(text, &a); err != nil {
				t.Fatal(err)
			}
			if status != tc.status || a.code() != tc.code || bytes.Contains(text, []byte(`"data"`)) != tc.data {
				t.Errorf("%d %s, want %d with code %q and data: %t", status, text, tc.status, tc.code, tc.data)
			}
		})
	}
}

func TestHTTP(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		in                       string
	}{
		{"any path", "POST", "/graphql", `{"query":"query { hello }"}`, 200, "👋"},
		{"root", "POST", "/", `{"query":"query { hello }"}`, 200, "👋"},
		{"GET", "GET", "/", "", 405, ""},
		{"not JSON", "POST", "/", "nonsense", 400, "BAD_REQUEST"},
		{"variables are not JSON", "POST", "/", `{"query":"query { hello }","variables":"nonsense"}`, 400, "BAD_REQUEST"},
		{"too large", "POST", "/", `{"query":"` + strings.Repeat(" ", 5<<20) + `"}`, 413, "<html>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tc.method, tc.path, strings.NewReader(tc.body)))
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.in) {
				t.Errorf("%d %s, want %d and %q", w.Code, w.Body, tc.status, tc.in)
			}
		})
	}
}

// Cloud's key changes some answers (prefect1 §7).
func TestCloudDemandsItsKey(t *testing.T) {
	s := newStand(t, prefecttest.Options{Key: "secret"})
	for authorization, allowed := range map[string]bool{"": false, "Bearer wrong": false, "secret": false, "Bearer secret": true} {
		s.headers["Authorization"] = authorization
		a := s.call("query { auth_info { tenant_id } }", nil)
		if allowed {
			if diff := cmp.Diff(fields{"auth_info": fields{"tenant_id": s.Tenant()}}, a.Data); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			continue
		}
		if a.Status != http.StatusOK || a.code() != "UNAUTHENTICATED" || a.Data != nil {
			t.Errorf("%q: %+v", authorization, a)
		}
	}
}

func TestCloudLocksVersions(t *testing.T) {
	const wording = "State update failed for flow run ID %: provided version 1 but current version is 2."
	for _, tc := range []struct {
		locking prefecttest.Locking
		code    string
	}{{prefecttest.LockingByMessage, "INTERNAL_SERVER_ERROR"}, {prefecttest.LockingByCode, "VERSION_LOCKING_ERROR"}} {
		t.Run(string(tc.locking), func(t *testing.T) {
			s := newStand(t, prefecttest.Options{Locking: tc.locking})
			id := s.one()
			set := func(version any) answer {
				return s.mutate("set_flow_run_states", fields{"states": []any{fields{"flow_run_id": id, "version": version, "state": fields{"type": "Submitted"}}}}, "states { id }")
			}
			if a := set(1); a.message() != "" {
				t.Fatal(a.message())
			}
			if a := set(1); a.message() != strings.ReplaceAll(wording, "%", id) || a.code() != tc.code {
				t.Errorf("%q %s", a.message(), a.code())
			}
			s.now = s.now.Add(30 * time.Second)
			if a := set(nil); a.message() != "" {
				t.Errorf("no version asks for no lock: %s", a.message())
			}
		})
	}
}

func TestCloudLimitsLabels(t *testing.T) {
	s := newStand(t, prefecttest.Options{Limits: map[string]int{"db": 2}})
	ids := s.CreateRuns(prefecttest.Order{Count: 4, Labels: []string{"db"}})
	free := s.CreateRuns(prefecttest.Order{Count: 2, Labels: []string{"cpu"}})
	if diff := cmp.Diff(append(ids[:2:2], free...), s.queue("db", "cpu")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.mustSet(ids[0], fields{"type": "Submitted"})
	s.mustSet(ids[1], fields{"type": "Running"})
	if diff := cmp.Diff(free, s.queue("db", "cpu")); diff != "" {
		t.Errorf("with two taken (-want +got):\n%s", diff)
	}
	s.mustSet(ids[1], fields{"type": "Success"})
	if diff := cmp.Diff(append(ids[2:3:3], free...), s.queue("db", "cpu")); diff != "" {
		t.Errorf("with one finished (-want +got):\n%s", diff)
	}
}
