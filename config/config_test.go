package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/scaler"
)

// server is the least that has to be set.
func server(more ...string) envconfig.Lookuper {
	env := map[string]string{"PREFECT__BACKEND": "server"}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return envconfig.MapLookuper(env)
}

// TestEverySettingHasAnEffect sets each variable alone, and then each flag alone,
// to its example, and wants a typed field to differ: a setting that nothing reads
// is worse than none.
func TestEverySettingHasAnEffect(t *testing.T) {
	load := map[string]func(envconfig.Lookuper) any{
		"launcher": func(l envconfig.Lookuper) any { v, _ := config.LoadLauncher(t.Context(), l); return v },
		"scaler":   func(l envconfig.Lookuper) any { v, _ := config.LoadScaler(t.Context(), l); return v },
	}
	for _, kind := range []config.Kind{config.Prefect1, config.Prefect3} {
		for process, of := range map[string]any{"launcher": config.Launcher{}, "scaler": config.Scaler{}} {
			for _, s := range config.Settings(of) {
				if s.Only == "" || s.Only == kind {
					t.Run(fmt.Sprint(kind, " ", process, " ", s.Variable), func(t *testing.T) { hasAnEffect(t, s, of, kind, load[process]) })
				}
			}
		}
	}
}

func hasAnEffect(t *testing.T, s config.Setting, of any, kind config.Kind, load func(envconfig.Lookuper) any) {
	if s.Help == "" || s.Example == "" || s.Group == "" {
		t.Fatalf("needs a group, help and an example: %+v", s)
	}
	if strings.Contains(s.Default+s.Default3, "$") {
		t.Errorf("a default with a $ is expanded by go-envconfig")
	}
	with := func(variable, text string) envconfig.Lookuper {
		return envconfig.MapLookuper(map[string]string{"PREFECT_KEDA_BACKEND": string(kind), variable: text})
	}
	unset := load(with("", ""))
	if s.Variable == "PREFECT_KEDA_BACKEND" {
		unset = load(envconfig.MapLookuper(nil))
	}
	byVariable := load(with(s.For(kind), s.Example))
	if cmp.Equal(unset, byVariable) {
		t.Errorf("%s=%s changes no field", s.For(kind), s.Example)
	}
	if s.Variable3 != "" && kind == config.Prefect3 && !cmp.Equal(byVariable, load(with(s.Variable3, s.Example))) {
		t.Errorf("%s does not do what %s does", s.Variable3, s.For(kind))
	}
	if s.Flag == "" {
		if !strings.HasPrefix(s.Variable, "PREFECT_INTEGRATIONS_") {
			t.Error("needs a flag")
		}
		return
	}
	fs := flagsOf(of)
	flag := "--" + s.Flag + "=" + s.Example
	if fs.Lookup(s.Flag).Value.Type() == "bool" {
		flag = "--" + s.Flag
	}
	if s.Flag == "env" {
		flag = "--env=A=1"
	}
	if err := fs.Parse([]string{flag}); err != nil {
		t.Fatal(err)
	}
	byFlag := load(config.Override(with("", ""), of, fs))
	if d := cmp.Diff(byVariable, byFlag); d != "" {
		t.Errorf("%s and %s=%s differ (-variable +flag):\n%s", flag, s.For(kind), s.Example, d)
	}
	// And the flag wins over the variable.
	both := load(config.Override(with(s.For(kind), "%"), of, fs))
	if d := cmp.Diff(byFlag, both); d != "" {
		t.Errorf("the flag does not override the variable:\n%s", d)
	}
}

func flagsOf(of any) *pflag.FlagSet {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, g := range config.Flags(of) {
		fs.AddFlagSet(g.Flags)
	}
	return fs
}

