package main

import (
	"log/slog"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
)

// The rules that config tells operators of are also those of the packages that
// obey them. At the edge of what config accepts both processes can be built; what
// is beyond it config refuses first.
func TestRulesAreOne(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cfg := &rest.Config{Host: "http://127.0.0.1:1"}
	for _, tc := range []struct {
		name             string
		within           []string
		beyond           string
		launcher, scaler bool
	}{
		{"defaults", nil, "", true, true},
		{"poll interval", []string{"PREFECT_KEDA_POLL_INTERVAL=100ms"}, "PREFECT_KEDA_POLL_INTERVAL=99ms", true, true},
		{"idle timeout", []string{"PREFECT_KEDA_IDLE_TIMEOUT=1001ms"}, "PREFECT_KEDA_IDLE_TIMEOUT=1s", true, false},
		{"warm-up lead", []string{"PREFECT_KEDA_WARM_UP_LEAD=10m"}, "PREFECT_KEDA_WARM_UP_LEAD=601s", false, true},
		{"staleness", []string{"PREFECT_KEDA_MAX_STALENESS=20s"}, "PREFECT_KEDA_MAX_STALENESS=19s", false, true},
		{"staleness and time-out", []string{"PREFECT__CLOUD__REQUEST_TIMEOUT=1", "PREFECT_KEDA_MAX_STALENESS=6s"}, "PREFECT_KEDA_MAX_STALENESS=5s", false, true},
		{"request time-out", []string{"PREFECT__CLOUD__REQUEST_TIMEOUT=0.1"}, "PREFECT__CLOUD__REQUEST_TIMEOUT=0.09", false, true},
		{"pod grace", []string{"PREFECT_KEDA_POD_GRACE=1s", "PREFECT_KEDA_PENDING_TIMEOUT=1001ms"}, "PREFECT_KEDA_PENDING_TIMEOUT=1s", true, true},
		{"cancel grace", []string{"PREFECT_KEDA_CANCEL_GRACE=1m"}, "PREFECT_KEDA_CANCEL_GRACE=59s", true, true},
		{"finished grace", []string{"PREFECT_KEDA_FINISHED_GRACE=1m"}, "PREFECT_KEDA_FINISHED_GRACE=59s", true, true},
		{"time to live", []string{"PREFECT_KEDA_JOB_TTL=" + (job.MinTTLSeconds * time.Second).String()}, "PREFECT_KEDA_JOB_TTL=" + (job.MinTTLSeconds*time.Second - 1).String(), true, false},
		{"the longest time to live", []string{"PREFECT_KEDA_JOB_TTL=8760h"}, "PREFECT_KEDA_JOB_TTL=8761h", true, false},
		{"concurrency", []string{"PREFECT_KEDA_CONCURRENCY=1000"}, "PREFECT_KEDA_CONCURRENCY=1001", true, false},
	} {
		load := func(more ...string) (l config.Launcher, s config.Scaler, launcherErr, scalerErr error) {
			env := parseEnviron(append([]string{"PREFECT__BACKEND=server"}, more...))
			l, launcherErr = config.LoadLauncher(t.Context(), env)
			s, scalerErr = config.LoadScaler(t.Context(), env)
			return l, s, launcherErr, scalerErr
		}
		l, s, launcherErr, scalerErr := load(tc.within...)
		if launcherErr == nil {
			_, launcherErr = buildLauncher(l, cfg, log, nil)
		}
		if scalerErr == nil {
			_, scalerErr = buildScaler(s, cfg, log, nil)
		}
		if tc.launcher && launcherErr != nil || tc.scaler && scalerErr != nil {
			t.Errorf("%s: launcher: %v, scaler: %v", tc.name, launcherErr, scalerErr)
		}
		if ttl := jobSettings(l).TTLSeconds; ttl < job.MinTTLSeconds || time.Duration(ttl)*time.Second != l.JobTTL {
			t.Errorf("%s: %s became %d seconds", tc.name, l.JobTTL, ttl)
		}
		if tc.beyond == "" {
			continue
		}
		_, _, launcherErr, scalerErr = load(append(tc.within, tc.beyond)...)
		if tc.launcher && launcherErr == nil || tc.scaler && scalerErr == nil {
			t.Errorf("%s: config lets %s through: launcher: %v, scaler: %v", tc.name, tc.beyond, launcherErr, scalerErr)
		}
	}
}
