package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// canary is the API key of every test; it must not come out anywhere.
const canary = "canary-5678"

// output is what a process writes, readable while it runs.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await polls until the output contains a text.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for tick := time.NewTicker(10 * time.Millisecond); !strings.Contains(o.String(), text); {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%q did not come; the output is:\n%s", text, o)
		}
	}
}

// world is a Prefect API, a Kubernetes API and the environment that leads to them.
type world struct {
	prefect *prefecttest.API
	kube    *apiServer
	env     []string
}

func newWorld(t *testing.T, deny string) world {
	t.Helper()
	w := world{prefect: prefecttest.New(prefecttest.Options{Key: canary}), kube: newAPIServer(t, deny)}
	server := httptest.NewServer(w.prefect)
	t.Cleanup(server.Close)
	w.env = []string{
		"KUBECONFIG=" + w.kube.kubeconfig(t),
		"PREFECT__BACKEND=server",
		"PREFECT__CLOUD__API=" + server.URL,
		"PREFECT_KEDA_API_KEY=" + canary,
		"PREFECT__CLOUD__AGENT__LEVEL=DEBUG",
		"PREFECT__CLOUD__AGENT__ENV_VARS={'TOKEN': '" + canary + "'}",
		"PREFECT_KEDA_API_KEY_SECRET=prefect-api-key/api-key",
		"PREFECT_KEDA_OPS_LISTEN=127.0.0.1:0",
		"PREFECT_KEDA_LISTEN=127.0.0.1:0",
		"NAMESPACE=flows",
		"GOGC=100",
		"GOMEMLIMIT=off",
	}
	return w
}

// get is a variable of the environment.
func (w world) get(name string) string {
	for _, variable := range w.env {
		if value, found := strings.CutPrefix(variable, name+"="); found {
			return value
		}
	}
	return ""
}

// start runs a command line until the test ends and returns its output and, when
// called, its exit code after a SIGTERM.
func (w world) start(t *testing.T, args ...string) (out *output, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out = &output{}
	code := make(chan int, 1)
	go func() { code <- run(ctx, args, streams{out: out, err: out}, w.env) }()
	stop = sync.OnceValue(func() int {
		cancel()
		return <-code
	})
	t.Cleanup(func() { stop() })
	return out, stop
}

func (w world) run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	out := &output{}
	code := run(t.Context(), args, streams{out: out, err: out}, w.env)
	return code, out.String()
}

// The whole launcher, from its environment to the Job, and its exit when it has
// looked often enough.
func TestLauncherLaunchesAndLeaves(t *testing.T) {
	w := newWorld(t, "")
	ids := w.prefect.CreateRuns(prefecttest.Order{Count: 3, Labels: []string{"gpu"}})
	w.prefect.CreateRuns(prefecttest.Order{Labels: []string{"other"}})

	// The agent passed the URL on as it was given, and the tenant it had looked up.
	api := w.get("PREFECT__CLOUD__API") + "/"
	code, out := w.run(t, "launcher", "--label", "gpu", "--label", "prod", "--max-polls", "3", "--poll-interval", "100ms", "--api", api)
	if code != exitOK {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	var launched []string
	for _, j := range w.kube.created() {
		launched = append(launched, j.Labels[kubernetesrun.LabelFlowRunID])
		for _, v := range j.Spec.Template.Spec.Containers[0].Env {
			switch v.Name {
			case "PREFECT__CLOUD__API_KEY":
				want := &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "prefect-api-key"}, Key: "api-key"}
				if v.Value != "" || v.ValueFrom == nil || !cmp.Equal(v.ValueFrom.SecretKeyRef, want) {
					t.Errorf("the pod gets its key by %+v", v)
				}
			case "PREFECT__CLOUD__AGENT__LABELS":
				if v.Value != "['gpu', 'prod']" {
					t.Errorf("the pod is told the labels %s", v.Value)
				}
			case "PREFECT__CLOUD__API":
				if v.Value != api {
					t.Errorf("the pod is told the API %s, want %s", v.Value, api)
				}
			case "PREFECT__CLOUD__TENANT_ID":
				if v.Value != w.prefect.Tenant() {
					t.Errorf("the pod is told the tenant %q, want %q", v.Value, w.prefect.Tenant())
				}
			}
		}
	}
	slices.Sort(launched)
	slices.Sort(ids)
	if d := cmp.Diff(ids, launched); d != "" {
		t.Errorf("launched: -want +got:\n%s\n%s", d, out)
	}
	if strings.Contains(out, canary) {
		t.Errorf("the key is in the output:\n%s", out)
	}
	if strings.Contains(out, `"level":"ERROR"`) || strings.Contains(out, `"level":"WARN"`) {
		t.Errorf("there are complaints:\n%s", out)
	}
}

