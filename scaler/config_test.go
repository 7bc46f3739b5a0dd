package scaler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAllThatIsWrongWithTheOptionsIsSaidAtOnce(t *testing.T) {
	_, err := New(Options{
		Listen: "9090", PollInterval: time.Millisecond, PollTimeout: time.Minute, MaxStaleness: time.Minute,
		WarmUpLead: time.Hour, TLS: &TLS{CertFile: "x"},
		Connections: map[string]Connection{
			"a b":  {Source: &fakeSource{}},
			"prod": {JobNamespaces: []string{""}},
		},
	})
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`scaler settings: listen address "9090": give host:port or :port: address 9090: missing port in address`,
		`connection "a b": a name has up to 63 letters, digits, '.', '_' or '-'`,
		`connection "prod": no Prefect API given`,
		`connection "prod": watching Jobs in  needs a Kubernetes client`,
		`connection "prod": no label given by which its Jobs are known`,
		`connection "prod": a job namespace is empty; name each one`,
		`warm-up lead is 1h0m0s: at most 10m0s`,
		`poll interval is 1ms: at least 100ms`,
		`maximum staleness is 1m0s: it must be at least 1m0.005s, 5 times the poll interval (1ms) plus the poll timeout (1m0s)`,
		`TLS needs both a certificate file and a key file`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
	o := options(&fakeSource{})
	o.TLS = &TLS{CertFile: "x", KeyFile: "x", ClientNames: []string{"keda"}}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "names of clients need a file with the CA of their certificates") {
		t.Errorf("names without a CA: %v", err)
	}
	if _, err := New(Options{Listen: ":0"}); err == nil || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("without a connection: %v", err)
	}
}

// No duration that was set to zero becomes another silently where zero means
// something. What the rest becomes is nobody's choice: settings refuse it.
func TestZeroIsZeroWhereItMeansSomething(t *testing.T) {
	o := Options{}.withDefaults()
	got := map[string]time.Duration{
		"poll interval": o.PollInterval, "poll timeout": o.PollTimeout, "maximum staleness": o.MaxStaleness,
		"warm-up lead": o.WarmUpLead, "grace of pods": o.Rules.Grace, "time a run may wait for its pod": o.Rules.PendingFor,
	}
	want := map[string]time.Duration{
		"poll interval": time.Second, "poll timeout": 15 * time.Second, "maximum staleness": 2 * time.Minute,
		"warm-up lead": 0, "grace of pods": time.Minute, "time a run may wait for its pod": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// With no lead, a scheduled run wakes a launcher when it is due.
func TestNoWarmUpLead(t *testing.T) {
	f := &fakeSource{}
	o := bubbleOptions(f)
	o.WarmUpLead = 0
	inBubble(t, o, func(t *testing.T, s *Server) {
		when := time.Now().Add(47 * time.Second)
		f.set(run("1", when))
		open(t, s, func(st *fakeStream) {
			pass(time.Minute)
			if diff := cmp.Diff(when, st.got()[0]); diff != "" {
				t.Error(diff)
			}
		})
	})
}

func TestRunSaysWhyItCannotListen(t *testing.T) {
	o := options(&fakeSource{})
	o.Listen = "256.0.0.1:1"
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "listen for KEDA: ") {
		t.Errorf("error %v", err)
	}
}
