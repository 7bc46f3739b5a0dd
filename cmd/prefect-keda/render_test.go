package main

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

var update = flag.Bool("update", false, "write testdata/render.yaml")

// row is a flow run as the API returns it to the agent (prefect1 §1.10).
const row = `{
	"id": "6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001", "version": 1, "state": "Scheduled", "name": "sturdy-otter",
	"serialized_state": {"type": "Scheduled", "message": "Flow run scheduled.", "start_time": "2024-01-01T00:00:00+00:00"},
	"parameters": {}, "scheduled_start_time": "2024-01-01T00:00:00+00:00",
	"run_config": {"type": "KubernetesRun", "env": {"FOO": "bar"}, "labels": ["k8s"], "cpu_limit": "CPU", "image_pull_policy": "Always"},
	"flow": {"id": "0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002", "name": "hello-flow", "environment": null, "version": 1,
		"core_version": "1.4.1", "storage": {"type": "Local"}},
	"task_runs": []
}`

func rowWith(cpuLimit string) string { return strings.ReplaceAll(row, "CPU", cpuLimit) }

// result is all of a command that has ended.
type result struct {
	Code     int
	Out, Err string
}

func command(ctx context.Context, environ []string, stdin string, args ...string) result {
	var out, err strings.Builder
	code := run(ctx, args, streams{out: &out, err: &err, in: strings.NewReader(stdin)}, environ)
	return result{code, out.String(), err.String()}
}

// What render prints is what a launcher with the same settings creates.
func TestRenderIsWhatIsCreated(t *testing.T) {
	w := newWorld(t, "")
	id := w.prefect.CreateRuns(prefecttest.Order{Labels: []string{"gpu"}, RunConfig: map[string]any{
		"type": "KubernetesRun", "env": map[string]string{"A": "1"}, "memory_request": "1Gi",
	}})[0]
	var printed [2]batchv1.Job
	for i, format := range []string{"json", "yaml"} {
		got := command(t.Context(), w.env, "", "render", "--label", "gpu", "-o", format, id)
		if got.Code != exitOK || got.Err != "" {
			t.Fatalf("%+v", got)
		}
		if err := yaml.UnmarshalStrict([]byte(got.Out), &printed[i]); err != nil {
			t.Fatal(err)
		}
		if isJSON := json.Valid([]byte(got.Out)); isJSON != (format == "json") {
			t.Errorf("-o %s prints:\n%s", format, got.Out)
		}
	}
	if code, out := w.run(t, "launcher", "--label", "gpu", "--max-polls", "3", "--poll-interval", "100ms"); code != exitOK {
		t.Fatal(out)
	}
	created := w.kube.created()
	if len(created) != 1 {
		t.Fatalf("%d Jobs were created", len(created))
	}
	created[0].Namespace = "flows" // it was created there
	if _, noted := job.NotedLaunch(created[0]); !noted || len(created[0].Annotations) != 1 {
		t.Errorf("annotations %v, want the note of the launch, which only a launcher can write", created[0].Annotations)
	}
	created[0].Annotations = nil
	for _, p := range printed {
		if d := cmp.Diff(*created[0], p); d != "" {
			t.Errorf("-created +printed:\n%s", d)
		}
	}
}

// offline is an environment that leads nowhere.
func offline(more ...string) []string {
	return append([]string{"PREFECT__CLOUD__API=http://127.0.0.1:1", "NAMESPACE=flows"}, more...)
}

// Offline nothing is asked of anybody, not even for a key; a row, a list of one
// and the API's whole answer are the same.
func TestRenderOffline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	if err := os.WriteFile(path, []byte(rowWith("2")), 0o600); err != nil {
		t.Fatal(err)
	}
	want := command(t.Context(), offline(), "", "render", "-f", path)
	if want.Code != exitOK || !strings.Contains(want.Out, "cpu: \"2\"") || !strings.Contains(want.Out, "value: '[hidden]'") || strings.Contains(want.Out, "status:") {
		t.Fatalf("%+v", want)
	}
	for _, text := range []string{rowWith("2"), "[" + rowWith("2") + "]", `{"data": {"flow_run": [` + rowWith("2") + `]}}`} {
		if d := cmp.Diff(want, command(t.Context(), offline(), text, "render", "-f", "-")); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
}

// A launcher for a Prefect Server has no key unless it is given one, and neither
// has what its pods are told.
func TestRenderMakesUpNoKey(t *testing.T) {
	args := []string{"render", "-f", "-", "--backend", "server", "--api-key-secret", "prefect-api-key/api-key"}
	got := command(t.Context(), offline(), rowWith("2"), args...)
	if got.Code != exitOK || strings.Contains(got.Out, "[hidden]") || strings.Contains(got.Out, "secretKeyRef") {
		t.Errorf("%+v", got)
	}
	// Where it has one, it shows.
	got = command(t.Context(), offline("PREFECT_KEDA_API_KEY="+canary), rowWith("2"), args...)
	if got.Code != exitOK || !strings.Contains(got.Out, "secretKeyRef") {
		t.Errorf("%+v", got)
	}
}