// A template server that is away keeps no launcher from its start, and no run with a
// template of its own from its Job; the others wait.
func TestTemplateServerIsAway(t *testing.T) {
	w := newWorld(t, "")
	waits := w.prefect.CreateRuns(prefecttest.Order{})[0]
	own := w.prefect.CreateRuns(prefecttest.Order{RunConfig: map[string]any{
		"type": "KubernetesRun", "labels": []any{}, "job_template": map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{}}}},
	}})[0]
	code, out := w.run(t, "launcher", "--job-template", "http://127.0.0.1:1/job.yaml", "--max-polls", "3", "--poll-interval", "100ms")
	var launched []string
	for _, j := range w.kube.created() {
		launched = append(launched, j.Labels[kubernetesrun.LabelFlowRunID])
	}
	if diff := cmp.Diff([]string{own}, launched); diff != "" || code != exitOK {
		t.Errorf("exit code %d, launched (-want +got):\n%s\n%s", code, diff, out)
	}
	if r := w.prefect.Runs(waits)[0]; r.State != "Scheduled" {
		t.Errorf("the run that waits is %s: %s", r.State, r.Message)
	}
	if !strings.Contains(out, "see that JOB_TEMPLATE (--job-template) can be reached") {
		t.Errorf("nobody is told:\n%s", out)
	}
}

// A comma in a label is most likely two labels, but the agent's flag had it so.
func TestLabelWithAComma(t *testing.T) {
	const hint = "this --label is one label with a comma in it"
	for args, want := range map[string]bool{"-l a,b": true, "-l a -l b": false, "-l ['a,b']": false} {
		_, out := newWorld(t, "").run(t, append([]string{"launcher", "--max-polls", "1"}, strings.Fields(args)...)...)
		if strings.Contains(out, hint) != want {
			t.Errorf("%s: want a hint: %v, got:\n%s", args, want, out)
		}
	}
}

// A SIGTERM that drained is a success.
func TestScalerStopsCleanly(t *testing.T) {
	w := newWorld(t, "")
	out, stop := w.start(t, "scaler")
	out.await(t, "serving KEDA")
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if strings.Contains(out.String(), canary) {
		t.Errorf("the key is in the output:\n%s", out)
	}
}

func TestMisconfigured(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"an unknown flag", nil, []string{"launcher", "--idel-timeout=1m"}, "prefect-keda: unknown flag: --idel-timeout; see prefect-keda launcher --help\n"},
		{"a flag's value", nil, []string{"launcher", "--pod-retries=maybe"}, "prefect-keda: --pod-retries: \"maybe\" is neither true nor false; see prefect-keda launcher --help\n"},
		{"a duration without a unit", nil, []string{"check", "--timeout", "10"}, "prefect-keda: --timeout: \"10\" has no unit: give for example 90s, 15m or 1h; see prefect-keda check --help\n"},
		{"an unknown command", nil, []string{"luncher"}, "prefect-keda: there is no command \"luncher\"; did you mean launcher? See prefect-keda --help\n"},
		{"help of an unknown command", nil, []string{"instal", "--help"}, "prefect-keda: there is no command \"instal\"; did you mean install? See prefect-keda --help\n"},
		{"flags of an unknown command", nil, []string{"agent", "--backend", "server"}, "prefect-keda: there is no command \"agent\"; see prefect-keda --help\n"},
		{"help for an unknown command", nil, []string{"help", "bogus"}, "prefect-keda: there is no command \"bogus\"; see prefect-keda --help\n"},
		{"help for too much", nil, []string{"help", "render", "x"}, "prefect-keda: there is no command \"render x\"; did you mean render? See prefect-keda --help\n"},
		{"an argument", nil, []string{"scaler", "now"}, "prefect-keda: prefect-keda scaler takes no arguments, only flags, and got [\"now\"]\n"},
		{
			"settings, all at once",
			[]string{"PREFECT_KEDA_CONCURRENCY=many", "PREFECT_KEDA_JOB_TTL=1m"},
			[]string{"launcher"},
			"prefect-keda: settings:\n" +
				"  PREFECT_KEDA_CONCURRENCY (--concurrency): \"many\" is not a whole number\n" +
				"  PREFECT_KEDA_JOB_TTL (--job-ttl): is 1m0s: give at least 5m0s, because only the name of the finished Job stops a late launcher from starting the run again\n",
		},
		{
			"no kubeconfig",
			[]string{"KUBECONFIG=/nowhere"},
			[]string{"launcher"},
			"logged: KUBECONFIG (--kubeconfig), PREFECT_KEDA_KUBE_CONTEXT (--context): cannot reach Kubernetes: this is not a pod with a service account token, and kubeconfig /nowhere is missing or empty; set KUBECONFIG or --kubeconfig",
		},
		{
			"no certificate", nil,
			[]string{"scaler", "--tls-cert-file", "/nowhere.crt", "--tls-key-file", "/nowhere.key"},
			"logged: PREFECT_KEDA_TLS_CERT_FILE, PREFECT_KEDA_TLS_KEY_FILE, PREFECT_KEDA_TLS_CLIENT_CA_FILE: the certificate cannot be used: load certificate /nowhere.crt and key /nowhere.key: open /nowhere.crt: no such file or directory",
		},
		{
			"a Job template that is not there",
			[]string{"JOB_TEMPLATE=/nowhere/job.yaml"},
			[]string{"launcher"},
			"logged: Job template doesn't exist at /nowhere/job.yaml: the path is looked up in the launcher's container: mend it, or set JOB_TEMPLATE (--job-template) to another; runs without a template of their own wait",
		},
		{
			"a Job template with a typo", nil,
			[]string{"launcher", "--job-template", "testdata/typo.yaml"},
			"logged: the launcher's job template testdata/typo.yaml has fields that no Job has: unknown field \"spec.templte\": mend it, or set JOB_TEMPLATE (--job-template) to another; runs without a template of their own wait",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, "")
			w.env = append(w.env, tc.env...)
			code, out := w.run(t, tc.args...)
			if last, logged := lastLogged(t, out); logged {
				out = last
			}
			if d := cmp.Diff(tc.want, out); d != "" || code != exitMisconfigured {
				t.Errorf("exit code %d, -want +got:\n%s", code, d)
			}
		})
	}
}

