package main

import (
	"log/slog"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/kube"
)

// A launcher takes what its settings may say: both know that it has to poll twice
// before it leaves. A time to live stays what it is.
func TestLauncherTakesItsSettings(t *testing.T) {
	client, err := kube.NewClient(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{
		"PREFECT_KEDA_POLL_INTERVAL=100ms", "PREFECT_KEDA_IDLE_TIMEOUT=1001ms", "PREFECT_KEDA_IDLE_TIMEOUT=0",
		"PREFECT_KEDA_JOB_TTL=" + (job.MinTTLSeconds * time.Second).String(), "PREFECT_KEDA_JOB_TTL=8760h",
	} {
		s, err := config.LoadLauncher(t.Context(), parseEnviron([]string{"PREFECT__BACKEND=server", setting}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := buildLauncher(s, client, nil, slog.New(slog.DiscardHandler), nil); err != nil {
			t.Errorf("%s: %v", setting, err)
		}
		if ttl := jobSettings(s).TTLSeconds; time.Duration(ttl)*time.Second != s.JobTTL {
			t.Errorf("%s: %s became %d seconds", setting, s.JobTTL, ttl)
		}
	}
}
