package prefecttest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Each part has only the variables and fragments it needs: a server refuses others.
func TestSplitQueriesAreAnsweredPartByPart(t *testing.T) {
	const query = `
		query all($a: String!, $b: String!, $limit: Int) {
			one: flow_run(where: { state: { _eq: $a } }, limit: $limit) { ...row }
			two: flow_run(where: { state: { _in: [$b] } }) { ...row tasks: task_runs(where: { state: { _eq: $a } }) { id } }
			three: flow_run { state }
		}
		fragment row on flow_run { id }`
	variables := fields{"a": "Scheduled", "b": "Running", "limit": 5}
	for name, tc := range map[string]struct {
		first []string
		asked []string
		want  string
	}{
		"in the order of the document": {nil, []string{"two", "three"}, `{"one":[{"id":"ID"}],"two":[{"id":"ID","tasks":[]}],"three":[{"state":"Success"}]}`},
		"in another order":             {[]string{"three", "two"}, []string{"two", "one"}, `{"one":[],"two":[{"id":"ID","tasks":[]}],"three":[{"state":"Scheduled"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, prefecttest.Options{})
			id := s.one()
			states := []string{"Running", "Success"}
			var asked []string
			s.Split(func(next string) {
				asked = append(asked, next)
				s.mustSet(id, fields{"type": states[0]})
				states = states[1:]
			}, tc.first...)
			got := s.call(query, variables)
			if got.Status != 200 || got.message() != "" {
				t.Fatalf("%d %s", got.Status, got.message())
			}
			var want map[string]any
			if err := json.Unmarshal([]byte(strings.ReplaceAll(tc.want, "ID", id)), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.Data); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tc.asked, asked); diff != "" {
				t.Errorf("asked between (-want +got):\n%s", diff)
			}
		})
	}
}
