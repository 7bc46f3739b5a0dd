package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// newWorld3 is a world with a Prefect 3 server that wants an auth string and CSRF tokens,
// and with the environment of a worker.
func newWorld3(t *testing.T, deny string) (world, *fake.API) {
	t.Helper()
	api := fake.New(fake.Options{AuthString: "admin:" + canary, CSRF: true})
	w := world{kube: newAPIServer(t, deny)}
	w.env = []string{
		"KUBECONFIG=" + w.kube.kubeconfig(t),
		"PREFECT_API_URL=" + api.Start(t),
		"PREFECT_KEDA_API_AUTH_STRING=admin:" + canary,
		"PREFECT_KEDA_API_AUTH_STRING_SECRET=prefect-auth-string/auth-string",
		"PREFECT_LOGGING_LEVEL=DEBUG",
		"PREFECT_WORKER_QUERY_SECONDS=5",
		`PREFECT_KEDA_FLOW_ENV={"TEAM": "data"}`,
		"PREFECT_KEDA_OPS_LISTEN=127.0.0.1:0",
		"PREFECT_KEDA_LISTEN=127.0.0.1:0",
		"NAMESPACE=flows",
		"GOGC=100",
		"GOMEMLIMIT=off",
	}
	return w, api
}

// The whole launcher, from a worker's environment and flags to the Jobs.
func TestLauncherServesWorkPools(t *testing.T) {
	w, api := newWorld3(t, "")
	ids := api.CreateRuns(fake.Order{Pool: "etl", Count: 3})
	api.CreateRuns(fake.Order{Pool: "ml"})
	code, out := w.run(t, "launcher", "-p", "etl", "-n", "here", "-l", "5", "--prefetch-seconds", "5", "--max-polls", "3", "--poll-interval", "100ms")
	if code != exitOK {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	var launched []string
	for _, j := range w.kube.created() {
		launched = append(launched, j.Labels["prefect.io/flow-run-id"])
		env := map[string]corev1.EnvVar{}
		for _, v := range j.Spec.Template.Spec.Containers[0].Env {
			env[v.Name] = v
		}
		for name, value := range map[string]string{
			"PREFECT_API_URL": w.get("PREFECT_API_URL"), "PREFECT_LOGGING_LEVEL": "DEBUG", "TEAM": "data", "PREFECT__WORKER_NAME": "here",
			"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule",
		} {
			if env[name].Value != value {
				t.Errorf("the pod is told %s=%q, want %q", name, env[name].Value, value)
			}
		}
		auth := env["PREFECT_API_AUTH_STRING"]
		want := &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "prefect-auth-string"}, Key: "auth-string"}
		if auth.Value != "" || auth.ValueFrom == nil || !cmp.Equal(auth.ValueFrom.SecretKeyRef, want) {
			t.Errorf("the pod gets its auth string by %+v", auth)
		}
	}
	slices.Sort(launched)
	slices.Sort(ids)
	if d := cmp.Diff(ids, launched); d != "" {
		t.Errorf("launched: -want +got:\n%s\n%s", d, out)
	}
	if strings.Contains(out, canary) {
		t.Errorf("the auth string is in the output:\n%s", out)
	}
	if strings.Contains(out, `"level":"ERROR"`) || strings.Contains(out, `"level":"WARN"`) {
		t.Errorf("there are complaints:\n%s", out)
	}
	if notice := `"variable":"PREFECT_WORKER_QUERY_SECONDS","reason":"PREFECT_KEDA_POLL_INTERVAL says how often we look"`; strings.Count(out, notice) != 1 {
		t.Errorf("the log does not say %s once:\n%s", notice, out)
	}
}

