package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/config"
)

// A duration is one to read, in both formats and wherever it is in a line.
func TestDurationsInLogs(t *testing.T) {
	out := &output{}
	log := newLogger(out, config.Process{LogFormat: config.JSON})
	log.Info("m", "idle_timeout", 15*time.Minute, slog.Group("g", "d", time.Second), "n", 1)
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	want := map[string]any{"level": "INFO", "msg": "m", "idle_timeout": "15m0s", "g": map[string]any{"d": "1s"}, "n": 1.0}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// Whoever logs almost nothing is still told why the process ended.
func TestEndedWithoutALog(t *testing.T) {
	code, out := newWorld(t, "create").run(t, "launcher", "--log-level", "CRITICAL", "--idle-timeout", "1100ms")
	if want := "prefect-keda: the service account lacks permissions in namespace flows: create jobs.batch (to launch flow runs). Add them to its Role\n"; out != want || code != exitMisconfigured {
		t.Errorf("exit code %d, %s", code, out)
	}
}

// Every command that works with libraries takes their logs over, and main has it so.
func TestLibrariesLogThroughOurs(t *testing.T) {
	var adopted *slog.Logger
	var out strings.Builder
	s := streams{err: &out, libraries: func(log *slog.Logger) { adopted = log }}
	s.logger(config.Process{LogFormat: "text"})
	adopted.Warn("from a library")
	if !strings.Contains(out.String(), "from a library") {
		t.Errorf("the libraries' lines are elsewhere: %q", out.String())
	}
	if standard().libraries == nil {
		t.Error("of the process itself they are left alone")
	}
}

// TestMain: what libraries log of several processes in one is nobody's.
func TestMain(m *testing.M) {
	beProcess()
	adoptLibraries(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}
