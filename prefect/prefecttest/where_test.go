package prefecttest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Expressions select as Hasura does. "ours" is a Submitted run with a claim and
// labels a, b; "other" is Running and retries a task; "late" is scheduled ahead.
func TestWhere(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	flow := s.CreateFlow(prefecttest.FlowSpec{Name: "tasks", Tasks: []string{"a-1"}})
	ours := s.CreateRuns(prefecttest.Order{Name: "ours", Labels: []string{"a", "b"}, Parameters: fields{"n": 1}})[0]
	other := s.CreateRuns(prefecttest.Order{Name: "other", FlowID: flow, Labels: []string{}})[0]
	s.CreateRuns(prefecttest.Order{Name: "late", Labels: []string{"c"}, In: ago(-3600e9)})
	s.mustSet(ours, fields{"type": "Submitted", "context": fields{"prefect_keda": fields{"job": "j"}}})
	s.mustSet(other, fields{"type": "Running"})
	if err := s.SetTaskState(s.run(other).TaskRuns[0].ID, fields{"type": "Retrying", "start_time": "2026-11-23T12:00:00Z"}); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]string{
		`{}`:                              "ours other late",
		`{ id: { _eq: "` + ours + `" } }`: "ours",
		`{ id: { _eq: "` + strings.ToUpper(ours) + `" } }`:                                                  "ours",
		`{ id: { _neq: "` + ours + `" } }`:                                                                  "other late",
		`{ id: { _in: ["` + ours + `", "` + ours + `"] } }`:                                                 "ours",
		`{ id: { _in: [] } }`:                                                                               "",
		`{ id: { _nin: ["` + ours + `"] } }`:                                                                "other late",
		`{ agent_id: { _is_null: true } }`:                                                                  "ours other late",
		`{ agent_id: { _neq: "` + ours + `" } }`:                                                            "", // null is not unequal to anything
		`{ state: { _eq: "Submitted" } }`:                                                                   "ours",
		`{ state: { _neq: "Submitted" } }`:                                                                  "other late",
		`{ state: { _in: ["Submitted", "Running", "Running"] } }`:                                           "ours other",
		`{ state: { _nin: ["Submitted", "Running"] } }`:                                                     "late",
		`{ name: { _gt: "late", _lt: "ours" } }`:                                                            "other",
		`{ name: { _gte: "late", _lte: "other" } }`:                                                         "other late",
		`{ version: { _gt: 1, _lte: 2 } }`:                                                                  "ours other",
		`{ version: { _in: [1] } }`:                                                                         "late",
		`{ state_start_time: { _is_null: true } }`:                                                          "ours other",
		`{ state_start_time: { _lte: "2026-11-23T12:00:00Z" } }`:                                            "",
		`{ state_start_time: { _gt: "2026-11-23T12:00:00Z" } }`:                                             "late",
		`{ state_start_time: { _eq: "2026-11-23T14:00:00+01:00" } }`:                                        "late",
		`{ scheduled_start_time: { _lt: "2026-11-23T12:00:01Z" } }`:                                         "ours other",
		`{ labels: { _eq: ["a", "b"] } }`:                                                                   "ours",
		`{ labels: { _eq: ["b", "a"] } }`:                                                                   "",
		`{ labels: { _neq: [] } }`:                                                                          "ours late",
		`{ labels: { _contains: ["a"] } }`:                                                                  "ours",
		`{ labels: { _contained_in: ["a", "b", "c"] } }`:                                                    "ours other late",
		`{ labels: { _contained_in: ["a", "b", "c"], _neq: [] } }`:                                          "ours late",
		`{ labels: { _has_key: "c" } }`:                                                                     "late",
		`{ parameters: { _has_key: "n" } }`:                                                                 "ours",
		`{ parameters: { _contains: { n: 1 } } }`:                                                           "ours",
		`{ serialized_state: { _contains: { context: { prefect_keda: {} } } } }`:                            "ours",
		`{ serialized_state: { _contains: { context: { prefect_keda: { job: "k" } } } } }`:                  "",
		`{ flow: { name: { _eq: "tasks" } } }`:                                                              "other",
		`{ task_runs: { state: { _eq: "Retrying" }, state_start_time: { _lte: "2026-11-23T12:00:00Z" } } }`: "other",
		`{ task_runs: { state: { _eq: "Retrying" }, state_start_time: { _lt: "2026-11-23T12:00:00Z" } } }`:  "",
		`{ _or: [{ name: { _eq: "ours" } }, { name: { _eq: "late" } }] }`:                                   "ours late",
		`{ _or: [] }`:  "",
		`{ _and: [] }`: "ours other late",
		`{ _and: [{ name: { _neq: "ours" } }, { state: { _neq: "Running" } }] }`:                                                                       "late",
		`{ _not: { name: { _eq: "ours" } } }`:                                                                                                          "other late",
		`{ _not: { _or: [{ name: { _eq: "ours" } }, { flow: { name: { _eq: "tasks" } } }] } }`:                                                         "late",
		`{ _or: [{ state: { _eq: "Scheduled" } }, { state: { _eq: "Running" }, task_runs: { state_start_time: { _lte: "2026-11-23T12:00:00Z" } } }] }`: "other late",
	} {
		a := s.call("query { flow_run(where: "+where+") { name } flow_run_aggregate(where: "+where+") { aggregate { count } } }", nil)
		if a.Status != 200 || a.message() != "" {
			t.Errorf("%s: %d %s", where, a.Status, a.message())
			continue
		}
		rows := a.Data["flow_run"].([]any)
		var got []string
		for _, row := range rows {
			got = append(got, row.(map[string]any)["name"].(string))
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
		if n := a.Data["flow_run_aggregate"].(map[string]any)["aggregate"].(map[string]any)["count"]; n != float64(len(rows)) {
			t.Errorf("%s: the aggregate counts %v of %d", where, n, len(rows))
		}
	}
}