// A work pool that is not there, or that a launcher cannot serve, keeps nobody from
// starting, but is told.
func TestLauncherTellsOfWrongPools(t *testing.T) {
	w, api := newWorld3(t, "")
	api.CreatePool(fake.Pool{Name: "laptop", Type: "process"})
	_, out := w.run(t, "launcher", "-p", "etl", "-p", "laptop", "--max-polls", "2", "--poll-interval", "100ms")
	for _, want := range []string{
		`"msg":"there is no such work pool; correct PREFECT_KEDA_WORK_POOLS (--pool) or create it","pool":"etl"`,
		`"msg":"a work pool is not of type kubernetes, so it is not served","pool":"laptop","reason":"its type is process"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the log does not say %s:\n%s", want, out)
		}
	}
}

// The UI shows a work pool with a launcher as ready, unless nobody wants that.
func TestAnnounce(t *testing.T) {
	for flag, want := range map[string]int{"--no-announce": 0, "--pod-retries": 1} {
		w, api := newWorld3(t, "")
		api.CreatePool(fake.Pool{Name: "etl"})
		if code, out := w.run(t, "launcher", "-n", "here", "--max-polls", "2", "--poll-interval", "100ms", flag); code != exitOK {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		if workers := api.Workers("etl"); len(workers) != want || want > 0 && workers[0].Name != "here" {
			t.Errorf("%s: the work pool has the workers %+v", flag, workers)
		}
	}
}

// One scaler with connections of both kinds.
func TestScalerServesBothKinds(t *testing.T) {
	w, _ := newWorld3(t, "")
	old := newWorld(t, "")
	w.env = append(w.env, "PREFECT_KEDA_CONNECTIONS=old", "PREFECT_KEDA_CONNECTION_OLD_BACKEND=server",
		"PREFECT_KEDA_CONNECTION_OLD_API="+old.get("PREFECT__CLOUD__API"), "PREFECT_KEDA_CONNECTION_OLD_API_KEY="+canary)
	out, stop := w.start(t, "scaler")
	out.await(t, "serving KEDA")
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	for _, want := range []string{
		`"connection":"default","api":"` + w.get("PREFECT_API_URL") + `","setting":"PREFECT_API_URL (--api)"`,
		`"connection":"old","api":"` + old.get("PREFECT__CLOUD__API") + `","setting":"PREFECT_KEDA_CONNECTION_OLD_API"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), canary) {
		t.Errorf("a secret is in the output:\n%s", out)
	}
}

func TestBothPrefectsAtOnce(t *testing.T) {
	w, _ := newWorld3(t, "")
	w.env = append(w.env, "PREFECT__BACKEND=server")
	for _, process := range []string{"launcher", "scaler", "check"} {
		code, out := w.run(t, process)
		want := "prefect-keda: settings:\n  PREFECT_API_URL and PREFECT__BACKEND: are for two kinds of Prefect: remove one of them " +
			"(PREFECT_API_URL is Prefect 3's, PREFECT__BACKEND is Prefect 1's), or say by PREFECT_KEDA_BACKEND=prefect3 or prefect1 which of them counts\n"
		if d := cmp.Diff(want, out); code != exitMisconfigured || d != "" {
			t.Errorf("%s: exit code %d, -want +got:\n%s", process, code, d)
		}
	}
}

// template is a work pool's, with a block, a variable and a default of its own.
func template() map[string]any {
	return map[string]any{
		"variables": map[string]any{"type": "object", "properties": map[string]any{
			"image": map[string]any{"type": "string", "default": "flows:1"},
			"env":   map[string]any{"type": "object", "default": map[string]any{"TOKEN": "{{ prefect.blocks.secret.token }}", "REGION": "{{ prefect.variables.region }}"}},
		}},
		"job_configuration": map[string]any{
			"env": "{{ env }}", "labels": "{{ labels }}", "name": "{{ name }}", "command": "{{ command }}",
			"job_manifest": map[string]any{
				"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"labels": "{{ labels }}", "generateName": "{{ name }}-"},
				"spec": map[string]any{"backoffLimit": 0, "template": map[string]any{"spec": map[string]any{
					"parallelism": 1, "completions": 1, "restartPolicy": "Never",
					"containers": []any{map[string]any{"name": "prefect-job", "image": "{{ image }}", "env": "{{ env }}", "args": "{{ command }}"}},
				}}},
			},
		},
	}
}

