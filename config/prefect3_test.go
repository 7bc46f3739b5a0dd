package config_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/prefect-keda/prefect-keda/config"
)

// server3 is the least that has to be set for Prefect 3.
func server3(more ...string) envconfig.Lookuper {
	env := map[string]string{"PREFECT_API_URL": "http://prefect:4200/api"}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return envconfig.MapLookuper(env)
}

// parsed is an environment with flags of the launcher in front of it.
func parsed(t *testing.T, env envconfig.Lookuper, args ...string) envconfig.Lookuper {
	t.Helper()
	fs := flagsOf(config.Launcher{})
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return config.Override(env, config.Launcher{}, fs)
}

func TestKind(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		args []string
		want config.Kind
		err  string
	}{
		{"nothing", nil, nil, config.Prefect1, ""},
		{"a worker's", map[string]string{"PREFECT_API_URL": "http://h/api"}, nil, config.Prefect3, ""},
		{"a worker's without its URL", map[string]string{"PREFECT_API_KEY": "k"}, nil, config.Prefect3, ""},
		{"only ours", map[string]string{"PREFECT_KEDA_WORK_POOLS": "a"}, nil, config.Prefect3, ""},
		{"an agent's", map[string]string{"PREFECT__BACKEND": "server"}, nil, config.Prefect1, ""},
		{"an agent's without a backend", map[string]string{"PREFECT__CLOUD__AGENT__NAME": "etl"}, nil, config.Prefect1, ""},
		{"prefect3 as a backend", map[string]string{"PREFECT__BACKEND": "prefect3"}, nil, config.Prefect3, ""},
		{"by flags of a worker", nil, []string{"-p", "a"}, config.Prefect3, ""},
		{"by flags of an agent", nil, []string{"--backend", "server", "--api", "http://h"}, config.Prefect1, ""},
		{"flags that both have", map[string]string{"PREFECT_API_URL": "http://h/api"}, []string{"--name", "etl", "--api", "http://i/api", "--log-level", "DEBUG", "-l", "5"}, config.Prefect3, ""},
		{
			"both",
			map[string]string{"PREFECT_API_URL": "http://h/api", "PREFECT__CLOUD__API": "http://h"},
			nil, config.Prefect3,
			"PREFECT_API_URL and PREFECT__CLOUD__API: are for two kinds of Prefect: remove one of them (PREFECT_API_URL is Prefect 3's, PREFECT__CLOUD__API is Prefect 1's), or say by PREFECT_KEDA_BACKEND=prefect3 or prefect1 which of them counts",
		},
		{
			"both, one by a flag",
			map[string]string{"PREFECT_API_URL": "http://h/api"},
			[]string{"--backend", "server"},
			config.Prefect3,
			"PREFECT_API_URL and --backend: are for two kinds of Prefect: remove one of them (PREFECT_API_URL is Prefect 3's, --backend is Prefect 1's), or say by PREFECT_KEDA_BACKEND=prefect3 or prefect1 which of them counts",
		},
		{"both, decided", map[string]string{"PREFECT_API_URL": "http://h/api", "PREFECT__BACKEND": "server", "PREFECT_KEDA_BACKEND": "prefect1"}, nil, config.Prefect1, ""},
		{"both, decided by a flag", map[string]string{"PREFECT_API_URL": "http://h/api", "PREFECT__BACKEND": "server"}, []string{"--prefect", "3"}, config.Prefect3, ""},
	} {
		got, err := config.KindOf(parsed(t, envconfig.MapLookuper(tc.env), tc.args...))
		if got != tc.want || errorText(err) != tc.err {
			t.Errorf("%s: %q, %v; want %q, %s", tc.name, got, err, tc.want, tc.err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What a worker is told, the launcher takes as it is.
func TestWorkersEnvironment(t *testing.T) {
	const ours = "PREFECT_INTEGRATIONS_KUBERNETES_"
	got, err := config.LoadLauncher(t.Context(), server3(
		"PREFECT_API_KEY", "k", "PREFECT_API_AUTH_STRING", "admin:pass", "PREFECT_CLIENT_CUSTOM_HEADERS", `{"X-Proxy": "t"}`,
		"PREFECT_API_SSL_CERT_FILE", "/tls/ca.crt", "PREFECT_API_REQUEST_TIMEOUT", "30.0", "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false",
		"PREFECT_WORKER_PREFETCH_SECONDS", "20", "PREFECT_LOGGING_LEVEL", "WARNING",
		ours+"WORKER_API_KEY_SECRET_NAME", "keys", ours+"WORKER_API_KEY_SECRET_KEY", "api",
		ours+"WORKER_API_AUTH_STRING_SECRET_NAME", "keys", ours+"WORKER_API_AUTH_STRING_SECRET_KEY", "auth",
		ours+"WORKER_STORE_ENV_AS_SECRET", "true", ours+"OBSERVER_NAMESPACES", "flows,team-a", ours+"WORKER_ADD_TCP_KEEPALIVE", "True",
		ours+"OBSERVER_FORWARD_CRASHED_RUN_LOGS_TAIL_LINES", "500",
		"NAMESPACE", "flows",
	))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Launcher{
		Prefect: config.Prefect{
			Kind: config.Prefect3, Backend: config.Cloud, API: "http://prefect:4200/api", Key: "k", AuthString: "admin:pass",
			Headers: config.Headers{{Name: "X-Proxy", Value: "t"}}, RequestTimeout: config.Seconds(30 * time.Second), CertFile: "/tls/ca.crt", Announce: true,
			ServerHost: "http://localhost", ServerPort: 4200, CloudEndpoint: "https://api.prefect.io",
		},
		Agent: config.Agent{Name: "prefect-keda"},
		Jobs: config.Jobs{
			Namespace: "flows", FurtherNamespaces: config.Names{"flows", "team-a"}, LoggingLevel: "INFO", SendFlowRunLogs: true, DeleteFinishedJobs: true,
			JobTTL: 10 * time.Minute, TemplateSecrets: config.InSecret,
			WorkersSecrets: config.WorkersSecrets{KeyName: "keys", KeyKey: "api", AuthName: "keys", AuthKey: "auth", EnvInto: true},
		},
		Launching: config.Launching{
			IdleTimeout: 15 * time.Minute, PollInterval: time.Second, Lookahead: 20 * time.Second,
			Concurrency: 16, ClaimGrace: 10 * time.Second, DrainTimeout: 25 * time.Second,
		},
		Trouble:    config.Trouble{PodGrace: time.Minute, CancelGrace: 2 * time.Minute},
		Aftermath:  config.Aftermath{LogLines: 500},
		Process:    config.Process{OpsListen: ":8080", LogLevel: 4, LogFormat: config.Auto},
		Kubernetes: config.Kubernetes{KubeQPS: 1000, KubeBurst: 2000, KeepAlive: true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff([]string{"flows", "team-a"}, got.Namespaces()); d != "" {
		t.Error(d)
	}
	secrets := []config.SecretKey{got.KeyFrom(), got.AuthStringFrom()}
	if d := cmp.Diff([]config.SecretKey{{Name: "keys", Key: "api"}, {Name: "keys", Key: "auth"}}, secrets); d != "" {
		t.Error(d)
	}
}

// The flags of `prefect worker start` mean the same here.
func TestWorkersFlags(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want func(*config.Launcher)
		err  string
	}{
		{[]string{"-p", "etl"}, func(l *config.Launcher) { l.Pools = config.Places{"etl"} }, ""},
		{[]string{"--pool", "etl,ml", "-p", "my pool"}, func(l *config.Launcher) { l.Pools = config.Places{"etl", "ml", "my pool"} }, ""},
		{[]string{"--pool", "['a, b']"}, func(l *config.Launcher) { l.Pools = config.Places{"a, b"} }, ""},
		{[]string{"-q", "high", "--work-queue", "low"}, func(l *config.Launcher) { l.Queues = config.Places{"high", "low"} }, ""},
		{[]string{"-n", "w"}, func(l *config.Launcher) { l.Name = "w" }, ""},
		{[]string{"-l", "5"}, func(l *config.Launcher) { l.Concurrency = 5 }, ""},
		{[]string{"--limit", "5"}, func(l *config.Launcher) { l.Concurrency = 5 }, ""},
		{[]string{"--prefetch-seconds", "30"}, func(l *config.Launcher) { l.Lookahead = 30 * time.Second }, ""},
		{[]string{"--run-once"}, func(l *config.Launcher) { l.MaxPolls = 1 }, ""},
		{[]string{"--run-once=false"}, func(*config.Launcher) {}, ""},
		{[]string{"-l", "gpu"}, nil, "--label (-l): is for Prefect 1: Prefect 3 has no labels, so give --pool and --work-queue; and -l is the limit of `prefect worker start`, one whole number"},
		{[]string{"-l", "0"}, nil, "PREFECT_KEDA_CONCURRENCY (--concurrency): is 0: give 1 to 1000"},
		{[]string{"--prefetch-seconds", "soon"}, nil, `PREFECT_KEDA_LOOKAHEAD (--lookahead): "soon" is not a duration: give for example 90s, 15m or 1h`},
		{[]string{"--job-template", "x"}, nil, "--job-template: is for Prefect 1, but the settings are for Prefect 3: leave it out, or set PREFECT_KEDA_BACKEND=prefect1"},
	} {
		want, err := config.LoadLauncher(t.Context(), server3())
		if err != nil {
			t.Fatal(err)
		}
		got, err := config.LoadLauncher(t.Context(), parsed(t, server3(), tc.args...))
		if d := cmp.Diff(tc.err, errorText(err)); d != "" {
			t.Errorf("%q: -want +got:\n%s", tc.args, d)
		}
		if tc.want == nil {
			continue
		}
		tc.want(&want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: -want +got:\n%s", tc.args, d)
		}
	}
}

// A flag of one kind beside settings of the other is a mistake, and a variable is not: one
// ConfigMap may serve both.
func TestSettingsOfTheOtherKind(t *testing.T) {
	_, err := config.LoadLauncher(t.Context(), parsed(t, server(), "--pool", "a"))
	if d := cmp.Diff("--pool: is for Prefect 3, but the settings are for Prefect 1: leave it out, or set PREFECT_API_URL", errorText(err)); d != "" {
		t.Error(d)
	}
	one, err := config.LoadLauncher(t.Context(), server("PREFECT_KEDA_WORK_POOLS", "a"))
	if err != nil || one.Pools != nil {
		t.Errorf("%v, %v", one.Pools, err)
	}
	both := server("PREFECT_API_URL", "http://h/api", "PREFECT_KEDA_BACKEND", "prefect3", "PREFECT__CLOUD__AGENT__NAME", "etl", "PREFECT__CLOUD__API", "http://i", "PREFECT__CLOUD__AGENT__LABELS", "a")
	three, err := config.LoadLauncher(t.Context(), both)
	if err != nil || three.Name != "prefect-keda" || three.API != "http://h/api" || three.Labels != nil {
		t.Errorf("%v: %+v", err, three)
	}
}

func TestProblemsOfPrefect3(t *testing.T) {
	const cloud = "https://api.prefect.cloud/api/accounts/1/workspaces/2"
	for _, tc := range []struct {
		want string
		env  []string
	}{
		{"", nil},
		{"PREFECT_API_URL (--api): is not set: give the URL of the Prefect 3 API, for example http://prefect-server.prefect:4200/api", []string{"PREFECT_API_URL", "", "PREFECT_KEDA_BACKEND", "prefect3"}},
		{"PREFECT_API_URL (--api): is not a URL: give one like http://prefect-server.prefect:4200/api", []string{"PREFECT_API_URL", "prefect:4200"}},
		{"PREFECT_API_URL (--api): names no workspace of Prefect Cloud: give https://api.prefect.cloud/api/accounts/ACCOUNT/workspaces/WORKSPACE, as `prefect config view` shows it", []string{"PREFECT_API_URL", "https://api.prefect.cloud/api"}},
		{"PREFECT_API_KEY (--key): is not set, but Prefect Cloud needs a key: give it", []string{"PREFECT_API_URL", cloud}},
		{"", []string{"PREFECT_API_URL", cloud, "PREFECT_KEDA_API_KEY", "pnu_1"}},
		{"PREFECT_API_KEY (--key): begins or ends with white space, or contains control characters: paste it again (echo adds a line end; use printf or echo -n)", []string{"PREFECT_API_KEY", "k\n"}},
		{"PREFECT_API_AUTH_STRING (--auth-string): begins or ends with white space, or contains control characters: paste it again (echo adds a line end; use printf or echo -n)", []string{"PREFECT_API_AUTH_STRING", "a:b\n"}},
		{"PREFECT_API_AUTH_STRING (--auth-string): has characters other than ASCII, which a Prefect server answers with error 500: choose another one", []string{"PREFECT_API_AUTH_STRING", "a:pässword"}},
		{"PREFECT_API_URL (--api): has a user and password in it: leave them out, and give them as PREFECT_API_AUTH_STRING", []string{"PREFECT_API_URL", "http://u:p@h/api"}},
		{"PREFECT_API_REQUEST_TIMEOUT (--request-timeout): is 0s: give some seconds", []string{"PREFECT_API_REQUEST_TIMEOUT", "0"}},
		{`PREFECT_API_REQUEST_TIMEOUT (--request-timeout): "soon" is not a time: give seconds (15) or a duration (15s, 1m)`, []string{"PREFECT_API_REQUEST_TIMEOUT", "soon"}},
		{`PREFECT_WORKER_PREFETCH_SECONDS (--lookahead): "soon" is not a duration: give for example 90s, 15m or 1h`, []string{"PREFECT_WORKER_PREFETCH_SECONDS", "soon"}},
		{`PREFECT_KEDA_TEMPLATE_SECRETS (--template-secrets): "hide" is not a way to treat secret blocks: give secret, inline or refuse`, []string{"PREFECT_KEDA_TEMPLATE_SECRETS", "hide"}},
		{`PREFECT_KEDA_BACKEND (--prefect): "2" is not a Prefect that we know: give prefect1, or prefect3 for Prefect 3 and 2`, []string{"PREFECT_KEDA_BACKEND", "2"}},
		{`PREFECT_KEDA_JOB_NAMESPACES (--job-namespaces): "A" cannot be the name of a namespace`, []string{"PREFECT_KEDA_JOB_NAMESPACES", "a,A"}},
		{"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_NAME: goes together with PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_KEY: give both or none", []string{"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_NAME", "keys"}},
		{"PREFECT_API_TLS_INSECURE_SKIP_VERIFY (--api-tls-insecure-skip-verify): is true, so PREFECT_API_SSL_CERT_FILE has no effect: leave one of them out", []string{"PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "true", "PREFECT_API_SSL_CERT_FILE", "/ca"}},
	} {
		_, err := config.LoadLauncher(t.Context(), server3(tc.env...))
		if d := cmp.Diff(tc.want, errorText(err)); d != "" {
			t.Errorf("%q: -want +got:\n%s", tc.env, d)
		}
	}
}

// One scaler serves both kinds.
func TestConnectionsOfBothKinds(t *testing.T) {
	const a, b, c = "PREFECT_KEDA_CONNECTION_A_", "PREFECT_KEDA_CONNECTION_B_", "PREFECT_KEDA_CONNECTION_C_"
	got, err := config.LoadScaler(t.Context(), server3(
		"NAMESPACE", "flows", "PREFECT_KEDA_JOB_NAMESPACES", "team-a", "PREFECT_KEDA_CONNECTIONS", "a,b,c",
		a+"API_URL", "http://a/api", a+"API_AUTH_STRING", "u:p",
		b+"BACKEND", "server", b+"API", "http://b:4200",
		c+"BACKEND", "prefect3", c+"API_URL", "https://api.prefect.cloud/api/accounts/1/workspaces/2", c+"API_KEY", "k",
	))
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Connection{
		{Name: "a", Backend: config.OfPrefect3, APIURL: "http://a/api", AuthString: "u:p", JobNamespaces: config.Names{"flows", "team-a"}, AllowedNamespaces: config.Names{"*"}},
		{Name: "b", Backend: config.Server, API: "http://b:4200", JobNamespaces: config.Names{"flows", "team-a"}, AllowedNamespaces: config.Names{"*"}},
		{Name: "c", Backend: config.OfPrefect3, APIURL: "https://api.prefect.cloud/api/accounts/1/workspaces/2", Key: "k", JobNamespaces: config.Names{"flows", "team-a"}, AllowedNamespaces: config.Names{"*"}},
	}
	if d := cmp.Diff(want, got.Named); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for want, env := range map[string][]string{
		"PREFECT_KEDA_CONNECTION_A_API_URL: is Prefect 3's, and PREFECT_KEDA_CONNECTION_A_API is Prefect 1's: give one of them":                                   {a + "API_URL", "http://a/api", a + "API", "http://a"},
		"PREFECT_KEDA_CONNECTION_A_API_URL: is Prefect 3's, but PREFECT_KEDA_CONNECTION_A_BACKEND is server: give PREFECT_KEDA_CONNECTION_A_API, or set prefect3": {a + "BACKEND", "server", a + "API_URL", "http://a/api"},
		"PREFECT_KEDA_CONNECTION_A_API_URL: is not set: give the URL of the Prefect 3 API, for example http://prefect-server.prefect:4200/api":                    {a + "BACKEND", "prefect3"},
		"PREFECT_KEDA_CONNECTION_A_API_KEY: is not set, but Prefect Cloud needs a key: give it":                                                                   {a + "API_URL", "https://api.prefect.cloud/api/accounts/1/workspaces/2"},
	} {
		_, err := config.LoadScaler(t.Context(), server3(append([]string{"PREFECT_KEDA_CONNECTIONS", "a"}, env...)...))
		if d := cmp.Diff(want, errorText(err)); d != "" {
			t.Errorf("%q: -want +got:\n%s", env, d)
		}
	}
}

// The auth string of the Secret is the one that is sent.
func TestAuthStringOfASecret(t *testing.T) {
	env := server3("PREFECT_API_AUTH_STRING", "text:1", "PREFECT_KEDA_API_AUTH_STRING", "mounted:2")
	l, err := config.LoadLauncher(t.Context(), env)
	if err != nil || l.AuthString.Reveal() != "mounted:2" {
		t.Errorf("the launcher sends %q: %v", l.AuthString.Reveal(), err)
	}
	s, err := config.LoadScaler(t.Context(), env)
	if err != nil || s.AuthString.Reveal() != "mounted:2" {
		t.Errorf("the scaler sends %q: %v", s.AuthString.Reveal(), err)
	}
}

// A key that came as text goes on as text, whatever Secret the manifests name.
func TestSecretsThatPodsRead(t *testing.T) {
	named := []string{"PREFECT_KEDA_API_KEY_SECRET", "prefect-api-key/api-key", "PREFECT_KEDA_API_AUTH_STRING_SECRET", "auth/string"}
	key, auth := config.SecretKey{Name: "prefect-api-key", Key: "api-key"}, config.SecretKey{Name: "auth", Key: "string"}
	for _, tc := range []struct {
		env  []string
		want [2]config.SecretKey
	}{
		{nil, [2]config.SecretKey{}},
		{[]string{"PREFECT_API_KEY", "text"}, [2]config.SecretKey{}},
		{[]string{"PREFECT_KEDA_API_KEY", "mounted"}, [2]config.SecretKey{key, {}}},
		{[]string{"PREFECT_API_AUTH_STRING", "u:p"}, [2]config.SecretKey{}},
		{[]string{"PREFECT_KEDA_API_AUTH_STRING", "u:p"}, [2]config.SecretKey{{}, auth}},
	} {
		l, err := config.LoadLauncher(t.Context(), server3(append(tc.env, named...)...))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tc.want, [2]config.SecretKey{l.KeyFrom(), l.AuthStringFrom()}); d != "" {
			t.Errorf("%q: -want +got:\n%s", tc.env, d)
		}
	}
}

func TestOnCloud(t *testing.T) {
	for url, want := range map[string]bool{"http://h:4200/api": false, "https://api.prefect.cloud/api/accounts/1/workspaces/2": true} {
		l, err := config.LoadLauncher(t.Context(), server3("PREFECT_API_URL", url, "PREFECT_API_KEY", "k"))
		if err != nil || l.OnCloud() != want {
			t.Errorf("%s: %v, %v", url, l.OnCloud(), err)
		}
	}
}

// Pods get what a worker would pass on, and no key and nothing of a server.
func TestPassedOn(t *testing.T) {
	env := map[string]string{
		"PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_LOGGING_EXTRA_LOGGERS": "a,b", "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true", "PREFECT_CLIENT_CUSTOM_HEADERS": "{}",
		"PREFECT_API_REQUEST_TIMEOUT": "30", "PREFECT_TASKS_DEFAULT_RETRIES": "",
		"PREFECT_API_URL": "x", "PREFECT_API_KEY": "x", "PREFECT_API_AUTH_STRING": "x", "PREFECT_HOME": "x", "PREFECT_SERVER_API_HOST": "x", "PREFECT_WORKER_QUERY_SECONDS": "5",
		"PREFECT_KEDA_LISTEN": "x", "PREFECT__BACKEND": "x", "PREFECT_CLOUD_PORT_80_TCP": "x", "HOME": "x",
	}
	got := config.PassedOn(envconfig.MapLookuper(env), slices.Collect(maps.Keys(env)))
	want := config.EnvVars{
		{Name: "PREFECT_API_REQUEST_TIMEOUT", Value: "30"},
		{Name: "PREFECT_CLIENT_CUSTOM_HEADERS", Value: "{}"},
		{Name: "PREFECT_LOGGING_EXTRA_LOGGERS", Value: "a,b"},
		{Name: "PREFECT_LOGGING_LEVEL", Value: "DEBUG"},
		{Name: "PREFECT_RESULTS_PERSIST_BY_DEFAULT", Value: "true"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// What a worker has and we do not need is named with what takes its place, once each.
func TestNoticesOfAWorker(t *testing.T) {
	got := config.Notices(server3("PREFECT_WORKER_QUERY_SECONDS", "5", "PREFECT_WORKER_HEARTBEAT_SECONDS", "", "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_ENABLED", "false"))
	want := []config.Notice{
		{Variable: "PREFECT_WORKER_QUERY_SECONDS", Why: "PREFECT_KEDA_POLL_INTERVAL says how often we look"},
		{Variable: "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_ENABLED", Why: "the scaler watches Jobs and launchers report on them"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	unknown := config.Unknown(server3(), []string{"PREFECT_KEDA_WORKER_NAME", "PREFECT_KEDA_FLOW_ENV", "PREFECT_KEDA_WORK_POOL"})
	if d := cmp.Diff([]string{"PREFECT_KEDA_WORK_POOL"}, unknown); d != "" {
		t.Error(d)
	}
}

// Both are secrets of Prefect 3, which no error and no log repeats.
func TestSecretsOfPrefect3StayHidden(t *testing.T) {
	const canary = "canary-1234"
	l, err := config.LoadLauncher(t.Context(), server3("PREFECT_API_KEY", canary, "PREFECT_API_AUTH_STRING", canary, "PREFECT_KEDA_FLOW_ENV", `{"A": "`+canary+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	_, wrong := config.LoadLauncher(t.Context(), server3("PREFECT_API_KEY", canary+"\n", "PREFECT_API_AUTH_STRING", canary+" ", "PREFECT_KEDA_FLOW_ENV", canary, "PREFECT_API_URL", "http://u:"+canary+"@"))
	if _, told := errors.AsType[config.Problem](wrong); !told {
		t.Fatal("nothing is wrong")
	}
	hides(t, canary, fmt.Sprintf("%v %+v %#v %v %v", l, l, l, l.LogValue(), wrong))
}