func TestOrderLimitOffset(t *testing.T) {
	s := newStand(t, prefecttest.Options{})
	for _, name := range []string{"b", "c", "a"} {
		s.CreateRuns(prefecttest.Order{Name: name})
	}
	paused := s.CreateRuns(prefecttest.Order{Name: "d"})[0]
	s.mustSet(paused, fields{"type": "Paused"})
	for args, want := range map[string]string{
		`order_by: { name: asc }`:                                          "a b c d",
		`order_by: [{ name: desc }]`:                                       "d c b a",
		`order_by: [{ state_start_time: asc }, { name: desc }]`:            "c b a d",
		`order_by: [{ state_start_time: desc }, { name: asc }]`:            "d a b c",
		`order_by: [{ state_start_time: desc_nulls_last }, { name: asc }]`: "a b c d",
		`order_by: [{ state_start_time: asc_nulls_first }, { name: asc }]`: "d a b c",
		`order_by: { name: asc }, limit: 2`:                                "a b",
		`order_by: { name: asc }, limit: 2, offset: 1`:                     "b c",
		`order_by: { name: asc }, offset: 9`:                               "",
		`order_by: { name: asc }, limit: -1`:                               "",
		`limit: 2`:                                                         "b c",
	} {
		a := s.call("query { flow_run("+args+") { name } }", nil)
		if a.message() != "" {
			t.Errorf("%s: %s", args, a.message())
			continue
		}
		var got []string
		for _, row := range a.Data["flow_run"].([]any) {
			got = append(got, row.(map[string]any)["name"].(string))
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", args, diff)
		}
	}
}

// Every query gets an envelope, and nothing panics.
func FuzzWhere(f *testing.F) {
	for _, seed := range []string{
		`{"id":{"_in":["x"]}}`, `{"labels":{"_contained_in":["a"]}}`, `{"_or":[{"state":{"_eq":"Running"}},{"_not":{"_and":[]}}]}`, `{"version":{"_lt":1e99}}`, `[]`, `{"_and":{"_or":null}}`,
		`{"serialized_state":{"_contains":{"context":{"a":[1,{}]}}}}`, `{"state_start_time":{"_lte":"2026-01-01T00:00:00Z","_is_null":false}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, where string) {
		s := newStand(t, prefecttest.Options{})
		s.CreateRuns(prefecttest.Order{Count: 2, Labels: []string{"a"}, Parameters: fields{"n": []any{1.0, fields{}}}})
		const query = "query($where: flow_run_bool_exp!) { flow_run(where: $where, order_by: [{ state_start_time: desc }]) { id labels serialized_state } }"
		for _, body := range []fields{
			{"query": query, "variables": `{"where":` + where + `}`},
			{"query": "query { flow_run(where: " + where + ") { id } }", "variables": "null"},
		} {
			status, text := s.post(body)
			if status != 200 && status != 400 {
				t.Errorf("%d %s", status, text)
			}
			if strings.Contains(string(text), "panic") {
				t.Errorf("%s", text)
			}
		}
	})
}
