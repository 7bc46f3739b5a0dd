package soak

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnexplained(t *testing.T) {
	const (
		harmless = `{"time":"t","level":"INFO","msg":"panic: is no panic in a message"}` + "\n"
		warning  = `{"time":"t","level":"WARN","msg":"upstream is failing"}` + "\n"
		failure  = `{"time":"t","level":"ERROR","msg":"it failed","err":"EOF"}`
		role     = `{"time":"t","level":"ERROR","msg":"permissions are missing, or the namespace is; waiting for them","err":"no"}` + "\n"
		panicked = "panic: runtime error: index out of range [1]"
		fatal    = "fatal error: all goroutines are asleep"
		race     = "WARNING: DATA RACE"
	)
	log := harmless + warning + role + failure + "\n" + panicked + "\n" + fatal + "\n" + race
	if d := cmp.Diff([]string{failure, panicked, fatal, race}, Unexplained(log)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if lines := Unexplained(""); lines != nil {
		t.Errorf("of nothing: %q", lines)
	}
}

func TestCreated(t *testing.T) {
	const log = `{"level":"INFO","msg":"created the Job","job":"a"}` + "\n" + `{"level":"INFO","msg":"adopted the Job the run has","job":"b"}` + "\n" +
		"created the Job\n" + `{"level":"INFO","msg":"created the Job","job":"c"}`
	if n := Created(log); n != 2 {
		t.Errorf("%d, want 2", n)
	}
}
