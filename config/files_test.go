package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/prefect-keda/prefect-keda/config"
)

// home is a person's home with Prefect's files in it.
func home(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, ".prefect", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	tenantA = "11111111-1111-4111-8111-111111111111"
	tenantB = "22222222-2222-4222-8222-222222222222"
)

// auth is what two logins left behind.
const auth = `
["api.prefect.io"]
api_key = "cloud-key"
tenant_id = "` + tenantA + `"

["proxy.example-8443"]
api_key = "proxy-key"
`

// Each file has its place: flags and variables, then backend.toml, then
// config.toml; auth.toml speaks for its own API only, and last.
func TestFiles(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		env   []string
		want  func(*config.Launcher)
	}{
		{"nothing is there", nil, []string{"PREFECT__BACKEND", "server"}, func(l *config.Launcher) { l.Backend = config.Server }},
		{"prefect backend server", map[string]string{"backend.toml": `backend = "server"`}, nil, func(l *config.Launcher) { l.Backend = config.Server }},
		{
			"backend.toml is stronger than config.toml",
			map[string]string{"backend.toml": `backend = "server"`, "config.toml": `backend = "cloud"`},
			nil, func(l *config.Launcher) { l.Backend = config.Server },
		},
		{
			"a variable is stronger than both",
			map[string]string{"backend.toml": `backend = "cloud"`},
			[]string{"PREFECT__BACKEND", "server"},
			func(l *config.Launcher) { l.Backend = config.Server },
		},
		{
			"prefect auth login",
			map[string]string{"auth.toml": auth},
			nil,
			func(l *config.Launcher) { l.Key, l.TenantID = "cloud-key", tenantA },
		},
		{
			"the key of the API there is",
			map[string]string{"auth.toml": auth},
			[]string{"PREFECT__CLOUD__API", "https://Proxy.example:8443/graphql"},
			func(l *config.Launcher) { l.API, l.Key = "https://Proxy.example:8443/graphql", "proxy-key" },
		},
		{
			"variables are stronger than auth.toml, where they are not empty",
			map[string]string{"auth.toml": auth},
			[]string{"PREFECT__CLOUD__API_KEY", "", "PREFECT__CLOUD__TENANT_ID", tenantB},
			func(l *config.Launcher) { l.Key, l.TenantID = "cloud-key", tenantB },
		},
		{
			"every kind of value",
			map[string]string{"config.toml": `
backend = "server"
[logging]
level = "$LEVEL"
[cloud]
request_timeout = 20
send_flow_run_logs = false
[cloud.agent]
name = "etl"
labels = ["a", "b's"]
[cloud.agent.env_vars]
A = "1"
`},
			[]string{"LEVEL", "DEBUG"},
			func(l *config.Launcher) {
				l.Backend, l.LoggingLevel, l.SendFlowRunLogs, l.RequestTimeout = config.Server, "DEBUG", false, 20e9
				l.Agent.Name, l.Labels, l.EnvVars = "etl", config.Labels{"a", "b's"}, config.EnvVars{{Name: "A", Value: "1"}}
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := map[string]string{"HOME": home(t, tc.files)}
			for i := 0; i < len(tc.env); i += 2 {
				env[tc.env[i]] = tc.env[i+1]
			}
			lookuper, err := config.WithFiles(t.Context(), envconfig.MapLookuper(env))
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.LoadLauncher(t.Context(), lookuper)
			if err != nil {
				t.Fatal(err)
			}
			want, err := config.LoadLauncher(t.Context(), server())
			if err != nil {
				t.Fatal(err)
			}
			want.Backend = config.Cloud
			tc.want(&want)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// The files may lie elsewhere, and each by itself.
func TestFilesElsewhere(t *testing.T) {
	dir := filepath.Join(home(t, map[string]string{"auth.toml": auth, "c": `cloud.agent.name = "c"`, "b": `cloud.agent.level = "DEBUG"`}), ".prefect")
	lookuper, err := config.WithFiles(t.Context(), envconfig.MapLookuper(map[string]string{
		"PREFECT__HOME_DIR": dir, "PREFECT__USER_CONFIG_PATH": dir + "/c", "PREFECT__BACKEND_CONFIG_PATH": dir + "/b",
	}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.LoadLauncher(t.Context(), lookuper)
	if err != nil || got.Key != "cloud-key" || got.Agent.Name != "c" || got.LogLevel.String() != "DEBUG" {
		t.Errorf("%v: %+v", err, got)
	}
}

// A file that cannot be read is named, and nothing of what is in it.
func TestFilesBroken(t *testing.T) {
	const canary = "canary-4321"
	dir := home(t, map[string]string{"auth.toml": "\n\napi_key = " + canary + "\n", "config.toml/x": "", "backend.toml": "a = 1\na = '" + canary + "'"})
	_, err := config.WithFiles(t.Context(), envconfig.MapLookuper(map[string]string{"HOME": dir}))
	want := strings.ReplaceAll(strings.TrimSpace(`
HOME/.prefect/backend.toml: is not TOML at line 2: fix it, or move the file away
HOME/.prefect/config.toml: cannot be read: is a directory
HOME/.prefect/auth.toml: is not TOML at line 3: fix it, or move the file away`), "HOME", dir)
	if d := cmp.Diff(want, fmt.Sprint(err)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