const blockSecret = "block-canary"

func withTemplate(api *fake.API) (run string) {
	api.CreatePool(fake.Pool{Name: "etl", Template: template()})
	api.CreateBlock("secret", "token", map[string]any{"value": blockSecret}, "value")
	api.SetVariable("region", "eu")
	return api.CreateRuns(fake.Order{Pool: "etl", Name: "nightly", JobVariables: map[string]any{"image": "flows:2"}})[0]
}

// A run renders by its id, and again from what was saved then: the same Job without an API,
// with the same words about where each value is from, and without secrets.
func TestRenderSavedRun(t *testing.T) {
	w, api := newWorld3(t, "")
	run := withTemplate(api)
	file := filepath.Join(t.TempDir(), "run.json")
	code, first := w.run(t, "render", "--save", file, run)
	if code != exitOK {
		t.Fatalf("exit code %d:\n%s", code, first)
	}
	for _, want := range []string{"image: flows:2 # ", "name: REGION # ", "value: eu", "prefect.io/flow-run-id: " + run, "name: PREFECT_API_AUTH_STRING"} {
		if !strings.Contains(first, want) {
			t.Errorf("the Job does not have %q:\n%s", want, first)
		}
	}
	if strings.Contains(first, blockSecret) || strings.Contains(first, canary) {
		t.Errorf("a secret is printed:\n%s", first)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the saved run is readable by others: %v, %v", info, err)
	}
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var bundle map[string]json.RawMessage
	if err := json.Unmarshal(saved, &bundle); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"flow_run", "flow", "work_pool", "block_documents", "variables", "server_version"} {
		if len(bundle[key]) == 0 {
			t.Errorf("the saved run has no %s", key)
		}
	}

	offline, _ := newWorld3(t, "") // with another API, which knows nothing
	offline.env = slices.DeleteFunc(offline.env, func(v string) bool { return strings.HasPrefix(v, "PREFECT_API_URL=") })
	offline.env = append(offline.env, "PREFECT_API_URL="+w.get("PREFECT_API_URL"))
	code, second := offline.run(t, "render", "-f", file)
	if d := cmp.Diff(first, second); code != exitOK || d != "" {
		t.Errorf("offline: exit code %d, -by id +from the file:\n%s", code, d)
	}
	// And where nothing is set at all.
	bare := world{env: []string{"HOME=" + t.TempDir()}}
	code, third := bare.run(t, "render", "-f", file, "-o", "json", "--show-key")
	if code != exitOK || !strings.Contains(third, "http://localhost:4200/api") {
		t.Errorf("without an environment: exit code %d:\n%s", code, third)
	}
	code, inline := bare.run(t, "render", "-f", file, "--template-secrets", "inline")
	if code != exitOK || strings.Contains(inline, blockSecret) || !strings.Contains(inline, hiddenKey) {
		t.Errorf("inline: exit code %d:\n%s", code, inline)
	}
	if code, out := bare.run(t, "render", "-f", file, "--save", "x"); code != exitMisconfigured || !strings.Contains(out, "--save: the run is in a file already") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// What an author got wrong is told as the launcher would tell it, and what it was made of
