//go:build kedaversions

package kedaversions

import (
	"encoding/json"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// command and report are what testdata/driver reads and writes.
type command struct {
	Do, Scaler          string
	Push                bool
	Index               int
	MetricType          string
	Metadata, Env, Auth map[string]string
	Metric, Object      string
}

type report struct {
	Scaler string
	Pushed *bool
	Ended  bool
	Error  string
	Specs  []spec
	Values []value
	Active bool

	Kubernetes string
}

type spec struct{ Name, Kind, Type, Target string }

type value struct{ Name, Value string }

// patience is how long something may take on a busy machine before a test fails.
const patience = 2 * time.Minute

// keda is KEDA's client in a process of its own.
type keda struct {
	t       *testing.T
	in      *json.Encoder
	answers chan report

	mu     sync.Mutex
	log    strings.Builder
	pushed map[string][]bool
	ended  []string
}

// startKEDA starts the program, which leaves at the end of the test.
func startKEDA(t *testing.T, program string) *keda {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	k := &keda{t: t, answers: make(chan report, 1), pushed: map[string][]bool{}}
	cmd.Stderr = k
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	k.in = json.NewEncoder(in)
	read := make(chan struct{})
	go func() {
		defer close(read)
		k.read(json.NewDecoder(out))
	}()
	t.Cleanup(func() {
		in.Close()
		<-read
		_ = cmd.Wait() // t.Context may have killed it
		if t.Failed() {
			t.Logf("KEDA's log:\n%s", k.said())
		}
	})
	return k
}

// Write takes what KEDA logs.
func (k *keda) Write(text []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log.Write(text)
}

// said is KEDA's log so far.
func (k *keda) said() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log.String()
}

func (k *keda) read(reports *json.Decoder) {
	defer close(k.answers)
	for {
		var r report
		if reports.Decode(&r) != nil {
			return
		}
		k.mu.Lock()
		switch {
		case r.Pushed != nil:
			k.pushed[r.Scaler] = append(k.pushed[r.Scaler], *r.Pushed)
		case r.Ended:
			k.ended = append(k.ended, r.Scaler)
		}
		k.mu.Unlock()
		if r.Pushed == nil && !r.Ended {
			k.answers <- r
		}
	}
}

// tell has KEDA do something and returns what came of it.
func (k *keda) tell(c command) report {
	k.t.Helper()
	must(k.t, k.in.Encode(c))
	select {
	case r, ok := <-k.answers:
		if ok {
			return r
		}
		k.t.Fatalf("KEDA's client ended at %q", c.Do)
	case <-time.After(patience):
		k.t.Fatalf("KEDA's client does not answer %q", c.Do)
	}
	return report{}
}

// open is a ScaledObject that is applied.
func (k *keda) open(c command) {
	k.t.Helper()
	c.Do = "open"
	if r := k.tell(c); r.Error != "" {
		k.t.Fatalf("KEDA refuses the trigger of %s: %s", c.Scaler, r.Error)
	}
}

// spec is what KEDA makes the HPA of; nil if the scaler does not answer.
func (k *keda) spec(scaler string) []spec { return k.tell(command{Do: "spec", Scaler: scaler}).Specs }

// poll is what KEDA learns from a poll for its first metric.
func (k *keda) poll(scaler string) report {
	return k.tell(command{Do: "metrics", Scaler: scaler, Metric: "s0-prefect-runs"})
}

// heard is how often scaler was said to be active, and inactive.
func (k *keda) heard(scaler string) (active, inactive int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, said := range k.pushed[scaler] {
		if said {
			active++
		} else {
			inactive++
		}
	}
	return active, inactive
}

// await waits until something is so.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not so: %s", patience, what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