// A duration of zero is taken as zero or refused by name: it never becomes a
// default behind the operator's back.
func TestDurationsOfZero(t *testing.T) {
	load := map[string]func(envconfig.Lookuper) error{
		"launcher": func(l envconfig.Lookuper) error { _, err := config.LoadLauncher(t.Context(), l); return err },
		"scaler":   func(l envconfig.Lookuper) error { _, err := config.LoadScaler(t.Context(), l); return err },
	}
	taken := map[string]bool{}
	for process, of := range map[string]any{"launcher": config.Launcher{}, "scaler": config.Scaler{}} {
		for _, s := range config.Settings(of) {
			if _, err := time.ParseDuration(s.Default); err != nil && s.Variable != "PREFECT__CLOUD__REQUEST_TIMEOUT" {
				continue
			}
			err := load[process](server(s.Variable, "0s"))
			taken[process+" "+s.Variable] = err == nil
			if want := s.Variable + " (--" + s.Flag + "): is 0s: give "; err != nil && !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s=0s: the error %q does not begin with %q", s.Variable, err, want)
			}
		}
	}
	want := map[string]bool{
		"launcher PREFECT__CLOUD__REQUEST_TIMEOUT": false,
		"launcher PREFECT_KEDA_JOB_TTL":            false,
		"launcher PREFECT_KEDA_IDLE_TIMEOUT":       true,
		"launcher PREFECT_KEDA_POLL_INTERVAL":      false,
		"launcher PREFECT_KEDA_LOOKAHEAD":          true,
		"launcher PREFECT_KEDA_CLAIM_GRACE":        false,
		"launcher PREFECT_KEDA_DRAIN_TIMEOUT":      false,
		"launcher PREFECT_KEDA_POD_GRACE":          false,
		"launcher PREFECT_KEDA_PENDING_TIMEOUT":    true,
		"launcher PREFECT_KEDA_CANCEL_GRACE":       true,
		"launcher PREFECT_KEDA_FINISHED_GRACE":     true,
		"scaler PREFECT__CLOUD__REQUEST_TIMEOUT":   false,
		"scaler PREFECT_KEDA_POLL_INTERVAL":        false,
		"scaler PREFECT_KEDA_WARM_UP_LEAD":         true,
		"scaler PREFECT_KEDA_MAX_STALENESS":        false,
		"scaler PREFECT_KEDA_POD_GRACE":            false,
		"scaler PREFECT_KEDA_PENDING_TIMEOUT":      true,
		"scaler PREFECT_KEDA_CANCEL_GRACE":         true,
		"scaler PREFECT_KEDA_FINISHED_GRACE":       true,
	}
	if diff := cmp.Diff(want, taken); diff != "" {
		t.Errorf("taken as zero (-want +got):\n%s", diff)
	}
}