// lastLogged is the error of the log's last line, with which a process ended.
func lastLogged(t *testing.T, out string) (text string, logged bool) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var line struct {
		Level, Err string
		ExitCode   int `json:"exit_code"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil || line.ExitCode == exitOK {
		return "", false
	}
	if line.Level != "ERROR" || strings.Count(out, "\nprefect-keda: ") > 0 {
		t.Errorf("the last line is not an error, or not the only one of its kind:\n%s", out)
	}
	return "logged: " + line.Err, true
}

// Whichever port is in use, its setting is named, and nothing but a change helps.
func TestPortsInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for setting, args := range map[string]string{
		"PREFECT_KEDA_OPS_LISTEN (--ops-listen)":                 "launcher --ops-listen ",
		"PREFECT__CLOUD__AGENT__AGENT_ADDRESS (--agent-address)": "launcher --agent-address ",
		"PREFECT_KEDA_LISTEN (--listen)":                         "scaler --listen ",
	} {
		code, out := newWorld(t, "").run(t, strings.Fields(args+l.Addr().String())...)
		got, _ := lastLogged(t, out)
		want := "logged: " + setting + ": cannot listen there: bind: address already in use: give another address, or stop the program that uses it"
		if code != exitMisconfigured || got != want {
			t.Errorf("%s: exit code %d, %s", args, code, got)
		}
	}
}

// An API server that cannot be asked for our permissions stops nobody; one that
// refuses the watch of Jobs later does, as a permission that is missing.
func TestRefusedByKubernetes(t *testing.T) {
	w := newWorld(t, "")
	w.kube.fail("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", http.StatusInternalServerError)
	code, out := w.run(t, "launcher", "--max-polls", "1")
	if code != exitOK || !strings.Contains(out, "cannot check our permissions; going on without") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if !strings.Contains(out, `"msg":"using the Prefect API","api":"http://127.0.0.1:`) || !strings.Contains(out, `"setting":"PREFECT__CLOUD__API (--api)"`) {
		t.Errorf("the log does not say which API is asked:\n%s", out)
	}
	w.kube.fail("GET /apis/batch/v1/namespaces/flows/jobs", http.StatusForbidden)
	code, out = w.run(t, "launcher", "--max-polls", "1")
	if got, _ := lastLogged(t, out); code != exitMisconfigured || !strings.Contains(got, "flows") {
		t.Errorf("exit code %d: %s\n%s", code, got, out)
	}
}

