package config

import (
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

// dead are variables that an agent's environment block may hold and that have no effect
// here. Most had none in the agent either (prefect1 §5.2, §5.4).
func dead() []string {
	return []string{
		"JOB_MEM_REQUEST", "JOB_MEM_LIMIT", "JOB_CPU_REQUEST", "JOB_CPU_LIMIT", "IMAGE_PULL_POLICY",
		"PREFECT__CLOUD__AGENT__AUTH_TOKEN", "PREFECT__CLOUD__AUTH_TOKEN", "PREFECT__CLOUD__DIAGNOSTICS", "PREFECT__LOGGING__FORMAT",
		"PREFECT__CLOUD__RATE_LIMITING__BACKOFF_S", "PREFECT__CLOUD__RATE_LIMITING__BACKOFF_MULTIPLIER",
		"PREFECT__CLOUD__RATE_LIMITING__BACKOFF_EXPONENT", "PREFECT__CLOUD__RATE_LIMITING__MAX_RETRIES",
	}
}

// Ignored returns the agent's variables that are set and have no effect, for one line at
// start-up.
func Ignored(env envconfig.Lookuper) []string {
	return slices.DeleteFunc(dead(), func(name string) bool {
		text, _ := env.Lookup(name)
		return text == ""
	})
}

// Notice says of one variable why it has no effect.
type Notice struct{ Variable, Why string }

// Notices are about the variables of a worker that are set and have no effect here.
func Notices(env envconfig.Lookuper) []Notice {
	return slices.DeleteFunc(deadInWorkers(), func(n Notice) bool {
		text, _ := env.Lookup(n.Variable)
		return text == ""
	})
}

// deadInWorkers are variables that a worker's environment may hold and that have no effect
// here, with what takes their place.
func deadInWorkers() []Notice {
	const kubernetes = "PREFECT_INTEGRATIONS_KUBERNETES_"
	const retries = "a launcher hands a run back when Kubernetes takes no Job, and it is launched again later"
	const byReference = "PREFECT_KEDA_API_KEY_SECRET names the Secret from which pods read the key"
	const watched = "the scaler watches Jobs and launchers report on them"
	const ourClient = "our own client has fixed rules for this; flows' pods get the variable"
	return []Notice{
		{"PREFECT_WORKER_QUERY_SECONDS", "PREFECT_KEDA_POLL_INTERVAL says how often we look"},
		{"PREFECT_WORKER_HEARTBEAT_SECONDS", "the scaler tells work pools every five minutes that it is there"},
		{"PREFECT_WORKER_ENABLE_CANCELLATION", "cancelled runs are always ended; PREFECT_KEDA_CANCEL_GRACE says when"},
		{"PREFECT_WORKER_CANCELLATION_POLL_SECONDS", "cancelled runs are seen within seconds"},
		{"PREFECT_WORKER_DEBUG_MODE", "PREFECT_LOGGING_LEVEL=DEBUG shows more"},
		{"PREFECT_WORKER_WEBSERVER_HOST", "PREFECT_KEDA_OPS_LISTEN is the address of health and metrics"},
		{"PREFECT_WORKER_WEBSERVER_PORT", "PREFECT_KEDA_OPS_LISTEN is the address of health and metrics"},
		{kubernetes + "WORKER_CREATE_SECRET_FOR_API_KEY", byReference},
		{"PREFECT_KUBERNETES_WORKER_STORE_PREFECT_API_IN_SECRET", byReference},
		{kubernetes + "WORKER_CREATE_JOB_RETRY_MAX_RETRIES", retries},
		{kubernetes + "WORKER_CREATE_JOB_RETRY_DELAY_SECONDS", retries},
		{kubernetes + "WORKER_CREATE_JOB_RETRY_JITTER_MIN_SECONDS", retries},
		{kubernetes + "WORKER_CREATE_JOB_RETRY_JITTER_MAX_SECONDS", retries},
		{kubernetes + "CLUSTER_UID", "a cluster is known by the UID of the Jobs' namespace"},
		{"PREFECT_KUBERNETES_CLUSTER_UID", "a cluster is known by the UID of the Jobs' namespace"},
		{kubernetes + "OBSERVER_ENABLED", watched},
		{kubernetes + "OBSERVER_REPLICATE_POD_EVENTS", "what is wrong with a pod is in the run's log"},
		{kubernetes + "OBSERVER_ADDITIONAL_LABEL_FILTERS", "only Jobs of ours are judged"},
		{kubernetes + "OBSERVER_STARTUP_EVENT_CONCURRENCY", watched},
		{kubernetes + "OBSERVER_FORWARD_CRASHED_RUN_LOGS", "PREFECT_KEDA_FAILED_LOG_LINES=0 turns that off"},
		{"PREFECT_API_ENABLE_HTTP2", ourClient},
		{"PREFECT_CLIENT_MAX_RETRIES", ourClient},
		{"PREFECT_CLIENT_RETRY_JITTER_FACTOR", ourClient},
		{"PREFECT_CLIENT_RETRY_EXTRA_CODES", ourClient},
		{"PREFECT_CLIENT_METRICS_ENABLED", "PREFECT_KEDA_OPS_LISTEN serves our metrics; flows' pods get the variable"},
		{"PREFECT_CLIENT_METRICS_PORT", "PREFECT_KEDA_OPS_LISTEN serves our metrics; flows' pods get the variable"},
	}
}

// Unknown returns variables with our prefix that we do not know; most likely they are
// misspelt. Variables of the configured connections are known. Variables that Kubernetes
// makes of Services look similar, so Unknown leaves those out.
func Unknown(env envconfig.Lookuper, names []string) []string {
	known := map[string]bool{}
	for _, s := range slices.Concat(Settings(Launcher{}), Settings(Scaler{})) {
		known[s.Variable], known[s.Variable3] = true, true
	}
	var connections Names
	text, _ := env.Lookup("PREFECT_KEDA_CONNECTIONS")
	_ = connections.UnmarshalText([]byte(text)) // loading them reports the error
	for _, name := range connections {
		for _, s := range Settings(Connection{}) {
			known[Connection{Name: name}.Variable(s.Variable)] = true
		}
	}
	var unknown []string
	for _, name := range names {
		if strings.HasPrefix(name, "PREFECT_KEDA_") && !known[name] && !ofService(name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// ofService is true of what Kubernetes calls the variables that it makes of Services.
func ofService(name string) bool {
	return strings.Contains(name, "_SERVICE_") || strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_PORT")
}

// PassedOn are the settings of Prefect 3's client that flows' pods get as they are, as from
// a worker: those of the client, of logs, results, flows and tasks. What a pod gets in
// another way, and what belongs to a server or a worker, is not among them.
func PassedOn(env envconfig.Lookuper, names []string) EnvVars {
	settings := []string{"PREFECT_API_REQUEST_TIMEOUT", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "PREFECT_API_SSL_CERT_FILE", "PREFECT_API_ENABLE_HTTP2", "PREFECT_DEBUG_MODE", "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK"}
	prefixes := []string{"PREFECT_CLIENT_", "PREFECT_CLOUD_", "PREFECT_FLOWS_", "PREFECT_LOGGING_", "PREFECT_RESULTS_", "PREFECT_RUNNER_", "PREFECT_TASKS_", "PREFECT_TELEMETRY_"}
	var passed EnvVars
	for _, name := range slices.Sorted(slices.Values(names)) {
		begins := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		if text, _ := env.Lookup(name); text != "" && (begins && !ofService(name) || slices.Contains(settings, name)) {
			passed = append(passed, EnvVar{Name: name, Value: text})
		}
	}
	return passed
}
