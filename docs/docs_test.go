// Package docs holds no code: its test holds what the documents say against the
// manifests, the Makefile and the tree.
package docs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	roots, err := filepath.Glob("../*.md")
	if err != nil || len(roots) < 2 {
		t.Fatal("no pages in the root", err)
	}
	for _, path := range roots {
		texts[filepath.Base(path)] = read(t, filepath.Base(path))
	}
	err = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			texts["docs/"+path] = read(t, "docs/"+path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// folders are those of the tree, without what is built into it.
func folders(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "bin" && e.Name() != "dist" {
			names = append(names, regexp.QuoteMeta(e.Name()))
		}
	}
	return names
}

func TestMakeTargetsExist(t *testing.T) {
	makefile := read(t, "Makefile")
	target := regexp.MustCompile("(?m)(?:`|^ +)make ([a-z0-9-]+)")
	for name, text := range documents(t) {
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+": ") {
				t.Errorf("%s speaks of `make %s`, which the Makefile does not have", name, m[1])
			}
		}
	}
}

func TestLinkedAndNamedFilesExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	path := regexp.MustCompile("(?:`|kubectl apply -k |EDITOR )((?:" + strings.Join(folders(t), "|") + ")/[a-z0-9./_-]+)")
	for name, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
		for _, m := range path.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", strings.TrimRight(m[1], "."))); err != nil {
				t.Errorf("%s names %s: %v", name, m[1], err)
			}
		}
	}
}

// The tuning table says what is shipped.
func TestTuningTable(t *testing.T) {
	var so struct {
		Spec map[string]any `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "manifests/base/launcher/scaledobject.yaml")), &so); err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-zA-Z]+)` \\| ([0-9]+)( s)? \\| ")
	seen := 0
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/tuning.md"), -1) {
		shipped, ok := so.Spec[m[1]]
		if !ok {
			continue
		}
		seen++
		if want, err := strconv.ParseFloat(m[2], 64); err != nil || shipped != want {
			t.Errorf("the page says %s is %s, the ScaledObject has %v", m[1], m[2], shipped)
		}
	}
	if seen < 3 {
		t.Errorf("found only %d rows of the tuning table", seen)
	}
}

// The versions that the README says are tested are those of the tests.
func TestTestedVersions(t *testing.T) {
	tested := map[string]string{}
	for _, row := range rows(read(t, "README.md"), 3) {
		tested[row[0]] = row[1]
	}
	for name, in := range map[string]struct{ file, pattern string }{
		"Kubernetes": {"kind-config.yaml", `kindest/node:v(1\.\d+)\.`},
		"KEDA":       {"e2e/cluster/keda.go", `kedaVersion = "([^"]+)"`},
		"Prefect 1":  {"e2e/python/requirements.txt", `(?m)^prefect==(.+)$`},
		"Prefect 3":  {"e2e/python/prefect3-constraints.txt", `(?m)^prefect==(.+)$`},
	} {
		m := regexp.MustCompile(in.pattern).FindStringSubmatch(read(t, in.file))
		if m == nil {
			t.Errorf("%s names no version of %s", in.file, name)
			continue
		}
		if version, _, _ := strings.Cut(tested[name], " "); version != m[1] {
			t.Errorf("the README says %s %q is tested, %s has %s", name, version, in.file, m[1])
		}
	}
}

// What kubectl is told to look at or to run in is in the manifests, and the image
// has the binary where it is called.
func TestKubectlCommands(t *testing.T) {
	deployments := map[string]deployment{}
	for _, process := range []string{"scaler", "launcher"} {
		var d deployment
		if err := yaml.Unmarshal([]byte(read(t, "manifests/base/"+process+"/deployment.yaml")), &d); err != nil {
			t.Fatal(err)
		}
		deployments[d.Metadata.Name] = d
	}
	named := regexp.MustCompile(`kubectl -n (\S+) [^\n]*?deploy(?:ment)?[/ ]([a-z][a-z0-9-]*)`)
	binary := regexp.MustCompile(`/usr/local/bin/[a-z0-9-]+`)
	seen := 0
	for name, text := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			seen++
			if m[2] == "prefect-agent" || m[2] == "prefect-worker" || m[2] == "keda-operator" {
				continue // where that is, its owner knows
			}
			if d, found := deployments[m[2]]; !found || d.Metadata.Namespace != m[1] {
				t.Errorf("%s says %q, which the manifests do not have", name, m[0])
			}
		}
		for _, path := range binary.FindAllString(text, -1) {
			if !strings.Contains(read(t, "Dockerfile"), `ENTRYPOINT ["`+path+`"]`) {
				t.Errorf("%s calls %s, which the image does not have", name, path)
			}
		}
	}
	if seen < 4 {
		t.Errorf("found %d commands", seen)
	}
}

// deployment is as much of one as the documents build on.
type deployment struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct{ Template struct{ Spec podSpec } }
}