// is saved all the same.
func TestRenderTellsTheAuthor(t *testing.T) {
	w, api := newWorld3(t, "")
	api.CreatePool(fake.Pool{Name: "etl", Template: template()})
	run := api.CreateRuns(fake.Order{Pool: "etl"})[0] // there is no block
	file := filepath.Join(t.TempDir(), "run.json")
	code, out := w.run(t, "render", "--save", file, run)
	if code != exitFailed || !strings.Contains(out, `"msg":"a launcher would fail the run"`) || !strings.Contains(out, "prefect.blocks.secret.token") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// Everything is found to be well, in the words that an operator reads.
func TestCheckOfPrefect3(t *testing.T) {
	w, api := newWorld3(t, "")
	withTemplate(api)
	limit := 2
	api.CreatePool(fake.Pool{Name: "ml", Limit: &limit})
	api.CreatePool(fake.Pool{Name: "idle", Paused: true})
	api.CreateRuns(fake.Order{Pool: "idle", Count: 2})
	w.kube.serve("GET /api/v1/namespaces/prefect-keda", none("v1", "Pod"))
	code, out := w.run(t, "check", "--log-level", "ERROR")
	for _, want := range []string{
		`ok    Prefect API +` + regexp.QuoteMeta(w.get("PREFECT_API_URL")) + ` answers`,
		`ok    clock +at most 5s from the API's`,
		`ok    key or auth string +the API accepts the auth string`,
		`ok    version +Prefect 3\.`,
		`ok    work pools +etl, idle \(paused\), ml \(limit 2: give its ScaledObject maxReplicaCount: 1, because only one launcher keeps it exactly\)`,
		`ok    due flow runs +1 for this launcher, 0 for others; 2 held back: work pool idle is paused`,
		`ok    event stream +open`,
		`ok    work pools' Jobs +etl, idle, ml: Kubernetes would accept them`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(out) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, canary) {
		t.Errorf("exit code %d, with a secret:\n%s", code, out)
	}
}

// What is wrong is told with what to do.
func TestCheckTellsWhatToDo(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"no auth string", []string{"PREFECT_KEDA_API_AUTH_STRING="}, nil, `FAIL  key or auth string +.*\n +→ the API wants to know who asks: set PREFECT_API_AUTH_STRING \(--auth-string\) for a server of your own, or PREFECT_API_KEY \(--key\) for Prefect Cloud`},
		{"a wrong one", []string{"PREFECT_KEDA_API_AUTH_STRING=admin:other"}, nil, `FAIL  key or auth string +.*\n +→ set PREFECT_API_AUTH_STRING \(--auth-string\) to the server's own`},
		{"no CSRF", nil, []string{"--no-csrf"}, `FAIL  key or auth string +.*\n +→ the server wants a CSRF token: set PREFECT_CLIENT_CSRF_SUPPORT_ENABLED \(--no-csrf\) to true`},
		{"no such pool", nil, []string{"-p", "ETL"}, `FAIL  work pools +there is no work pool "ETL"\n +→ create it \(prefect work-pool create "ETL" --type kubernetes\), or correct PREFECT_KEDA_WORK_POOLS \(--pool\); upper and lower case differ`},
		{"another type", nil, []string{"-p", "laptop"}, `FAIL  work pools +the work pool "laptop" is of type process`},
		{"a namespace that is not ours", nil, []string{"-p", "far"}, `FAIL  work pools' Jobs +far: .*namespace "elsewhere".*\n +→ runs of these work pools crash`},
	} {
		w, api := newWorld3(t, "")
		withTemplate(api)
		api.CreatePool(fake.Pool{Name: "laptop", Type: "process"})
		far := template()
		far["job_configuration"].(map[string]any)["namespace"] = "elsewhere"
		far["variables"] = map[string]any{}
		api.CreatePool(fake.Pool{Name: "far", Template: far})
		w.env = append(w.env, tc.env...)
		code, out := w.run(t, append([]string{"check", "--log-level", "ERROR"}, tc.args...)...)
		if code != exitFailed || !regexp.MustCompile(`(?m)^`+tc.want).MatchString(out) {
			t.Errorf("%s: exit code %d, want %s:\n%s", tc.name, code, tc.want, out)
		}
	}
}

