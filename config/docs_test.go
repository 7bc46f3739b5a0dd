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
All problems are reported at once, each with its variable, and the process exits with code 2. What a launcher counts is not set here
but in its ScaledObject (see the [README](../README.md#tune)).

Variables without the prefix ` + "`PREFECT_KEDA_`" + ` are those of the Prefect 1.x Kubernetes agent and mean what they meant there. In those that begin
with ` + "`PREFECT__`" + `, a leading ` + "`~`" + `, and ` + "`$NAME`" + ` and ` + "`${NAME}`" + ` where such a variable exists, are replaced, as Prefect does.
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
		as := map[string]string{"BACKEND": "PREFECT__BACKEND", "NAMESPACE": "NAMESPACE", "ALLOWED_NAMESPACES": "PREFECT_KEDA_ALLOWED_NAMESPACES"}[s.Variable]
		if as == "" {
			as = "PREFECT__CLOUD__" + s.Variable
		}
		def := s.Default
		if s.Variable == "NAMESPACE" || s.Variable == "ALLOWED_NAMESPACES" {
			def = "that of the default connection"
		}
		fmt.Fprintf(&out, "| `%s` | %s | `%s` |\n", s.Variable, def, as)
	}
	out.WriteString(`
## Prefect's own files

Outside of a cluster, what neither a flag nor a variable says is looked up in Prefect's files, as the agent does: in ` + "`backend.toml`" + ` (written by
` + "`prefect backend`" + `), then in ` + "`config.toml`" + ` (` + "`[cloud.agent] name`" + ` is ` + "`PREFECT__CLOUD__AGENT__NAME`" + `, and so on); the API key and the tenant then in ` + "`auth.toml`" + `
(written by ` + "`prefect auth login`" + `), under the API in use. They are in ` + "`~/.prefect`" + ` or where ` + "`PREFECT__HOME_DIR`, `PREFECT__USER_CONFIG_PATH`" + ` and
` + "`PREFECT__BACKEND_CONFIG_PATH`" + ` say.
`)
	out.WriteString("\n## Variables of the agent without effect\n\nThey may stay where they are; those that are set are named in one line at start-up. Most did nothing in the agent either.\n\n")
	all := config.Ignored(envconfig.LookuperFunc(func(string) (string, bool) { return "x", true }))
	out.WriteString("`" + strings.Join(all, "`, `") + "`\n")
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
		name, def := "`--"+s.Flag+"`", ""
		if s.Short != "" {
			name += ", `-" + s.Short + "`"
		}
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		meaning := s.Help
		if s.FlagHelp != s.Help {
			meaning += ". The flag: " + s.FlagHelp
		}
		fmt.Fprintf(out, "| `%s` | %s | %s | %s. Example: `%s` |\n", s.Variable, name, def, strings.ReplaceAll(meaning, "|", `\|`), s.Example)
	}
}