type podSpec struct {
	ServiceAccountName           string
	AutomountServiceAccountToken bool
	Containers                   []struct{ EnvFrom []any }
}

// The check of a launcher that runs in the scaler's pod has there what config.env
// says, and asks about the launcher's account.
func TestCheckInACluster(t *testing.T) {
	pods := map[string]podSpec{}
	for _, process := range []string{"scaler", "launcher"} {
		var d deployment
		if err := yaml.Unmarshal([]byte(read(t, "manifests/base/"+process+"/deployment.yaml")), &d); err != nil {
			t.Fatal(err)
		}
		pods[process] = d.Spec.Template.Spec
	}
	scaler, launcher := pods["scaler"], pods["launcher"]
	if d := cmp.Diff(launcher.Containers[0].EnvFrom, scaler.Containers[0].EnvFrom); d != "" || !scaler.AutomountServiceAccountToken {
		t.Errorf("the scaler's pod does not bring what check needs: -launcher +scaler:\n%s", d)
	}
	const asks = "exec deploy/prefect-keda-scaler -- /usr/local/bin/app check --as system:serviceaccount:prefect-keda:"
	if !strings.Contains(read(t, "docs/troubleshooting.md"), asks+launcher.ServiceAccountName+"\n") {
		t.Errorf("the page does not ask about the account %s", launcher.ServiceAccountName)
	}
}

// The memory that is spoken of is what is shipped.
func TestMemory(t *testing.T) {
	for _, tc := range []struct{ page, says, file, has string }{
		{"docs/how-it-works.md", "three quarters of the container's memory limit", "cmd/prefect-keda/memory.go", "return limit / 4 * 3"},
		{"docs/how-it-works.md", "collects at 20 % growth in the scaler", "cmd/prefect-keda/memory.go", "const scalerGC = 20"},
	} {
		page := strings.Join(strings.Fields(read(t, tc.page)), " ")
		if !strings.Contains(page, tc.says) || !strings.Contains(read(t, tc.file), tc.has) {
			t.Errorf("%s does not say %q, or %s has not %q", tc.page, tc.says, tc.file, tc.has)
		}
	}
}

// Every variable of ours that a document names is a setting.
func TestSettingsExist(t *testing.T) {
	settings := read(t, "docs/settings.md")
	variable := regexp.MustCompile(`PREFECT_(?:KEDA)?_[A-Z_]+`)
	// These steer the tests, not the product.
	tooling := []string{"PREFECT_KEDA_CACHE", "PREFECT_KEDA_IMAGES", "PREFECT_KEDA_SERVERS", "PREFECT_KEDA_VERSIONS", "PREFECT_KEDA_TEST_PROFILES"}
	for name, text := range documents(t) {
		if strings.HasPrefix(name, "docs/spec/") {
			continue // which name Prefect's own
		}
		for _, v := range variable.FindAllString(text, -1) {
			if !strings.Contains(settings, v) && !strings.Contains(strings.Join(tooling, " "), v) {
				t.Errorf("%s names %s, which is no setting", name, v)
			}
		}
	}
}

// agentSettings are all that the agent could be told: its flags (prefect1 §5.1),
// its variables (prefect1 §5.1, §5.2, §5.3), and those that its install wrote
// (prefect1 §5.5).
func agentSettings() (flags, variables []string) {
	flags = []string{
		"--key", "--tenant-id", "--api", "--agent-config-id", "--name", "--label", "--env", "--max-polls", "--agent-address", "--no-cloud-logs",
		"--log-level", "--namespace", "--job-template", "--service-account-name", "--image-pull-secrets", "--disable-job-deletion",
	}
	variables = []string{
		"PREFECT__CLOUD__API_KEY", "PREFECT__CLOUD__TENANT_ID", "PREFECT__CLOUD__API", "PREFECT__CLOUD__AGENT__NAME", "PREFECT__CLOUD__AGENT__LABELS",
		"PREFECT__CLOUD__AGENT__ENV_VARS", "PREFECT__CLOUD__AGENT__AGENT_ADDRESS", "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", "PREFECT__CLOUD__AGENT__LEVEL",
		"NAMESPACE", "SERVICE_ACCOUNT_NAME", "IMAGE_PULL_SECRETS", "DELETE_FINISHED_JOBS",
		"PREFECT__BACKEND", "PREFECT__LOGGING__LEVEL", "PREFECT__LOGGING__FORMAT", "PREFECT__CLOUD__REQUEST_TIMEOUT",
		"PREFECT__CLOUD__RATE_LIMITING__BACKOFF_S", "PREFECT__CLOUD__RATE_LIMITING__BACKOFF_MULTIPLIER",
		"PREFECT__CLOUD__RATE_LIMITING__BACKOFF_EXPONENT", "PREFECT__CLOUD__RATE_LIMITING__MAX_RETRIES",
		"PREFECT__CLOUD__DIAGNOSTICS", "PREFECT__SERVER__HOST", "PREFECT__SERVER__PORT", "PREFECT__SERVER__ENDPOINT", "PREFECT__CLOUD__ENDPOINT",
		"PREFECT__HOME_DIR", "PREFECT__USER_CONFIG_PATH", "PREFECT__BACKEND_CONFIG_PATH", "PREFECT__CLOUD__AGENT__AUTH_TOKEN",
		"PREFECT__CLOUD__AGENT__KUBERNETES_KEEP_ALIVE",
		"JOB_MEM_REQUEST", "JOB_MEM_LIMIT", "JOB_CPU_REQUEST", "JOB_CPU_LIMIT", "IMAGE_PULL_POLICY",
	}
	return flags, variables
}

