package main

import (
	"strings"
	"testing"

	"github.com/prefect-keda/prefect-keda/config"
)

// TestMisplaced: a pod that kustomize's namespace: moved, and nothing with it, says so.
func TestMisplaced(t *testing.T) {
	for _, tc := range []struct {
		set, pod string
		wrong    bool
	}{
		{"prefect-keda", "prefect-keda", false},
		{"", "etl", false},            // a ConfigMap made before there was the setting
		{"prefect-keda", "", false},   // a terminal
		{"prefect-keda", "etl", true}, // namespace: etl
		{"etl", "prefect-keda", true}, // a ConfigMap copied from elsewhere
	} {
		err := misplaced(config.Kubernetes{Home: tc.set}, tc.pod)
		if (err != nil) != tc.wrong {
			t.Errorf("set to %q in %q: %v", tc.set, tc.pod, err)
		}
		if err != nil && (exitCode(err) != exitMisconfigured || !strings.Contains(err.Error(), "PREFECT_KEDA_NAMESPACE") || !strings.Contains(err.Error(), "set it to "+tc.pod)) {
			t.Errorf("it does not say what to do: %v", err)
		}
	}
}

// TestHome: check looks where it is told, else where its pod is.
func TestHome(t *testing.T) {
	for want, got := range map[string]string{
		"told":         home(config.Kubernetes{Home: "told"}, "pod"),
		"pod":          home(config.Kubernetes{}, "pod"),
		"prefect-keda": home(config.Kubernetes{}, ""),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