// What the official chart wrote for no pull secrets and people write for no labels is
// none here too, and what it wrote for some is those.
func TestRenderReadsListsAsLaunchersDo(t *testing.T) {
	const a = "- name: a # IMAGE_PULL_SECRETS\n"
	for text, want := range map[string]string{"[]": "", "null": "", `""`: "", `["a"]`: a, `"a"`: a} {
		got := command(t.Context(), offline("IMAGE_PULL_SECRETS="+text, "PREFECT__CLOUD__AGENT__LABELS=None"), rowWith("2"), "render", "-f", "-", "--backend", "server")
		if got.Code != exitOK || !strings.Contains(got.Out, want) || strings.Contains(got.Out, "imagePullSecrets") != (want != "") || !strings.Contains(got.Out, "value: '[]'") {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// Each value says where it is from.
func TestRenderSaysWhereValuesAreFrom(t *testing.T) {
	got := command(t.Context(), offline(), "", "render", "-f", "testdata/run.json", "--backend", "server", "--service-account-name", "flows", "--env", "A=1", "--no-cloud-logs")
	if got.Code != exitOK {
		t.Fatalf("%+v", got)
	}
	const golden = "testdata/render.yaml"
	if *update {
		if err := os.WriteFile(golden, []byte(got.Out), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.Out); d != "" {
		t.Errorf("-want +got (go test ./cmd/prefect-keda -update):\n%s", d)
	}
}

// The key is shown to those who ask.
func TestRenderHidesTheKey(t *testing.T) {
	env := offline("PREFECT__CLOUD__API_KEY=" + canary)
	if got := command(t.Context(), env, rowWith("2"), "render", "-f", "-"); got.Code != exitOK || strings.Contains(got.Out+got.Err, canary) {
		t.Errorf("%+v", got)
	}
	if got := command(t.Context(), env, rowWith("2"), "render", "-f", "-", "--show-key"); strings.Count(got.Out, canary) != 2 {
		t.Errorf("%+v", got)
	}
}

// What would fail the run is the launcher's log line; what is wrong with the
// question is told by exit code 2.
func TestRenderFailures(t *testing.T) {
	const id = "6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001"
	w := newWorld(t, "")
	for _, tc := range []struct {
		name, stdin string
		args        []string
		want        result
	}{
		{
			"the run would fail", rowWith("much"),
			[]string{"-f", "-", "--log-level", "ERROR"},
			result{exitFailed, "", `{"level":"INFO","msg":"a launcher would fail the run","action":"launch","flow_run":"` + id + `","flow":"hello-flow","attempt":"v1",` +
				`"reason":"cpu_limit of the run_config is \"much\", which is not a quantity Kubernetes understands: write for example 500m or 2 for CPU, 512Mi or 4Gi for memory"}` + "\n"},
		},
		{"no such run", "", []string{id}, result{exitFailed, "", "prefect-keda: read flow run " + id + ": not found in Prefect (asked API, which PREFECT__CLOUD__API (--api) says)\n"}},
		{
			"nobody there", "",
			[]string{"--api", "", "--server-host", "http://127.0.0.1", "--server-port", "1", "--tenant-id", id, id},
			result{exitFailed, "", "prefect-keda: read flow run " + id + ": flowRun: no answer from the Prefect API: dial tcp 127.0.0.1:1: connect: connection refused (asked http://127.0.0.1:1, which PREFECT__SERVER__HOST (--server-host) says)\n"},
		},
		{"no run", "", nil, result{exitMisconfigured, "", "prefect-keda: no flow run is given: give either its id, or -f FILE with the run as the API returns it\n"}},
		{"two ways", "", []string{"-f", "-", id}, result{exitMisconfigured, "", "prefect-keda: no flow run is given: give either its id, or -f FILE with the run as the API returns it\n"}},
		{"no file", "", []string{"-f", "/nowhere"}, result{exitMisconfigured, "", "prefect-keda: --filename: open /nowhere: no such file or directory\n"}},
		{"no JSON", "x", []string{"-f", "-"}, result{exitMisconfigured, "", "prefect-keda: --filename -: is not a flow run in JSON: invalid character 'x' looking for beginning of value\n"}},
		{"two runs", "[{}, {}]", []string{"-f", "-"}, result{exitMisconfigured, "", "prefect-keda: --filename -: holds 2 flow runs: give one\n"}},
		{"another object", `{"kind": "Job"}`, []string{"-f", "-"}, result{exitMisconfigured, "", "prefect-keda: --filename -: holds no flow run: give an object with id, version, state, serialized_state, run_config and flow, as the API returns it\n"}},
		{"a format", "", []string{"-o", "xml", id}, result{exitMisconfigured, "", "prefect-keda: --output: \"xml\" is not a format: give yaml or json\n"}},
		{"a setting", rowWith("2"), []string{"-f", "-", "--namespace", "A"}, result{exitMisconfigured, "", "prefect-keda: settings:\n  NAMESPACE (--namespace): \"A\" cannot be the name of a namespace\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := command(t.Context(), w.env, tc.stdin, append([]string{"render"}, tc.args...)...)
			if _, rest, timed := strings.Cut(got.Err, `,"level"`); timed {
				got.Err = `{"level"` + rest
			}
			for _, entry := range w.env {
				if api, ok := strings.CutPrefix(entry, "PREFECT__CLOUD__API="); ok {
					got.Err = strings.ReplaceAll(got.Err, api, "API")
				}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
