package main

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// reached is where the launcher's settings end up.
type reached struct {
	API      prefect1.Options
	Launcher launcher.Options
	Jobs     kubernetesrun.Settings
	Agent    config.Address
	Level    slog.Level
	// Kubernetes is how its API is reached.
	Kubernetes kube.Options
}

// settled parses a launcher's command line and environment as the launcher does.
func settled(t *testing.T, environ, args []string) reached {
	t.Helper()
	env := parseEnviron(environ)
	c := newLauncher(streams{}, env)
	var got reached
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := loadLauncher(c, env)
		got = reached{
			apiOptions(s.Prefect, "launcher", nil, nil, s.Agent), launcherOptions(s, "pod", nil, nil),
			jobSettings(s), s.AgentAddress, s.LogLevel.Level(), kubeOptions(s.Kubernetes, "launcher"),
		}
		got.Launcher.Credentials = "" // words that follow from the key; TestCredentials has them
		return err
	}
	c.SetArgs(args)
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%q %q: %v", environ, args, err)
	}
	return got
}

const (
	testTenant = "3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11"
	testConfig = "8a1d4bb8-6d0f-4a3e-8f60-0a8f0a9c3f10"
)

// TestAgentFlags has a row for every row of prefect1 §5.1: the flag, its
// short form and its variable mean the same, the flag wins over the variable,
// and what was meant reaches its place.
func TestAgentFlags(t *testing.T) {
	for _, row := range []struct {
		flags    [][]string // each by itself
		variable string     // empty where the agent had none
		other    string     // a value of the variable that the flag must win over
		want     func(*reached)
	}{
		{[][]string{{"--key", "k"}, {"-k", "k"}}, "PREFECT__CLOUD__API_KEY=k", "l", func(r *reached) { r.API.Key, r.Jobs.APIKey = "k", "k" }},
		{[][]string{{"--tenant-id", testTenant}}, "PREFECT__CLOUD__TENANT_ID=" + testTenant, testConfig, func(r *reached) { r.API.TenantID, r.Jobs.TenantID = testTenant, testTenant }},
		{[][]string{{"--api", "http://h:1"}, {"-a", "http://h:1"}}, "PREFECT__CLOUD__API=http://h:1", "http://i:1", func(r *reached) { r.API.API, r.Jobs.API = "http://h:1", "http://h:1" }},
		{[][]string{{"--agent-config-id", testConfig}}, "", "", func(r *reached) { r.API.AgentConfigID = testConfig }},
		{[][]string{{"--name", "etl"}, {"-n", "etl"}}, "PREFECT__CLOUD__AGENT__NAME=etl", "x", func(r *reached) { r.API.AgentName, r.Launcher.AgentName = "etl", "etl" }},
		{
			[][]string{{"--label", "b", "--label", "a", "-l", "b"}, {"-l", "['a', 'b']"}},
			"PREFECT__CLOUD__AGENT__LABELS=['a','b']", "x",
			func(r *reached) { r.Launcher.Scope.Labels, r.Jobs.Labels = []string{"a", "b"}, []string{"a", "b"} },
		},
		{
			[][]string{{"--env", "A=1", "-e", "B=2=3, 4"}},
			`PREFECT__CLOUD__AGENT__ENV_VARS={'A': '1', "B": '2=3, 4'}`, "A=0",
			func(r *reached) {
				r.Jobs.Env = []kubernetesrun.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2=3, 4"}}
			},
		},
		{[][]string{{"--max-polls", "3"}}, "", "", func(r *reached) { r.Launcher.MaxPolls = 3 }},
		{[][]string{{"--agent-address", "http://:8081"}}, "PREFECT__CLOUD__AGENT__AGENT_ADDRESS=http://:8081", ":1", func(r *reached) { r.Agent = ":8081" }},
		{[][]string{{"--no-cloud-logs"}}, "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS=False", "true", func(r *reached) { r.Jobs.SendFlowRunLogs = false }},
		{[][]string{{"--log-level", "debug"}}, "PREFECT__CLOUD__AGENT__LEVEL=DEBUG", "ERROR", func(r *reached) { r.Level = slog.LevelDebug }},
		{[][]string{{"--namespace", "flows"}}, "NAMESPACE=flows", "x", func(r *reached) { r.Launcher.Namespace, r.Jobs.Namespace = "flows", "flows" }},
		{[][]string{{"--job-template", "s3://b/j.yaml"}}, "", "", func(r *reached) { r.Jobs.JobTemplate = "s3://b/j.yaml" }},
		{[][]string{{"--service-account-name", "flows"}}, "SERVICE_ACCOUNT_NAME=flows", "x", func(r *reached) { r.Jobs.ServiceAccountName, r.Launcher.ServiceAccountName = "flows", "flows" }},
		{[][]string{{"--image-pull-secrets", "a, b"}}, "IMAGE_PULL_SECRETS=a,b", "x", func(r *reached) { r.Jobs.ImagePullSecrets = []string{"a", "b"} }},
		{[][]string{{"--disable-job-deletion"}}, "DELETE_FINISHED_JOBS=False", "True", func(r *reached) { r.Jobs.DeleteFinishedJobs, r.Launcher.DeleteFinished = false, false }},
		// Those the agent had no flag for (prefect1 §5.2, §5.3).
		{[][]string{{"--flow-log-level", "DEBUG"}}, "PREFECT__LOGGING__LEVEL=DEBUG", "ERROR", func(r *reached) { r.Jobs.LoggingLevel = "DEBUG" }},
		{[][]string{{"--request-timeout", "20"}, {"--request-timeout", "20s"}}, "PREFECT__CLOUD__REQUEST_TIMEOUT=20", "30", func(r *reached) { r.API.RequestTimeout = 20 * time.Second }},
		{[][]string{{"--server-endpoint", "http://h:1"}}, "PREFECT__SERVER__ENDPOINT=http://h:1", "http://i:1", func(r *reached) { r.API.API, r.Jobs.API = "http://h:1", "http://h:1" }},
		{[][]string{{"--server-host", "http://h"}}, "PREFECT__SERVER__HOST=http://h", "http://i", func(r *reached) { r.API.API, r.Jobs.API = "http://h:4200", "http://h:4200" }},
		{[][]string{{"--server-port", "1"}}, "PREFECT__SERVER__PORT=1", "2", func(r *reached) { r.API.API, r.Jobs.API = "http://localhost:1", "http://localhost:1" }},
		{[][]string{{"--keep-alive"}}, "PREFECT__CLOUD__AGENT__KUBERNETES_KEEP_ALIVE=true", "false", func(r *reached) { r.Kubernetes.KeepAlive = true }},
		// Ours, of which the agent had none.
		{[][]string{{"--pod-security", "baseline"}}, "PREFECT_KEDA_POD_SECURITY=baseline", "restricted", func(r *reached) { r.Jobs.PodSecurity = "baseline" }},
		{[][]string{{"--job-ttl", "1h"}}, "PREFECT_KEDA_JOB_TTL=1h", "2h", func(r *reached) { r.Jobs.TTLSeconds, r.Launcher.JobTTL = 3600, time.Hour }},
		{[][]string{{"--pod-grace", "3m"}}, "PREFECT_KEDA_POD_GRACE=3m", "5m", func(r *reached) { r.Launcher.Rules.Grace = 3 * time.Minute }},
		{[][]string{{"--pending-timeout", "1h"}}, "PREFECT_KEDA_PENDING_TIMEOUT=1h", "2h", func(r *reached) { r.Launcher.Rules.PendingFor = time.Hour }},
		{[][]string{{"--cancel-grace", "5m"}}, "PREFECT_KEDA_CANCEL_GRACE=5m", "6m", func(r *reached) { r.Launcher.Rules.CancelGrace = 5 * time.Minute }},
		{[][]string{{"--finished-grace", "20m"}}, "PREFECT_KEDA_FINISHED_GRACE=20m", "6m", func(r *reached) { r.Launcher.Rules.FinishedGrace = 20 * time.Minute }},
		{[][]string{{"--pod-retries"}}, "PREFECT_KEDA_POD_RETRIES=true", "false", func(r *reached) { r.Launcher.Rules.PodRetries = true }},
		{[][]string{{"--keep-failed-jobs"}}, "PREFECT_KEDA_KEEP_FAILED_JOBS=true", "false", func(r *reached) { r.Launcher.KeepFailed = true }},
		{[][]string{{"--failed-log-lines", "7"}}, "PREFECT_KEDA_FAILED_LOG_LINES=7", "8", func(r *reached) { r.Launcher.LogLines = 7 }},
	} {
		t.Run(row.flags[0][0], func(t *testing.T) {
			base := []string{"PREFECT__BACKEND=server"}
			want := settled(t, base, nil)
			if row.want(&want); cmp.Equal(want, settled(t, base, nil)) {
				t.Fatal("the row wants what is there without it")
			}
			check := func(environ, args []string) {
				t.Helper()
				if d := cmp.Diff(want, settled(t, environ, args)); d != "" {
					t.Errorf("%q %q: -want +got:\n%s", environ, args, d)
				}
			}
			for _, args := range row.flags {
				check(base, args)
			}
			if row.variable == "" {
				return
			}
			check(append(base, row.variable), nil)
			name := row.variable[:slices.Index([]byte(row.variable), '=')]
			check(append(base, name+"="+row.other), row.flags[0])
		})
	}
}

