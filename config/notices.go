package config

import (
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

// dead are variables that may stand in an agent's environment block and do
// nothing here: most did nothing in the agent either (prefect1-spec §5.2, §5.4).
func dead() []string {
	return []string{
		"JOB_MEM_REQUEST", "JOB_MEM_LIMIT", "JOB_CPU_REQUEST", "JOB_CPU_LIMIT", "IMAGE_PULL_POLICY",
		"PREFECT__CLOUD__AGENT__AUTH_TOKEN", "PREFECT__CLOUD__AUTH_TOKEN", "PREFECT__CLOUD__DIAGNOSTICS", "PREFECT__LOGGING__FORMAT",
		"PREFECT__CLOUD__RATE_LIMITING__BACKOFF_S", "PREFECT__CLOUD__RATE_LIMITING__BACKOFF_MULTIPLIER",
		"PREFECT__CLOUD__RATE_LIMITING__BACKOFF_EXPONENT", "PREFECT__CLOUD__RATE_LIMITING__MAX_RETRIES",
	}
}

// Ignored returns the variables that are set, were the agent's, and have no
// effect; for one line at start-up.
func Ignored(env envconfig.Lookuper) []string {
	return slices.DeleteFunc(dead(), func(name string) bool {
		text, _ := env.Lookup(name)
		return text == ""
	})
}

// Unknown returns the variables that begin as ours do and are none of ours:
// most likely misspelt. Those of connections are known for the connections there
// are. Variables Kubernetes makes of Services look similar and are left out.
func Unknown(env envconfig.Lookuper, names []string) []string {
	known := map[string]bool{}
	for _, s := range slices.Concat(Settings(Launcher{}), Settings(Scaler{})) {
		known[s.Variable] = true
	}
	var connections Names
	text, _ := env.Lookup("PREFECT_KEDA_CONNECTIONS")
	_ = connections.UnmarshalText([]byte(text)) // never fails
	for _, name := range connections {
		for _, s := range Settings(Connection{}) {
			known[Connection{Name: name}.Variable(s.Variable)] = true
		}
	}
	var unknown []string
	for _, name := range names {
		ours := strings.HasPrefix(name, "PREFECT_KEDA_")
		service := strings.Contains(name, "_SERVICE_") || strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_PORT")
		if ours && !known[name] && !service {
			unknown = append(unknown, name)
		}
	}
	return unknown
}
