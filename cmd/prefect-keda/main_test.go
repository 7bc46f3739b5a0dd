package main

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
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
		"PREFECT__CLOUD__API_KEY=" + canary,
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

	code, out := w.run(t, "launcher", "--label", "gpu", "--label", "prod", "--max-polls", "3", "--poll-interval", "100ms")
	if code != exitOK {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	var launched []string
	for _, j := range w.kube.created() {
		launched = append(launched, j.Labels[job.LabelFlowRunID])
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
		deny string
		env  []string
		args []string
		want string
	}{
		{"an unknown flag", "", nil, []string{"launcher", "--idel-timeout=1m"}, "prefect-keda: unknown flag: --idel-timeout; see prefect-keda launcher --help\n"},
		{"an unknown command", "", nil, []string{"luncher"}, "prefect-keda: there is no command \"luncher\"; see prefect-keda --help\n"},
		{"an argument", "", nil, []string{"scaler", "now"}, "prefect-keda: prefect-keda scaler takes no arguments, only flags, and got [\"now\"]\n"},
		{
			"settings, all at once", "",
			[]string{"PREFECT_KEDA_CONCURRENCY=many", "PREFECT_KEDA_JOB_TTL=1m"},
			[]string{"launcher"},
			"prefect-keda: settings:\n" +
				"  PREFECT_KEDA_CONCURRENCY (--concurrency): \"many\" is not a number: invalid syntax\n" +
				"  PREFECT_KEDA_JOB_TTL (--job-ttl): is 1m0s: give at least 5m0s, because a finished Job's name is what stops a late launcher from starting the run again\n",
		},
		{
			"a permission", "create", nil,
			[]string{"launcher"},
			"prefect-keda: the service account lacks permissions in namespace flows: create jobs.batch (to launch flow runs). Add them to its Role\n",
		},
		{
			"a permission in one of two namespaces", "", nil,
			[]string{"scaler", "--namespace", "flows,elsewhere"},
			"prefect-keda: the service account lacks permissions in namespace elsewhere: list jobs.batch (to count claims that lack their Job and Jobs in trouble), watch jobs.batch (to count claims that lack their Job and Jobs in trouble), list pods (to count Jobs in trouble), watch pods (to count Jobs in trouble), get namespaces (to tell this cluster's claims from another's). Add them to its Role\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.deny)
			w.env = append(w.env, tc.env...)
			code, out := w.run(t, tc.args...)
			// What the process logged before is not its last word.
			if i := strings.LastIndex(out, "prefect-keda: "); i > 0 {
				out = out[strings.Index(out, "prefect-keda: "):]
			}
			if d := cmp.Diff(tc.want, out); d != "" || code != exitMisconfigured {
				t.Errorf("exit code %d, -want +got:\n%s", code, d)
			}
		})
	}
}

// A refused key ends the launcher with the code for what only an operator mends.
func TestRefusedKey(t *testing.T) {
	w := newWorld(t, "")
	code, out := w.run(t, "launcher", "--key", "wrong", "--poll-interval", "100ms")
	if code != exitMisconfigured || !strings.Contains(out, "refused the key") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if strings.Contains(out, canary) {
		t.Errorf("the key is in the output:\n%s", out)
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
			if !strings.Contains(plain, "--"+s.Flag+" ") || !strings.Contains(plain, "["+s.Variable) || !strings.Contains(plain, s.Group+":") {
				t.Errorf("%s --help does not show %s under %q", command, s.Name(), s.Group)
			}
		}
		if strings.Contains(out, canary) {
			t.Errorf("the key is on the help page:\n%s", out)
		}
	}
	if code, out := newWorld(t, "").run(t); code != exitOK || !strings.Contains(out, "launcher   Claim due flow runs") {
		t.Errorf("without a command: exit code %d:\n%s", code, out)
	}
	if code, out := newWorld(t, "").run(t, "version"); code != exitOK || !strings.HasPrefix(out, "prefect-keda ") || strings.TrimSpace(out) == "prefect-keda" {
		t.Errorf("version: exit code %d, %q", code, out)
	}
}
