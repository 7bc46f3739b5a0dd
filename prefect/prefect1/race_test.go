package prefect1_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// keeper is one flow run in a server that behaves as the real one was measured to
// (prefect1-server §a–§c): no version check, a memory of submissions per process, and the
// write before any fault.
type keeper struct {
	mu        sync.Mutex
	state     json.RawMessage
	version   int
	submitted bool
	// after is the answer instead of the truth once the state is written.
	after answer
}

func (k *keeper) answers() answers {
	return answers{"setFlowRunStates": k.set, "flowRun": k.get}
}

func (k *keeper) set(w http.ResponseWriter, r request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var v struct {
		Input struct {
			States []struct{ State json.RawMessage }
		}
	}
	if err := json.Unmarshal(r.Variables, &v); err != nil || len(v.Input.States) != 1 {
		http.Error(w, "bad input", http.StatusBadRequest)
		return
	}
	if k.submitted {
		refusal("State update failed: this run has already been submitted.", internal)(w, r)
		return
	}
	k.submitted, k.state = true, v.Input.States[0].State
	k.version++
	if k.after != nil {
		k.after(w, r)
		return
	}
	accepted(w, r)
}

func (k *keeper) get(w http.ResponseWriter, r request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var s struct{ Type string }
	if err := json.Unmarshal(k.state, &s); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ok(fmt.Sprintf(`{"flow_run":[{"id":%q,"version":%d,"labels":[],"state":%q,"serialized_state":%s}]}`, runID, k.version, s.Type, k.state))(w, r)
}

func newKeeper() *keeper {
	return &keeper{version: 1, state: json.RawMessage(`{"type":"Scheduled","start_time":"2026-11-23T12:00:00+00:00"}`)}
}

// Whatever goes wrong after the write, the claim is Unknown, and reading the run back
// shows it as ours.
func TestWhatWasAppliedIsReadBack(t *testing.T) {
	for name, after := range map[string]answer{
		"lost answer":       hangUp,
		"proxy gave up":     status(http.StatusGatewayTimeout, "<html>"),
		"bad agent id":      refusal("badly formed hexadecimal UUID string", internal),
		"API process ended": refusal("request to http://graphql:4201/graphql/ failed, reason: socket hang up", internal),
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper()
			k.after = after
			c := newFakeAPI(t, k.answers()).client(t)
			run, err := c.FlowRun(t.Context(), runID)
			if err != nil {
				t.Fatal(err)
			}
			result, err := c.Claim(t.Context(), run, claim)
			if err != nil || result.Answer != prefect.Unknown || result.Reason == "" {
				t.Fatalf("claim: %+v, %v", result, err)
			}
			back, err := c.FlowRun(t.Context(), runID)
			if diff := cmp.Diff(&claim, back.Claim); err != nil || diff != "" {
				t.Errorf("read back: %v %s", err, diff)
			}
			// Another claim, instead of a read, would have lost the run.
			if again, err := c.Claim(t.Context(), run, claim); err != nil || again.Answer != prefect.NotNow {
				t.Errorf("claimed again: %+v, %v", again, err)
			}
		})
	}
}