// The agent crashed at an agent config that is not there.
func TestUnknownAgentConfigIsTold(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	for id, want := range map[string]bool{"": false, api.CreateAgentConfig(nil): false, testConfig: true} {
		b, err := newPrefect1(prefect1.Options{Backend: prefect1.Server, AgentConfigID: id, HTTPTransport: api.Transport()}, config.Prefect{})
		if err != nil {
			t.Fatal(err)
		}
		var out output
		b.hint(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), prefect.Scope{})
		told := strings.Contains(out.String(), "level=WARN") && strings.Contains(out.String(), "PREFECT_KEDA_AGENT_CONFIG_ID") && strings.Contains(out.String(), id)
		if told != want {
			t.Errorf("%q: told %q", id, out.String())
		}
	}
}

// TestKeyReachesPods: a key from the Secret is read there by the flows' pods too,
// and one that came as text goes on as text, as with the agent, whatever Secret the
// manifests name.
func TestKeyReachesPods(t *testing.T) {
	secret := &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "prefect-api-key"}, Key: "api-key"}
	const named = "PREFECT_KEDA_API_KEY_SECRET=prefect-api-key/api-key"
	for _, tc := range []struct {
		environ []string
		key     string
		secret  *corev1.SecretKeySelector
	}{
		{[]string{named}, "", nil},
		{[]string{"PREFECT__CLOUD__API_KEY=text", named}, "text", nil},
		{[]string{"PREFECT_KEDA_API_KEY=mounted", named}, "mounted", secret},
		{[]string{"PREFECT_KEDA_API_KEY=mounted", "PREFECT__CLOUD__API_KEY=text", named}, "mounted", secret},
		{[]string{"PREFECT_KEDA_API_KEY=mounted"}, "mounted", nil},
	} {
		got := settled(t, append([]string{"PREFECT__BACKEND=server"}, tc.environ...), nil)
		if d := cmp.Diff([]any{tc.key, tc.key, tc.secret}, []any{got.API.Key, got.Jobs.APIKey, got.Jobs.APIKeySecret}); d != "" {
			t.Errorf("%q: -want +got:\n%s", tc.environ, d)
		}
	}
}