// The migration page leaves out nothing that the agent could be told, nor what we
// ignore or took over.
func TestMigrationNamesEverySettingOfTheAgent(t *testing.T) {
	page := read(t, "docs/migrate.md")
	flags, variables := agentSettings()
	for _, flag := range flags {
		if !strings.Contains(page, "\n| `"+flag+"` | `") {
			t.Errorf("the migration page has no row for %s", flag)
		}
	}
	everything := envconfig.LookuperFunc(func(string) (string, bool) { return "x", true })
	variables = append(variables, config.Ignored(everything)...)
	for _, s := range config.Settings(config.Launcher{}) {
		if !strings.HasPrefix(s.Variable, "PREFECT_KEDA_") && s.Only != config.Prefect3 {
			variables = append(variables, s.Variable)
		}
	}
	for _, name := range variables {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("the migration page does not say what becomes of %s", name)
		}
	}
}

// Whatever the agent could be told is read, or is known to have no effect.
func TestEverySettingOfTheAgentIsKnown(t *testing.T) {
	_, variables := agentSettings()
	everything := envconfig.LookuperFunc(func(string) (string, bool) { return "x", true })
	known := append(config.Ignored(everything), "PREFECT__HOME_DIR", "PREFECT__USER_CONFIG_PATH", "PREFECT__BACKEND_CONFIG_PATH") // config.WithFiles
	for _, s := range config.Settings(config.Launcher{}) {
		known = append(known, s.Variable)
	}
	for _, name := range variables {
		if !slices.Contains(known, name) {
			t.Errorf("%s is neither read nor ignored", name)
		}
	}
}

// The kustomization in docs/install.md is one: an overlay as users write it.
func TestKustomization(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, "docs/install.md"), "<!-- kustomization:begin")
	_, rest, _ = strings.Cut(rest, "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found || strings.Count(text, "\n") > 6 {
		t.Fatalf("there is no kustomization of a few lines in docs/install.md: %q", text)
	}
	var k struct {
		Kind                  string
		Resources, Components []string
		SortOptions           map[string]any `yaml:"sortOptions"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &k); err != nil {
		t.Fatal(err)
	}
	memory := filesys.MakeFsInMemory()
	err := filepath.WalkDir("../manifests", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.ReadFile(path)
		return errors.Join(err, memory.WriteFile(strings.TrimPrefix(path, "../"), file))
	})
	if err := errors.Join(err, memory.WriteFile("manifests/overlays/mine/kustomization.yaml", []byte(text))); err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(asKubectl()).Run(memory, "manifests/overlays/mine")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, r := range built.Resources() {
		kinds[r.GetKind()] = true
	}
	if !kinds["ScaledJob"] || !kinds["NetworkPolicy"] || !kinds["TriggerAuthentication"] || kinds["ScaledObject"] {
		t.Errorf("it builds %v", kinds)
	}
}

// What deletes what is ours names every kind we install, and everything of ours has
// the label it asks for.
func TestUninstallNamesEveryKind(t *testing.T) {
	m := regexp.MustCompile(`delete (scaledobject[a-z,]+) -l (\S+)`).FindStringSubmatch(read(t, "docs/install.md"))
	if m == nil {
		t.Fatal("docs/install.md does not say how to uninstall")
	}
	key, value, _ := strings.Cut(m[2], "=")
	for _, folder := range []string{"overlays/hardened", "overlays/scaledjob", "overlays/two-teams", "overlays/prefect-cloud", "overlays/always-on"} {
		built, err := krusty.MakeKustomizer(asKubectl()).Run(filesys.MakeFsOnDisk(), "../manifests/"+folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range built.Resources() {
			kind := strings.ToLower(r.GetKind())
			if kind != "namespace" && (!strings.Contains(","+m[1]+",", ","+kind+",") || r.GetLabels()[key] != value) {
				t.Errorf("%s: %s %s would be left", folder, r.GetKind(), r.GetName())
			}
		}
	}
}

// asKubectl are the options that kubectl builds with.
func asKubectl() *krusty.Options {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // legacy, unless a kustomization says another order
	return options
}
