package config_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/prefect-keda/prefect-keda/config"
)

var update = flag.Bool("update", false, "write docs/settings.md")

// TestDocs compares docs/settings.md with the structs it is rendered from.
func TestDocs(t *testing.T) {
	const path = "../docs/settings.md"
	want := document()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("docs/settings.md is not what the structs say; run `make generate`:\n%s", d)
	}
}

func document() string {
	var out strings.Builder
	out.WriteString(`# Settings

<!-- Rendered from package config by ` + "`make generate`" + `; do not edit. -->

Every setting is an environment variable and a flag; the flag wins. A variable that is set to nothing counts as not set.
All problems are reported at once, each with its variable, and the process exits with code 2. How many launchers there are is set
in the ScaledObject: see [tuning](tuning.md).

Variables without the prefix ` + "`PREFECT_KEDA_`" + ` mean what they mean to a Prefect 3 worker and to the Prefect 1.x Kubernetes agent, so the environment
of either can be taken over as it is. Where the two have different variables for one setting, that of Prefect 3 comes first.

` + "`PREFECT_API_URL`" + ` makes it Prefect 3; ` + "`PREFECT__BACKEND`" + ` or a variable that begins with ` + "`PREFECT__CLOUD__`" + ` makes it Prefect 1. With both, nothing starts
before ` + "`PREFECT_KEDA_BACKEND`" + ` says ` + "`prefect3`" + ` or ` + "`prefect1`" + `; the variables of the other then do not count.

In variables that begin with ` + "`PREFECT__`" + `, a leading ` + "`~`" + `, and ` + "`$NAME`" + ` and ` + "`${NAME}`" + ` where such a variable exists, are replaced, as Prefect 1 does.
`)
	launcher, scaler := config.Settings(config.Launcher{}), config.Settings(config.Scaler{})
	in := func(all []config.Setting) func(config.Setting) bool {
		return func(s config.Setting) bool {
			return slices.ContainsFunc(all, func(o config.Setting) bool { return o.Variable == s.Variable && o.Group == s.Group })
		}
	}
	without := func(all, other []config.Setting) []config.Setting {
		return slices.DeleteFunc(slices.Clone(all), in(other))
	}
	section(&out, "Both processes", without(launcher, without(launcher, scaler)))
	section(&out, "Launcher", without(launcher, scaler))
	section(&out, "Scaler", without(scaler, launcher))

	out.WriteString("\n## Further Prefect APIs for the scaler\n\nFor every NAME in `PREFECT_KEDA_CONNECTIONS` (for example `team-a`), under `PREFECT_KEDA_CONNECTION_<NAME>_` (for example `PREFECT_KEDA_CONNECTION_TEAM_A_`):\n\n| variable | default | as |\n|---|---|---|\n")
	for _, s := range config.Settings(config.Connection{}) {
		as := map[string]string{
			"BACKEND": "`PREFECT__BACKEND`, or `prefect3`", "API_URL": "`PREFECT_API_URL`, which makes it Prefect 3", "API_AUTH_STRING": "`PREFECT_API_AUTH_STRING`",
			"API_KEY": "`PREFECT_API_KEY`, `PREFECT__CLOUD__API_KEY`", "API_HEADERS": "`PREFECT_KEDA_API_HEADERS`", "NAMESPACE": "`NAMESPACE`, with all namespaces of the Jobs", "ALLOWED_NAMESPACES": "`PREFECT_KEDA_ALLOWED_NAMESPACES`",
		}[s.Variable]
		if as == "" {
			as = "`PREFECT__CLOUD__" + s.Variable + "`"
		}
		def := s.Default
		if s.Variable == "NAMESPACE" || s.Variable == "ALLOWED_NAMESPACES" {
			def = "that of the default connection"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", s.Variable, def, as)
	}
	out.WriteString(`
## Prefect's own files

Outside of a cluster, what neither a flag nor a variable says is looked up in Prefect's files, as the agent does: in ` + "`backend.toml`" + ` (written by
` + "`prefect backend`" + `), then in ` + "`config.toml`" + ` (` + "`[cloud.agent] name`" + ` is ` + "`PREFECT__CLOUD__AGENT__NAME`" + `, and so on); the API key and the tenant then in ` + "`auth.toml`" + `
(written by ` + "`prefect auth login`" + `), under the API in use. They are in ` + "`~/.prefect`" + ` or where ` + "`PREFECT__HOME_DIR`, `PREFECT__USER_CONFIG_PATH`" + ` and
` + "`PREFECT__BACKEND_CONFIG_PATH`" + ` say.
`)
	everything := envconfig.LookuperFunc(func(string) (string, bool) { return "x", true })
	out.WriteString("\n## Variables of a worker without effect\n\nThey may stay where they are; each that is set is named at start-up.\n\n| variable | why |\n|---|---|\n")
	for _, n := range config.Notices(everything) {
		fmt.Fprintf(&out, "| `%s` | %s |\n", n.Variable, n.Why)
	}
	out.WriteString(`
Flows' pods get the launcher's variables that begin with ` + "`PREFECT_CLIENT_`, `PREFECT_CLOUD_`, `PREFECT_FLOWS_`, `PREFECT_LOGGING_`, `PREFECT_RESULTS_`, `PREFECT_RUNNER_`" + `,
` + "`PREFECT_TASKS_` or `PREFECT_TELEMETRY_`" + `, as from a worker, and those about requests and TLS to the API. What a deployment sets wins.
`)
	out.WriteString("\n## Variables of the agent without effect\n\nThey may stay where they are; those that are set are named in one line at start-up. Most did nothing in the agent either.\n\n")
	out.WriteString("`" + strings.Join(config.Ignored(everything), "`, `") + "`\n")
	return out.String()
}

func section(out *strings.Builder, title string, settings []config.Setting) {
	fmt.Fprintf(out, "\n## %s\n", title)
	group := ""
	for _, s := range settings {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(out, "\n### %s\n\n| variable | flag | default | meaning |\n|---|---|---|---|\n", group)
		}
		variables, flag, def := "`"+s.Variable+"`", "", code(s.Default)
		switch {
		case s.Only == "" && s.Variable3 != "" && s.For(config.Prefect3) == s.Variable3:
			variables = "`" + s.Variable3 + "`; Prefect 1: " + variables
		case s.Variable3 != "":
			variables += ", `" + s.Variable3 + "`"
		}
		if s.Default3 != s.Default && s.Only == "" {
			def = code(s.Default3) + "; Prefect 1: " + def
		}
		if s.Flag != "" {
			flag = "`--" + s.Flag + "`"
		}
		if s.Short != "" {
			flag += ", `-" + s.Short + "`"
		}
		for alias := range s.Aliases {
			flag += ", `--" + alias + "`"
		}
		meaning := s.Help
		if s.FlagHelp != s.Help {
			meaning += ". The flag: " + s.FlagHelp
		}
		if s.Only != "" {
			meaning = "(" + s.Only.String() + ") " + meaning
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s. Example: `%s` |\n", variables, flag, def, strings.ReplaceAll(meaning, "|", `\|`), s.Example)
	}
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}