func TestAgentBlock(t *testing.T) {
	// What `prefect agent kubernetes install` writes, with its empty strings.
	got, err := config.LoadLauncher(t.Context(), envconfig.MapLookuper(map[string]string{
		"PREFECT__CLOUD__AGENT__AUTH_TOKEN":    "",
		"PREFECT__CLOUD__API":                  "http://apollo:4200",
		"NAMESPACE":                            "flows",
		"IMAGE_PULL_SECRETS":                   "",
		"PREFECT__CLOUD__AGENT__LABELS":        "['b', 'a']",
		"JOB_MEM_REQUEST":                      "",
		"SERVICE_ACCOUNT_NAME":                 "",
		"PREFECT__BACKEND":                     "server",
		"PREFECT__CLOUD__AGENT__AGENT_ADDRESS": "http://:8080",
		"PREFECT__CLOUD__API_KEY":              "",
		"PREFECT__CLOUD__TENANT_ID":            "",
		"PREFECT__CLOUD__AGENT__ENV_VARS":      `{"A": "1"}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Launcher{
		Prefect: config.Prefect{
			Kind: config.Prefect1, Backend: config.Server, API: "http://apollo:4200", CSRF: true, Announce: true, RequestTimeout: config.Seconds(15 * time.Second),
			ServerHost: "http://localhost", ServerPort: 4200, CloudEndpoint: "https://api.prefect.io",
		},
		Agent: config.Agent{Name: "agent", Labels: config.Labels{"b", "a"}, AgentAddress: ":8080"},
		Jobs: config.Jobs{
			Namespace: "flows", EnvVars: config.EnvVars{{Name: "A", Value: "1"}}, LoggingLevel: "INFO",
			SendFlowRunLogs: true, DeleteFinishedJobs: true, JobTTL: 10 * time.Minute, TemplateSecrets: config.InSecret,
		},
		Launching: config.Launching{
			IdleTimeout: 15 * time.Minute, PollInterval: time.Second, Lookahead: 10 * time.Second,
			Concurrency: 16, ClaimGrace: 10 * time.Second, DrainTimeout: 25 * time.Second,
		},
		Trouble:    config.Trouble{PodGrace: time.Minute, CancelGrace: 10 * time.Minute},
		Aftermath:  config.Aftermath{LogLines: 50},
		Process:    config.Process{OpsListen: ":8080", LogFormat: config.Auto},
		Kubernetes: config.Kubernetes{KubeQPS: 1000, KubeBurst: 2000},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// Prefect's own switch is on for exactly one spelling, and set-to-nothing is off.
func TestDeleteFinishedJobs(t *testing.T) {
	for text, want := range map[string]config.ExactlyTrue{"True": true, "true": false, "": false, "False": false} {
		got, err := config.LoadLauncher(t.Context(), server("DELETE_FINISHED_JOBS", text))
		if err != nil || got.DeleteFinishedJobs != want {
			t.Errorf("DELETE_FINISHED_JOBS=%q: %v, %v; want %v", text, got.DeleteFinishedJobs, err, want)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, tc := range []struct {
		want string
		env  []string
	}{
		{"http://localhost:4200", nil},
		{"https://api.prefect.io", []string{"PREFECT__BACKEND", "cloud"}},
		{"http://prefect:4300", []string{"PREFECT__SERVER__HOST", "http://prefect", "PREFECT__SERVER__PORT", "4300"}},
		{"http://b:1", []string{"PREFECT__SERVER__HOST", "http://a", "PREFECT__SERVER__ENDPOINT", "http://b:1"}},
		{"http://c:1", []string{"PREFECT__SERVER__ENDPOINT", "http://b:1", "PREFECT__CLOUD__API", "http://c:1"}},
	} {
		got, _ := config.LoadLauncher(t.Context(), server(tc.env...))
		if got.Address().Reveal() != tc.want {
			t.Errorf("%q: %s, want %s", tc.env, got.Address(), tc.want)
		}
	}
}

// Where one address can be listened at beside the other, both are.
func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		a, b config.Address
		want bool
	}{
		{":8080", "127.0.0.1:8080", true},
		{"0.0.0.0:8080", ":8080", true},
		{"[::]:8080", "10.0.0.1:8080", true},
		{"127.0.0.1:8080", "127.0.0.1:8080", true},
		{"127.0.0.1:8080", ":8080", false},
		{"127.0.0.1:8080", "10.0.0.1:8080", false},
		{":8080", ":8081", false},
		{":0", ":0", false},
		{"", ":8080", false},
		{":8080", "", false},
	} {
		if got := tc.a.Covers(tc.b); got != tc.want {
			t.Errorf("%q covers %q: %v", tc.a, tc.b, got)
		}
	}
}

func TestConnections(t *testing.T) {
	got, err := config.LoadScaler(t.Context(), server(
		"NAMESPACE", "flows", "PREFECT_KEDA_CONNECTIONS", "team-a, prod",
		"PREFECT_KEDA_CONNECTION_TEAM_A_BACKEND", "server", "PREFECT_KEDA_CONNECTION_TEAM_A_API", "http://a:4200",
		"PREFECT_KEDA_CONNECTION_PROD_API_KEY", "k", "PREFECT_KEDA_CONNECTION_PROD_NAMESPACE", "one,two",
		"PREFECT_KEDA_ALLOWED_NAMESPACES", "flows", "PREFECT_KEDA_CONNECTION_PROD_ALLOWED_NAMESPACES", "*",
	))
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Connection{
		{Name: "team-a", Backend: config.Server, API: "http://a:4200", JobNamespaces: config.Names{"flows"}, AllowedNamespaces: config.Names{"flows"}},
		{Name: "prod", Backend: config.Cloud, Key: "k", JobNamespaces: config.Names{"one", "two"}, AllowedNamespaces: config.Names{"*"}},
	}
	if d := cmp.Diff(want, got.Named); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestInterpolation(t *testing.T) {
	env := config.Environment(envconfig.MapLookuper(map[string]string{
		"HOME": "/home/p", "A": "1",
		"PREFECT__X": "~/$A/${A}b/$UNKNOWN/${A/$", "OTHER": "$A",
	}))
	for name, want := range map[string]string{"PREFECT__X": "/home/p/1/1b/$UNKNOWN/${A/$", "OTHER": "$A"} {
		if got, _ := env.Lookup(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// TestAllProblemsAtOnce compares the whole text an operator sees.
func TestAllProblemsAtOnce(t *testing.T) {
	_, err := config.LoadLauncher(t.Context(), envconfig.MapLookuper(map[string]string{
		"PREFECT__CLOUD__API":             "apollo:4200",
		"PREFECT__CLOUD__TENANT_ID":       "mine",
		"PREFECT__CLOUD__AGENT__LABELS":   "['a",
		"PREFECT__CLOUD__AGENT__ENV_VARS": "A",
		"PREFECT__CLOUD__AGENT__LEVEL":    "LOUD",
		"PREFECT_KEDA_POLL_INTERVAL":      "often",
		"PREFECT_KEDA_IDLE_TIMEOUT":       "1s",
		"PREFECT_KEDA_JOB_TTL":            "1m",
		"PREFECT_KEDA_KUBE_QPS":           "many",
		"PREFECT_KEDA_CONCURRENCY":        "0",
		"PREFECT_KEDA_PENDING_TIMEOUT":    "30s",
		"PREFECT_KEDA_FAILED_LOG_LINES":   "-1",
		"PREFECT_KEDA_API_KEY_SECRET":     "prefect",
		"NAMESPACE":                       "Flows",
		"PREFECT_KEDA_OPS_LISTEN":         "localhost",
	}))
	want := strings.TrimSpace(`
PREFECT__CLOUD__AGENT__LABELS (--label): cannot be read: character 2 opens a quote that is never closed: give a list such as ['a', 'b'] or a,b
PREFECT__CLOUD__AGENT__ENV_VARS (--env): variable 1 has no =: give KEY=VALUE; where a value has a comma, use {'KEY': 'VALUE'}
PREFECT_KEDA_API_KEY_SECRET (--api-key-secret): "prefect" does not name a key of a Secret: give NAME/KEY, for example prefect-api-key/api-key
PREFECT_KEDA_POLL_INTERVAL (--poll-interval): "often" is not a duration: give for example 90s, 15m or 1h
PREFECT_KEDA_OPS_LISTEN (--ops-listen): "localhost" has no port: give for example :8080 or http://:8080
PREFECT__CLOUD__AGENT__LEVEL (--log-level): "LOUD" is not a log level: give DEBUG, INFO, WARNING, ERROR or CRITICAL
PREFECT_KEDA_KUBE_QPS (--kube-qps): "many" is not a number
PREFECT__CLOUD__API (--api): is not a URL: give one like http://host:4200 or https://api.prefect.io
PREFECT__CLOUD__API_KEY (--key): is not set, but Prefect Cloud needs a key: give it, or set PREFECT__BACKEND=server, or for Prefect 3 give PREFECT_API_URL
PREFECT__CLOUD__TENANT_ID (--tenant-id): "mine" is not a UUID
PREFECT_KEDA_PENDING_TIMEOUT (--pending-timeout): is 30s: give more than PREFECT_KEDA_POD_GRACE (1m0s), or 0 to let runs wait
PREFECT_KEDA_FAILED_LOG_LINES (--failed-log-lines): is -1: give 0 to 1000
NAMESPACE (--namespace): "Flows" cannot be the name of a namespace
PREFECT_KEDA_JOB_TTL (--job-ttl): is 1m0s: give at least 5m0s, because only the name of the finished Job stops a late launcher from starting the run again
PREFECT_KEDA_IDLE_TIMEOUT (--idle-timeout): is 1s: give more than PREFECT_KEDA_POLL_INTERVAL (1s), or the launcher leaves before its second poll; or 0 to stay
PREFECT_KEDA_CONCURRENCY (--concurrency): is 0: give 1 to 1000`)
	if d := cmp.Diff(want, fmt.Sprint(err)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if _, ok := errors.AsType[config.Problem](err); !ok {
		t.Error("the error is no Problem")
	}
}

// Settings are taken up to their bounds, and not beyond.
func TestBounds(t *testing.T) {
	text := func(d time.Duration) string { return d.String() }
	for _, tc := range []struct {
		name             string
		within           []string
		beyond           []string
		launcher, scaler bool
	}{
		{"poll interval", []string{"PREFECT_KEDA_POLL_INTERVAL", text(scaler.MinPollInterval)}, []string{"PREFECT_KEDA_POLL_INTERVAL", "99ms"}, true, true},
		{"idle timeout", []string{"PREFECT_KEDA_IDLE_TIMEOUT", "1001ms"}, []string{"PREFECT_KEDA_IDLE_TIMEOUT", "1s"}, true, false},
		{"no idle timeout", []string{"PREFECT_KEDA_IDLE_TIMEOUT", "0", "PREFECT_KEDA_POLL_INTERVAL", "20s"}, []string{"PREFECT_KEDA_IDLE_TIMEOUT", "-1s"}, true, false},
		{"warm-up lead", []string{"PREFECT_KEDA_WARM_UP_LEAD", text(scaler.MaxWarmUpLead)}, []string{"PREFECT_KEDA_WARM_UP_LEAD", "601s"}, false, true},
		{"staleness", []string{"PREFECT_KEDA_MAX_STALENESS", text(scaler.MinStaleness(time.Second, 15*time.Second))}, []string{"PREFECT_KEDA_MAX_STALENESS", "19s"}, false, true},
		{"staleness and time-out", []string{"PREFECT__CLOUD__REQUEST_TIMEOUT", "1", "PREFECT_KEDA_MAX_STALENESS", "6s"}, []string{"PREFECT_KEDA_MAX_STALENESS", "5s"}, false, true},
		{"request time-out", []string{"PREFECT__CLOUD__REQUEST_TIMEOUT", "0.1"}, []string{"PREFECT__CLOUD__REQUEST_TIMEOUT", "0.09"}, true, true},
		{"pod grace", []string{"PREFECT_KEDA_POD_GRACE", "1s", "PREFECT_KEDA_PENDING_TIMEOUT", "1001ms"}, []string{"PREFECT_KEDA_PENDING_TIMEOUT", "1s"}, true, true},
		{"cancel grace", []string{"PREFECT_KEDA_CANCEL_GRACE", "1m"}, []string{"PREFECT_KEDA_CANCEL_GRACE", "59s"}, true, true},
		{"finished grace", []string{"PREFECT_KEDA_FINISHED_GRACE", "1m"}, []string{"PREFECT_KEDA_FINISHED_GRACE", "59s"}, true, true},
		{"time to live", []string{"PREFECT_KEDA_JOB_TTL", text(job.MinTTLSeconds * time.Second)}, []string{"PREFECT_KEDA_JOB_TTL", text(job.MinTTLSeconds*time.Second - 1)}, true, false},
		{"the longest time to live", []string{"PREFECT_KEDA_JOB_TTL", "8760h"}, []string{"PREFECT_KEDA_JOB_TTL", "8761h"}, true, false},
		{"concurrency", []string{"PREFECT_KEDA_CONCURRENCY", "1000"}, []string{"PREFECT_KEDA_CONCURRENCY", "1001"}, true, false},
	} {
		load := func(env []string) (launcher, scaler error) {
			_, launcher = config.LoadLauncher(t.Context(), server(env...))
			_, scaler = config.LoadScaler(t.Context(), server(env...))
			return launcher, scaler
		}
		if launcher, scaler := load(tc.within); launcher != nil || scaler != nil {
			t.Errorf("%s: launcher: %v, scaler: %v", tc.name, launcher, scaler)
		}
		launcher, scaler := load(append(tc.within, tc.beyond...))
		if (launcher != nil) != tc.launcher || (scaler != nil) != tc.scaler {
			t.Errorf("%s: with %s launcher: %v, scaler: %v", tc.name, tc.beyond, launcher, scaler)
		}
	}
}

func TestScalerProblems(t *testing.T) {
	for _, tc := range []struct {
		want string
		env  []string
	}{
		{"PREFECT_KEDA_MAX_STALENESS (--max-staleness): is 10s: give at least 20s, 5 times PREFECT_KEDA_POLL_INTERVAL plus PREFECT__CLOUD__REQUEST_TIMEOUT, or one slow answer makes KEDA freeze", []string{"PREFECT_KEDA_MAX_STALENESS", "10s"}},
		{"PREFECT_KEDA_TLS_CERT_FILE (--tls-cert-file): goes together with PREFECT_KEDA_TLS_KEY_FILE: give both or none", []string{"PREFECT_KEDA_TLS_CERT_FILE", "/c"}},
		{"PREFECT_KEDA_TLS_CLIENT_CA_FILE (--tls-client-ca-file): asks for client certificates, which needs TLS: give PREFECT_KEDA_TLS_CERT_FILE and PREFECT_KEDA_TLS_KEY_FILE too", []string{"PREFECT_KEDA_TLS_CLIENT_CA_FILE", "/c"}},
		{"PREFECT_KEDA_CANCEL_GRACE (--cancel-grace): is 30s: give at least 1m0s, because a flow needs up to half a minute to notice and then some time to end; or 0 to leave it alone", []string{"PREFECT_KEDA_CANCEL_GRACE", "30s"}},
		{"PREFECT_KEDA_FINISHED_GRACE (--finished-grace): is -1s: give at least 1m0s, because every pod outlives its run by some seconds; or 0 to leave it alone", []string{"PREFECT_KEDA_FINISHED_GRACE", "-1s"}},
		{"PREFECT_KEDA_LISTEN (--listen): has the same port as PREFECT_KEDA_OPS_LISTEN (:8080): give another one", []string{"PREFECT_KEDA_LISTEN", ":8080"}},
		{"PREFECT_KEDA_TLS_CLIENT_NAMES (--tls-client-names): asks for names in client certificates: give PREFECT_KEDA_TLS_CLIENT_CA_FILE too", []string{"PREFECT_KEDA_TLS_CLIENT_NAMES", "keda", "PREFECT_KEDA_TLS_CERT_FILE", "/c", "PREFECT_KEDA_TLS_KEY_FILE", "/k"}},
		{`PREFECT_KEDA_ALLOWED_NAMESPACES (--allowed-namespaces): "a.b" cannot be the name of a namespace: give names, or * for all`, []string{"PREFECT_KEDA_ALLOWED_NAMESPACES", "*,a.b"}},
		{"PREFECT_KEDA_ALLOWED_NAMESPACES (--allowed-namespaces): names no namespace: give names, or * for all", []string{"PREFECT_KEDA_ALLOWED_NAMESPACES", ","}},
		{`PREFECT_KEDA_CONNECTION_A_ALLOWED_NAMESPACES: "?" cannot be the name of a namespace: give names, or * for all`, []string{"PREFECT_KEDA_CONNECTIONS", "a", "PREFECT_KEDA_CONNECTION_A_API_KEY", "k", "PREFECT_KEDA_CONNECTION_A_ALLOWED_NAMESPACES", "?"}},
		{`PREFECT_KEDA_CONNECTIONS (--connections): "default" cannot be the name of a further connection: use lower-case letters, digits and -, and not default`, []string{"PREFECT_KEDA_CONNECTIONS", "default", "PREFECT_KEDA_CONNECTION_DEFAULT_API_KEY", "k"}},
		{"PREFECT_KEDA_CONNECTION_A_API_KEY: is not set, but Prefect Cloud needs a key: give it, or set PREFECT_KEDA_CONNECTION_A_BACKEND=server", []string{"PREFECT_KEDA_CONNECTIONS", "a"}},
		{"PREFECT_KEDA_CONNECTION_A_BACKEND: \"x\" is not a kind of Prefect API: give cloud or server, or prefect3", []string{"PREFECT_KEDA_CONNECTIONS", "a", "PREFECT_KEDA_CONNECTION_A_BACKEND", "x", "PREFECT_KEDA_CONNECTION_A_API_KEY", "k"}},
		{"PREFECT_KEDA_POD_GRACE (--pod-grace): is 0s: give at least 1s, or every pod is in trouble while it starts", []string{"PREFECT_KEDA_POD_GRACE", "0s"}},
		{"PREFECT_KEDA_KUBE_BURST (--kube-burst): is 1: give at least PREFECT_KEDA_KUBE_QPS (1000)", []string{"PREFECT_KEDA_KUBE_BURST", "1"}},
	} {
		_, err := config.LoadScaler(t.Context(), server(tc.env...))
		if d := cmp.Diff(tc.want, fmt.Sprint(err)); d != "" {
			t.Errorf("%q: -want +got:\n%s", tc.env, d)
		}
	}
}

// What is wrong is said of the variable it is in, and in no parser's words.
func TestLauncherProblems(t *testing.T) {
	for _, tc := range []struct {
		want string
		env  []string
	}{
		{"PREFECT__SERVER__HOST (--server-host): is not a URL: give one like http://host, without the port", []string{"PREFECT__SERVER__HOST", "foo"}},
		{"PREFECT__SERVER__PORT (--server-port): is 99999: give 1 to 65535", []string{"PREFECT__SERVER__PORT", "99999"}},
		{"PREFECT__SERVER__PORT (--server-port): is 0: give 1 to 65535\nPREFECT__SERVER__HOST (--server-host): is not a URL: give one like http://host, without the port", []string{"PREFECT__SERVER__PORT", "0", "PREFECT__SERVER__HOST", "foo"}},
		{"<nil>", []string{"PREFECT__SERVER__ENDPOINT", "http://u:p@x"}},
		{"PREFECT__SERVER__ENDPOINT (--server-endpoint): is not a URL: give one like http://host:4200 or https://api.prefect.io; in user and password, escape all but letters and digits: %40 for @, %3A for :, %2F for /", []string{"PREFECT__SERVER__ENDPOINT", "http://u:p/q@x"}},
		{"PREFECT_KEDA_API_HEADERS (--api-headers): line 2 has no colon: give NAME: VALUE, each on a line of its own, or {'NAME': 'VALUE'}", []string{"PREFECT_KEDA_API_HEADERS", "A: 1\ncanary"}},
		{"PREFECT__CLOUD__ENDPOINT (--cloud-endpoint): is not a URL: give one like http://host:4200 or https://api.prefect.io", []string{"PREFECT__BACKEND", "cloud", "PREFECT__CLOUD__API_KEY", "k", "PREFECT__CLOUD__ENDPOINT", "foo"}},
		{"PREFECT__CLOUD__AGENT__AGENT_ADDRESS (--agent-address): is 0.0.0.0:8080, which takes the port of PREFECT_KEDA_OPS_LISTEN (127.0.0.1:8080) on all addresses: give another port, or the same address", []string{"PREFECT__CLOUD__AGENT__AGENT_ADDRESS", "http://0.0.0.0:8080", "PREFECT_KEDA_OPS_LISTEN", "127.0.0.1:8080"}},
		{"<nil>", []string{"PREFECT__CLOUD__AGENT__AGENT_ADDRESS", "http://0.0.0.0:8080"}},
		// What another setting makes irrelevant does not matter.
		{"<nil>", []string{"PREFECT__CLOUD__API", "http://x", "PREFECT__SERVER__HOST", "foo", "PREFECT__SERVER__PORT", "0", "PREFECT__CLOUD__ENDPOINT", "foo"}},
		{`PREFECT_KEDA_POD_RETRIES (--pod-retries): "maybe" is neither true nor false`, []string{"PREFECT_KEDA_POD_RETRIES", "maybe"}},
		{`PREFECT__CLOUD__SEND_FLOW_RUN_LOGS (--no-cloud-logs): "maybe" is neither true nor false`, []string{"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", "maybe"}},
		{`PREFECT_KEDA_CONCURRENCY (--concurrency): "1.5" is not a whole number`, []string{"PREFECT_KEDA_CONCURRENCY", "1.5"}},
		{`PREFECT_KEDA_CONCURRENCY (--concurrency): "99999999999999999999" is too large`, []string{"PREFECT_KEDA_CONCURRENCY", "99999999999999999999"}},
		{"PREFECT_KEDA_CONCURRENCY (--concurrency): is 1000000000: give 1 to 1000", []string{"PREFECT_KEDA_CONCURRENCY", "1000000000"}},
		{`PREFECT_KEDA_LOOKAHEAD (--lookahead): "10" has no unit: give for example 90s, 15m or 1h`, []string{"PREFECT_KEDA_LOOKAHEAD", "10"}},
		{`PREFECT_KEDA_LOOKAHEAD (--lookahead): "1d" is not a duration: give for example 90s, 15m or 1h`, []string{"PREFECT_KEDA_LOOKAHEAD", "1d"}},
		{"PREFECT_KEDA_JOB_TTL (--job-ttl): is 600000h0m0s: give at most 8760h0m0s, or keep finished Jobs by DELETE_FINISHED_JOBS=False", []string{"PREFECT_KEDA_JOB_TTL", "600000h"}},
		{"PREFECT_KEDA_KUBE_QPS (--kube-qps): is NaN: give a number above 0, up to 100000", []string{"PREFECT_KEDA_KUBE_QPS", "NaN"}},
		{"PREFECT_KEDA_KUBE_QPS (--kube-qps): is +Inf: give a number above 0, up to 100000", []string{"PREFECT_KEDA_KUBE_QPS", "inf"}},
		{`PREFECT_KEDA_KUBE_QPS (--kube-qps): "1e99" is too large`, []string{"PREFECT_KEDA_KUBE_QPS", "1e99"}},
	} {
		_, err := config.LoadLauncher(t.Context(), server(tc.env...))
		if d := cmp.Diff(tc.want, fmt.Sprint(err)); d != "" {
			t.Errorf("%q: -want +got:\n%s", tc.env, d)
		}
	}
}

// Flags say which of them is wrong; each has its own place and text.
func TestRepeatedFlags(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"-e", "A=1", "-e", "secret", "-e", "C=2"}, "PREFECT__CLOUD__AGENT__ENV_VARS (--env): variable 2 has no =: give KEY=VALUE"},
		{[]string{"-e", "A=1", "-e", "", "-e", "it's, secret"}, "PREFECT__CLOUD__AGENT__ENV_VARS (--env): variable 2 has no =: give KEY=VALUE"},
		{[]string{"-e", "=1"}, "PREFECT__CLOUD__AGENT__ENV_VARS (--env): has a variable without a name: give KEY=VALUE"},
	} {
		fs := flagsOf(config.Launcher{})
		if err := fs.Parse(tc.args); err != nil {
			t.Fatal(err)
		}
		_, err := config.LoadLauncher(t.Context(), config.Override(server(), config.Launcher{}, fs))
		if d := cmp.Diff(tc.want, fmt.Sprint(err)); d != "" {
			t.Errorf("%q: -want +got:\n%s", tc.args, d)
		}
	}
}

// A flag that turns something off says so, and not what its variable says.
func TestFlagsHaveTheirOwnText(t *testing.T) {
	for _, s := range config.Settings(config.Launcher{}) {
		if own := s.FlagHelp != s.Help; own != (s.Off != "" || s.Short == "l" || s.Short == "e") {
			t.Errorf("%s: the flag says %q, the variable %q", s.Name(), s.FlagHelp, s.Help)
		}
	}
}

// What a flag set finds wrong is told in our words.
func TestFlagProblem(t *testing.T) {
	for flag, want := range map[string]string{
		"--pod-retries=maybe": `--pod-retries: "maybe" is neither true nor false`,
		"--n=1.5":             `--n: "1.5" is not a whole number`,
		"--d=10":              `--d: "10" has no unit: give for example 90s, 15m or 1h`,
		"--d=x":               `--d: "x" is not a duration: give for example 90s, 15m or 1h`,
		"--bogus":             "unknown flag: --bogus",
		"--api":               "flag needs an argument: --api",
	} {
		fs := flagsOf(config.Launcher{})
		fs.Int("n", 0, "")
		fs.Duration("d", 0, "")
		if d := cmp.Diff(want, fmt.Sprint(config.FlagProblem(fs.Parse([]string{flag})))); d != "" {
			t.Errorf("%s: -want +got:\n%s", flag, d)
		}
	}
}

// The canary must not come out of any way to print settings, nor of any error.
func TestSecretsStayHidden(t *testing.T) {
	const canary = "canary-1234"
	env := []string{
		"PREFECT__CLOUD__API_KEY", canary, "PREFECT__CLOUD__AGENT__ENV_VARS", "{'TOKEN': '" + canary + "'}",
		"JOB_TEMPLATE", "https://" + canary + "@host/job.yaml?sig=" + canary,
	}
	l, err := config.LoadLauncher(t.Context(), server(env...))
	if err != nil {
		t.Fatal(err)
	}
	if l.Key.Reveal() != canary {
		t.Fatal("the key was not read")
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%v %+v %#v %s %q %x", l, l, l, l.Key, l.Key, l.Key)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("settings", "all", l, "key", l.Key, "prefect", l.Prefect)
	slog.New(slog.NewTextHandler(&out, nil)).Info("settings", "all", l, "key", l.Key, "jobs", l.Jobs)
	if err := json.NewEncoder(&out).Encode(l); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"{'A': " + canary + "}", canary, "{'A': '" + canary, canary + "=" + canary + "," + canary} {
		_, err := config.LoadLauncher(t.Context(), server("PREFECT__CLOUD__AGENT__ENV_VARS", bad))
		if err == nil {
			t.Errorf("%q was accepted", bad)
		}
		fmt.Fprintln(&out, err)
	}
	_, err = config.LoadLauncher(t.Context(), server("PREFECT__CLOUD__API_KEY", canary+"\n", "PREFECT__CLOUD__API", "http://u:"+canary+"@h"))
	fmt.Fprintln(&out, err)
	hides(t, canary, out.String())
}

func hides(t *testing.T, secret, text string) {
	t.Helper()
	if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
		t.Errorf("a secret is shown:\n%s", text)
	}
}

func TestNotices(t *testing.T) {
	got := config.Ignored(server("JOB_MEM_REQUEST", "1Gi", "JOB_CPU_LIMIT", "", "PREFECT__CLOUD__AGENT__AUTH_TOKEN", "x"))
	if d := cmp.Diff([]string{"JOB_MEM_REQUEST", "PREFECT__CLOUD__AGENT__AUTH_TOKEN"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	got = config.Unknown(server("PREFECT_KEDA_CONNECTIONS", "a, team-b"), []string{"PREFECT_KEDA_CONNECTION_TEAM_B_NAMESPACE", "PREFECT_KEDA_CONNECTION_TEAM_B_KEY", "PREFECT_KEDA_CONNECTION_C_API", "PREFECT_KEDA_IDEL_TIMEOUT", "PREFECT_KEDA_IDLE_TIMEOUT", "PREFECT_KEDA_LISTEN", "PREFECT_KEDA_SCALER_SERVICE_HOST", "PREFECT_KEDA_SCALER_PORT", "PREFECT_KEDA_CONNECTION_A_API", "PATH"})
	if d := cmp.Diff([]string{"PREFECT_KEDA_CONNECTION_TEAM_B_KEY", "PREFECT_KEDA_CONNECTION_C_API", "PREFECT_KEDA_IDEL_TIMEOUT"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// Both processes read one ConfigMap: a variable they share must be one setting.
func TestSharedVariablesAgree(t *testing.T) {
	scaler := map[string]config.Setting{}
	for _, s := range config.Settings(config.Scaler{}) {
		scaler[s.Variable] = s
	}
	for _, l := range config.Settings(config.Launcher{}) {
		if s, shared := scaler[l.Variable]; shared && (s.Default != l.Default || s.Flag != l.Flag) {
			t.Errorf("%s is %+v in the launcher and %+v in the scaler", l.Variable, l, s)
		}
	}
	if len(scaler) == 0 || reflect.TypeFor[config.Scaler]().NumField() == 0 {
		t.Error("no settings found")
	}
}