// A template that Kubernetes will never take ends a launcher at its start, and what
// may pass does not. No run is claimed for either.
func TestJobThatKubernetesDoesNotTake(t *testing.T) {
	for _, tc := range []struct {
		name    string
		code    int
		message string
		want    int
		words   string
	}{
		{"invalid", http.StatusUnprocessableEntity, "spec.template.spec.restartPolicy: Unsupported value", exitMisconfigured, "Kubernetes refuses the Job of any run that brings nothing of its own: spec.template.spec.restartPolicy: Unsupported value: fix the setting behind the named field, or with Prefect 1 the Job template (JOB_TEMPLATE, --job-template)"},
		{"denied", http.StatusForbidden, `admission webhook "policy" denied the request: not now`, exitOK, `"level":"ERROR","msg":"upstream is failing, retrying","upstream":"job_template"`},
		{"denied as invalid", http.StatusUnprocessableEntity, "denied request: not now", exitOK, `"level":"ERROR","msg":"upstream is failing, retrying","upstream":"job_template"`},
		{"away", http.StatusInternalServerError, "no", exitOK, "cannot try a Job in Kubernetes; going on without the trial"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, "")
			due := w.prefect.CreateRuns(prefecttest.Order{})[0]
			w.kube.message = tc.message
			w.kube.fail("POST /apis/batch/v1/namespaces/flows/jobs", tc.code)
			if tc.want == exitOK { // it goes on, and hands back what it has when it is told to leave
				out, stop := w.start(t, "launcher")
				out.await(t, tc.words)
				if code := stop(); code != tc.want {
					t.Errorf("exit code %d, want %d:\n%s", code, tc.want, out)
				}
			} else if code, out := w.run(t, "launcher"); code != tc.want || !strings.Contains(out, tc.words) {
				t.Errorf("exit code %d, want %d with %s:\n%s", code, tc.want, tc.words, out)
			}
			if r := w.prefect.Runs(due)[0]; r.State != "Scheduled" {
				t.Errorf("the run is %s: %s", r.State, r.Message)
			}
		})
	}
}

// The agent's two pages are served where the agent's setting says, on the
// operators' port if that is the same.
func TestAgentPages(t *testing.T) {
	const created = `"msg":"created the Job","action":"launch","flow_run":"`
	served := regexp.MustCompile(`"msg":"serving pages","address":"([^"]+)","setting":"([A-Z_]+)"`)
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"--agent-address", "http://127.0.0.1:0"}, []string{"PREFECT_KEDA_OPS_LISTEN", "PREFECT__CLOUD__AGENT__AGENT_ADDRESS"}},
		{nil, []string{"PREFECT_KEDA_OPS_LISTEN"}},
	} {
		w := newWorld(t, "")
		first := w.prefect.CreateRuns(prefecttest.Order{})[0]
		out, stop := w.start(t, append([]string{"launcher", "--poll-interval", "1h", "--idle-timeout", "2h"}, tc.args...)...)
		out.await(t, "launcher begins")
		var settings []string
		address := map[string]string{}
		for _, m := range served.FindAllStringSubmatch(out.String(), -1) {
			settings = append(settings, m[2])
			address[m[2]] = m[1]
		}
		if d := cmp.Diff(tc.want, settings); d != "" {
			t.Fatalf("%q: -want +got:\n%s\n%s", tc.args, d, out)
		}
		if tc.args == nil {
			if got := get(t, address[opsVariable], "/api/health"); got != "404 404 page not found\n" {
				t.Errorf("nobody asked for the agent's pages: %s", got)
			}
			stop()
			continue
		}
		agent := address["PREFECT__CLOUD__AGENT__AGENT_ADDRESS"]
		if got := get(t, agent, "/api/health"); got != "200 {}" {
			t.Errorf("/api/health: %s", got)
		}
		// Of the second run it hears by being poked only: the interval is long.
		out.await(t, created+first)
		second := w.prefect.CreateRuns(prefecttest.Order{})[0]
		if got := get(t, agent, "/api/poke"); got != "200 " {
			t.Errorf("/api/poke: %s", got)
		}
		out.await(t, created+second)
		if code := stop(); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	}
}

func get(t *testing.T, address, path string) string {
	t.Helper()
	response, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(response.StatusCode, " ", string(body))
}

