package prefecttest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"query":"query { hello }","variables":"null"}`))
	f.Add([]byte(`{"query":"query { flow_run(where: { id: { _in: [\"x\"] } }) { id } }","variables":{}}`))
	f.Add([]byte(`{"query":"mutation($i: set_flow_run_states_input!) { set_flow_run_states(input: $i) { states { id } } }","variables":"{\"i\":{\"states\":{\"flow_run_id\":1,\"state\":[]}}}"}`))
	f.Add([]byte(`{"query":"mutation($i: write_run_logs_input!) { write_run_logs(input: $i) { success } }","variables":{"i":{"logs":[{"timestamp":"x"}]}}}`))
	api := prefecttest.New(prefecttest.Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body)))
		if !json.Valid(w.Body.Bytes()) || strings.Contains(w.Body.String(), "panic") {
			t.Errorf("answered %d with %q", w.Code, w.Body)
		}
	})
}
