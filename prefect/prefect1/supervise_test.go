package prefect1_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// A failed question about runs is an error, not an answer that there are none.
func TestSupervisionThatFails(t *testing.T) {
	noRows := ok(`{"troubled":[],"ending":[],"silent":[]}`)
	for name, tc := range map[string]struct {
		answers answers
		tenant  string
		fails   bool
	}{
		"not at all":            {answers{"supervise": noRows}, tenantID, false},
		"the tenant is unknown": {answers{"supervise": noRows}, "", true},
		"no answer":             {answers{}, tenantID, true},
		"a part is no answer": {answers{"supervise": func(w http.ResponseWriter, r request) {
			if strings.Contains(string(r.Variables), idOf(1)) && strings.Contains(string(r.Variables), idOf(2)) {
				wide(1100, map[string]string{"troubled": idOf(1)})(w, r)
			} else {
				http.Error(w, "no", http.StatusNotImplemented)
			}
		}}, tenantID, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFakeAPI(t, tc.answers).client(t, small, func(o *prefect1.Options) { o.TenantID = tc.tenant })
			_, err := c.Supervise(t.Context(), []string{idOf(1), idOf(2)}, nil)
			if (err != nil) != tc.fails || err != nil && !strings.HasPrefix(err.Error(), "read the flow runs of Jobs: ") {
				t.Error(err)
			}
		})
	}
}

func set(t *testing.T, api *prefecttest.API, id, state string) {
	t.Helper()
	if err := api.SetState(id, map[string]any{"type": state}); err != nil {
		t.Fatal(err)
	}
}
