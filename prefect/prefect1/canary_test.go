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
	neverShown(t, key[:6], "Bearer "+key, func(o *prefect1.Options) { o.Key = key })
}

// Nor are headers, or the user and password in an API's URL, plain or as sent. They go to
// the proxy rather than the key, as in the original client.
func TestUserAndPasswordAreNeverShown(t *testing.T) {
	const basic = "Basic Y2FuYXJ5LXVzZXI6Y2FuYXJ5LXAvdw==" // canary-user:canary-p/w
	neverShown(t, "canary", basic, func(o *prefect1.Options) {
		o.Key = "canary-key"
		o.API = strings.Replace(o.API, "http://", "http://canary-user:canary-p%2Fw@", 1)
	})
	neverShown(t, "Y2FuYXJ5", basic, func(o *prefect1.Options) {
		o.API = strings.Replace(o.API, "http://", "http://canary-user:canary-p%2Fw@", 1)
	})
	neverShown(t, "canary", "canary-header", func(o *prefect1.Options) {
		o.Key, o.Headers = "canary-key", http.Header{"Authorization": {"canary-header"}}
	})
}

func neverShown(t *testing.T, secret, sent string, open func(*prefect1.Options)) {
	t.Helper()
	echo := func(w http.ResponseWriter, r request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"errors":[{"message":"Malformed Authorization header: `+r.Header.Get("Authorization")+`"}]}`)
	}
	page := func(w http.ResponseWriter, r request) {
		// A cut must not leave a part of the key that is no longer recognised.
		io.WriteString(w, strings.Repeat("x", 260)+r.Header.Get("Authorization")+"</html>")
	}
	api := newFakeAPI(t, answers{
		"setFlowRunStates": echo, "writeRunLogs": page, "observe": page, "dueRuns": echo, "claimedRuns": echo, "flowRun": echo,
		"updateFlowRunHeartbeat": page, "registerAgent": echo,
	})
	var out bytes.Buffer
	var options prefect1.Options
	c := api.client(t, func(o *prefect1.Options) {
		open(o)
		o.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		options = *o
	})
	run := prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}
	_, err := c.Claim(t.Context(), run, prefect.Claim{})
	fmt.Fprintln(&out, err)
	fmt.Fprintln(&out, c.Fail(t.Context(), run, prefect.Failure{Message: "x"}), c.HandBack(t.Context(), run, noon, "x"))
	fmt.Fprintln(&out, c.Log(t.Context(), []prefect.LogEntry{{FlowRunID: runID, Message: "x"}}), c.Announce(t.Context(), prefect.Scope{}))
	_, err = c.Keep(t.Context(), run)
	fmt.Fprintln(&out, err)
	_, err = c.Observe(t.Context(), noon)
	fmt.Fprintln(&out, err)
	_, err = due(t, c, nil, noon, 1)
	fmt.Fprintln(&out, err)
	_, err = c.Claimed(t.Context(), prefect.Scope{})
	fmt.Fprintln(&out, err)
	_, err = c.FlowRun(t.Context(), runID)
	fmt.Fprintln(&out, err)
	fmt.Fprintf(&out, "%v %+v %#v %v %+v %#v\n", c, c, c, options, options, options)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("options", "options", options)
	_, err = prefect1.New(prefect1.Options{API: "ftp://user:" + secret + "@host", Backend: "x", Key: secret + "\n", TenantID: "x"})
	fmt.Fprintln(&out, err)

	if strings.Contains(out.String(), secret) {
		t.Errorf("it shows:\n%s", out.String())
	}
	// The test proves nothing if the key was not there to be shown.
	for _, r := range api.asked("") {
		if got := r.Header.Get("Authorization"); got != sent {
			t.Errorf("%s was sent with %q", r.Op, got)
		}
	}
	if !strings.Contains(out.String(), "[hidden]") {
		t.Error("no error repeated the header, so nothing was hidden")
	}
}