// A run that Prefect holds back is explained by that, and not by our launchers.
func TestExplainOfPrefect3(t *testing.T) {
	w, api := newWorld3(t, "")
	api.CreatePool(fake.Pool{Name: "idle", Paused: true})
	run := api.CreateRuns(fake.Order{Pool: "idle", Name: "nightly"})[0]
	code, out := w.run(t, "explain", run, "--log-level", "ERROR")
	for _, want := range []string{
		"and Prefect holds it back: work pool idle is paused. It starts when that is over",
		"work pool   idle, queue default\n",
		"held back   work pool idle is paused\n",
		"history     ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("exit code %d, it does not say %q:\n%s", code, want, out)
		}
	}
	free := api.CreateRuns(fake.Order{Pool: "etl"})[0]
	if code, out := w.run(t, "explain", free, "--log-level", "ERROR", "-p", "ml"); code != exitOK || !strings.Contains(out, "A launcher with these settings serves work pools [ml] and would not take it.") || strings.Contains(out, "held back") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if code, out := w.run(t, "explain", "6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001", "--log-level", "ERROR"); code != exitFailed || !strings.Contains(out, "asked "+w.get("PREFECT_API_URL")+", which PREFECT_API_URL (--api) says") {
		t.Errorf("an unknown run: exit code %d:\n%s", code, out)
	}
}

// A worker's command line starts a launcher, and what has no effect is named.
func TestWorkersCommandLine(t *testing.T) {
	w, api := newWorld3(t, "")
	api.CreatePool(fake.Pool{Name: "etl"})
	code, out := w.run(t, "launcher", "--pool", "etl", "--type", "kubernetes", "--with-healthcheck", "--no-create-pool-if-not-found", "--run-once", "--limit", "3", "--work-queue", "default")
	if code != exitOK {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	for _, want := range []string{
		`"msg":"this flag of a Prefect worker has no effect here and can be removed","flag":"--type","reason":"launchers serve work pools of type kubernetes"`,
		`"flag":"--with-healthcheck"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the log does not say %s:\n%s", want, out)
		}
	}
	if strings.Contains(out, `"flag":"--install-policy"`) {
		t.Errorf("a flag that was not given is named:\n%s", out)
	}
	code, out = w.run(t, "launcher", "-p", "etl", "-l", "gpu")
	if want := "prefect-keda: settings:\n  --label (-l): is for Prefect 1: Prefect 3 has no labels"; code != exitMisconfigured || !strings.HasPrefix(out, want) {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// The page shows a worker's flags, and of settings that both Prefects have, the variable
// of Prefect 3 first.
func TestHelpSpeaksToPrefect3First(t *testing.T) {
	_, out := world{}.run(t, "launcher", "--help")
	plain := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{
		"-p, --pool stringArray work pools to serve", "-q, --work-queue stringArray", "--limit string as --concurrency", "--prefetch-seconds string as --lookahead", "--run-once as --max-polls=1",
		"-n, --name string", "[PREFECT_API_URL, PREFECT__CLOUD__API]", "[PREFECT_KEDA_WORKER_NAME=prefect-keda, PREFECT__CLOUD__AGENT__NAME=agent]",
		"[PREFECT_KEDA_CANCEL_GRACE=2m, with Prefect 1 10m]", "-t, --type string without effect",
	} {
		if !strings.Contains(plain, want) {
			t.Errorf("launcher --help does not show %q:\n%s", want, out)
		}
	}
}

// A launcher is given every namespace in which work pools may have their Jobs, its own once.
func TestFurtherNamespacesReachTheLauncher(t *testing.T) {
	s, err := config.LoadLauncher(t.Context(), parseEnviron([]string{"PREFECT_API_URL=http://h/api", "NAMESPACE=flows", "PREFECT_KEDA_JOB_NAMESPACES=flows,team-a"}))
	if err != nil {
		t.Fatal(err)
	}
	o := launcherOptions(s, "l", slog.New(slog.DiscardHandler), nil)
	if d := cmp.Diff([]string{"team-a"}, o.JobNamespaces); d != "" || o.Namespace != "flows" {
		t.Errorf("in %s, -want +got:\n%s", o.Namespace, d)
	}
}