// A refused key ends the launcher with the code for what only an operator mends.
func TestRefusedKey(t *testing.T) {
	w := newWorld(t, "")
	code, out := w.run(t, "launcher", "--key", "wrong", "--poll-interval", "100ms")
	if code != exitMisconfigured || !strings.Contains(out, "refused the key") || !strings.Contains(out, "check PREFECT__CLOUD__API_KEY and PREFECT__CLOUD__TENANT_ID") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	w.env = append(w.env, "PREFECT_KEDA_API_KEY=wrong")
	code, out = w.run(t, "launcher", "--poll-interval", "100ms")
	if code != exitMisconfigured || !strings.Contains(out, "check the API key in the Secret prefect-api-key (key api-key), which pods read as PREFECT_KEDA_API_KEY, and PREFECT__CLOUD__TENANT_ID"+restart) {
		t.Errorf("exit code %d, and not what of which Secret to check:\n%s", code, out)
	}
	if strings.Contains(out, canary) {
		t.Errorf("the key is in the output:\n%s", out)
	}
}

// The scaler goes on with a key that is refused, and says which setting to mend.
func TestScalerGoesOnWithARefusedKey(t *testing.T) {
	w := newWorld(t, "")
	out, stop := w.start(t, "scaler", "--key", "wrong")
	out.await(t, "check PREFECT__CLOUD__API_KEY and PREFECT__CLOUD__TENANT_ID")
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	further := connection{name: "team-a", home: "prefect-keda", variable: config.Connection{Name: "team-a"}.Variable}
	if got, want := further.credentials(), "PREFECT_KEDA_CONNECTION_TEAM_A_API_KEY and PREFECT_KEDA_CONNECTION_TEAM_A_TENANT_ID"+restart; got != want {
		t.Errorf("a further connection's key is in %s, want %s", got, want)
	}
	if got, want := further.variable("ALLOWED_NAMESPACES"), "PREFECT_KEDA_CONNECTION_TEAM_A_ALLOWED_NAMESPACES"; got != want {
		t.Errorf("a further connection's namespaces are in %s, want %s", got, want)
	}
}

// Every setting is on the help page, with its variable.
func TestHelp(t *testing.T) {
	for command, of := range map[string]any{"launcher": config.Launcher{}, "scaler": config.Scaler{}} {
		code, out := newWorld(t, "").run(t, command, "--help")
		if code != exitOK {
			t.Errorf("%s --help: exit code %d", command, code)
		}
		plain := strings.Join(strings.Fields(out), " ")
		for _, s := range config.Settings(of) {
			if s.Flag == "" { // a worker's, which docs/settings.md has
				continue
			}
			if !strings.Contains(plain, "--"+s.Flag+" ") || !strings.Contains(plain, s.Variable) || !strings.Contains(plain, "["+s.For(config.Prefect3)) || !strings.Contains(plain, s.Group+":") {
				t.Errorf("%s --help does not show %s under %q", command, s.Name(), s.Group)
			}
		}
		if strings.Contains(out, canary) {
			t.Errorf("the key is on the help page:\n%s", out)
		}
	}
	// Those that take a launcher's flags show the ones they use.
	for command, hidden := range map[string]string{
		"check":  "--idle-timeout --pod-grace --keep-failed-jobs --ops-listen --max-polls --warm-up-lead --listen Launching: gRPC:",
		"render": "--idle-timeout --pod-grace --keep-failed-jobs --ops-listen --max-polls --kubeconfig --connections Launching:",
	} {
		_, out := newWorld(t, "").run(t, command, "--help")
		for _, shown := range []string{"--api ", "--namespace ", "--label ", "--job-template ", "--log-level "} {
			if !strings.Contains(out, shown) {
				t.Errorf("%s --help does not show %s", command, shown)
			}
		}
		for text := range strings.FieldsSeq(hidden) {
			if strings.Contains(out, text) {
				t.Errorf("%s --help shows %s", command, text)
			}
		}
	}
	if code, out := newWorld(t, "").run(t); code != exitOK || !strings.Contains(out, "launcher   Claim due flow runs") {
		t.Errorf("without a command: exit code %d:\n%s", code, out)
	}
	if code, out := newWorld(t, "").run(t, "version"); code != exitOK || !strings.HasPrefix(out, "prefect-keda ") || strings.TrimSpace(out) == "prefect-keda" {
		t.Errorf("version: exit code %d, %q", code, out)
	} else if code, flag := newWorld(t, "").run(t, "--version"); code != exitOK || flag != out {
		t.Errorf("--version: exit code %d, %q", code, flag)
	}
	_, page := newWorld(t, "").run(t, "render", "--help")
	if code, out := newWorld(t, "").run(t, "help", "render"); code != exitOK || out != page {
		t.Errorf("help render: exit code %d, %q", code, out)
	}
}
