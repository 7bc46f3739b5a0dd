package prefect1_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
)

// The key goes to the API and nowhere else: not into errors (not even when the
// API repeats it), logs, or a client or its options printed by mistake.
func TestKeyIsNeverShown(t *testing.T) {
	const key = "canary-key-5f1e"
	echo := func(w http.ResponseWriter, r request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"errors":[{"message":"Malformed Authorization header: `+r.Header.Get("Authorization")+`"}]}`)
	}
	page := func(w http.ResponseWriter, r request) {
		// Where errors are cut off, the key must not be cut before it is hidden.
		io.WriteString(w, strings.Repeat("x", 260)+r.Header.Get("Authorization")+"</html>")
	}
	api := newFakeAPI(t, answers{
		"setFlowRunStates": echo, "writeRunLogs": page, "observe": page, "dueRuns": echo, "claimedRuns": echo, "flowRun": echo,
		"updateFlowRunHeartbeat": page, "registerAgent": echo,
	})
	var out bytes.Buffer
	var options prefect1.Options
	c := api.client(t, func(o *prefect1.Options) {
		o.Key = key
		o.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		options = *o
	})
	run := prefect.FlowRun{ID: runID, State: prefect.State{Type: prefect.Scheduled}}
	_, err := c.Claim(t.Context(), run, prefect.Claim{})
	fmt.Fprintln(&out, err)
	fmt.Fprintln(&out, c.Fail(t.Context(), run, "x"), c.HandBack(t.Context(), run, noon, "x"))
	fmt.Fprintln(&out, c.Log(t.Context(), []prefect.LogEntry{{FlowRunID: runID, Message: "x"}}), c.Heartbeat(t.Context(), runID), c.Announce(t.Context(), nil))
	_, err = c.Observe(t.Context(), noon)
	fmt.Fprintln(&out, err)
	_, err = due(t, c, nil, noon, 1)
	fmt.Fprintln(&out, err)
	_, err = c.Claimed(t.Context(), nil)
	fmt.Fprintln(&out, err)
	_, err = c.FlowRun(t.Context(), runID)
	fmt.Fprintln(&out, err)
	fmt.Fprintf(&out, "%v %+v %#v %v %+v %#v\n", c, c, c, options, options, options)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("options", "options", options)
	_, err = prefect1.New(prefect1.Options{API: "ftp://user:" + key + "@host", Backend: "x", Key: key + "\n", TenantID: "x"})
	fmt.Fprintln(&out, err)

	if strings.Contains(out.String(), key[:6]) {
		t.Errorf("the key shows:\n%s", out.String())
	}
	// The test is worth nothing if the key was not there to be shown.
	for _, r := range api.asked("") {
		if r.Header.Get("Authorization") != "Bearer "+key {
			t.Errorf("%s was sent without the key", r.Op)
		}
	}
	if !strings.Contains(out.String(), "[hidden]") {
		t.Error("no error repeated the header, so nothing was hidden")
	}
}
