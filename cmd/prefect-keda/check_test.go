package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// page is what check prints, with the addresses that differ from run to run named.
func (w world) page(t *testing.T, args ...string) result {
	t.Helper()
	got := command(t.Context(), w.env, "", append([]string{"check", "--log-level", "INFO"}, args...)...)
	for _, entry := range w.env {
		name, value, _ := strings.Cut(entry, "=")
		if name == "KUBECONFIG" || name == "PREFECT__CLOUD__API" {
			got.Out = strings.ReplaceAll(got.Out, value, name)
		}
	}
	got.Out = strings.ReplaceAll(got.Out, w.kube.URL, "KUBERNETES")
	return got
}

// The whole command where all is well: one line each, and nothing is created.
func TestCheck(t *testing.T) {
	w := newWorld(t, "")
	w.prefect.CreateRuns(prefecttest.Order{Count: 3, Labels: []string{"gpu"}})
	const want = `ok    Prefect API         PREFECT__CLOUD__API answers
ok    clock               at most 5s from the API's
ok    API key             the API accepts it
ok    backend             Prefect server, as set
ok    tenant              TENANT
ok    due flow runs       3 for the labels gpu, 0 for others
ok    Kubernetes API      v1.34.4 at KUBERNETES, by kubeconfig KUBECONFIG
ok    namespace           flows
ok    permissions         all 11 of the Role prefect-keda-launcher in flows
ok    Job template        the built-in one, rendered
ok    service account     default
ok    authors' accounts   flows may name any service account of flows
skip  image pull secrets  none are set
ok    API key Secret      prefect-api-key/api-key
ok    trial Job           Kubernetes would accept it
ok    KEDA                installed
ok    ScaledObject        scaledjob launcher is Ready
`
	got := w.page(t, "--label", "gpu", "--install-namespace", "etl", "--as", "launcher")
	got.Out = strings.ReplaceAll(got.Out, w.prefect.Tenant(), "TENANT")
	if d := cmp.Diff(result{exitOK, want, ""}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff(map[string]string{"read": "", "review": "launcher", "create": "launcher"}, w.kube.users); d != "" {
		t.Errorf("who acts: -want +got:\n%s", d)
	}
	if jobs := w.kube.created(); len(jobs) > 0 {
		t.Errorf("created %d Jobs", len(jobs))
	}
}

// In the scaler's pod, whose account may not act as the launcher's, it is asked about
// that.
func TestCheckOfTheLauncherInTheScalersPod(t *testing.T) {
	w := newWorld(t, "")
	w.kube.alone = true
	const account = "system:serviceaccount:prefect-keda:prefect-keda-launcher"
	got := w.page(t, "--install-namespace", "etl", "--as", account)
	for _, want := range []string{
		"ok    permissions         all 11 of the Role prefect-keda-launcher in flows\n",
		"skip  trial Job           not allowed to act as the launcher: launchers try it when they start\n",
	} {
		if !strings.Contains(got.Out, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if d := cmp.Diff(map[string]string{"read": "", "asked about": account}, w.kube.users); d != "" || got.Code != exitOK {
		t.Errorf("%+v; who acts: -want +got:\n%s", got, d)
	}
}

// A failure is a line with an arrow under it, an object of JSON, and exit code 1.
func TestCheckFailures(t *testing.T) {
	w := newWorld(t, "create")
	w.env = append(w.env, "JOB_TEMPLATE=/nowhere?signature="+canary, "PREFECT_KEDA_AGENT_CONFIG_ID="+testConfig)
	got := w.page(t, "--install-namespace", "etl")
	for _, want := range []string{
		"FAIL  agent config        look up agent config " + testConfig,
		"FAIL  permissions         the service account lacks permissions in namespace flows: create jobs.batch (to launch flow runs). Add them to its Role\n" +
			"                          → bind the Role prefect-keda-launcher of the manifests in namespace flows; to check the account of our pods",
		"FAIL  Job template        Job template doesn't exist at /nowhere",
		"skip  trial Job           because of \"permissions\" above\n",
		"ok    ScaledObject ",
	} {
		if !strings.Contains(got.Out, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if got.Code != exitFailed || got.Err != "" || strings.Contains(got.Out, canary) {
		t.Errorf("%+v", got)
	}
	inJSON := w.page(t, "-o", "json", "--install-namespace", "etl")
	var results []check.Result
	if err := json.Unmarshal([]byte(inJSON.Out), &results); err != nil || inJSON.Code != exitFailed {
		t.Fatalf("%v: %+v", err, inJSON)
	}
	if !slices.ContainsFunc(results, func(r check.Result) bool {
		return r.Check == "Job template" && r.Status == check.Fail && r.Detail != "" && r.Advice != ""
	}) {
		t.Errorf("%+v", results)
	}
	if strings.Contains(inJSON.Out, canary) {
		t.Errorf("the key is in the output:\n%s", inJSON.Out)
	}
}

// Whatever repeats the key, or what opens the template, does not get it printed.
func TestCheckHidesSecrets(t *testing.T) {
	w := newWorld(t, "")
	w.prefect.Break(prefecttest.Fault{Operation: "tenant", Error: "no tenant for " + canary})
	templates := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "kind: Job\nspec: {template: {spec: {containers: [{name: flow}]}}}\n")
	}))
	defer templates.Close()
	got := w.page(t, "--job-template", strings.Replace(templates.URL, "//", "//me:word@", 1)+"/job.yaml?signature=mine")
	for _, want := range []string{"no tenant for [hidden]", "http://127.0.0.1", "/job.yaml, rendered"} {
		if !strings.Contains(got.Out, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(got.Out+got.Err, canary) || strings.Contains(got.Out+got.Err, "word") || strings.Contains(got.Out+got.Err, "signature") {
		t.Errorf("%+v", got)
	}
}

// The scaler's side: its flags and all of its connections and namespaces.
func TestCheckOfTheScaler(t *testing.T) {
	w := newWorld(t, "")
	other := prefecttest.New(prefecttest.Options{Key: "other"})
	w.env = append(w.env, "PREFECT_KEDA_CONNECTIONS=team-a", "PREFECT_KEDA_CONNECTION_TEAM_A_BACKEND=server",
		"PREFECT_KEDA_CONNECTION_TEAM_A_API="+other.Start(t), "PREFECT_KEDA_CONNECTION_TEAM_A_API_KEY="+canary)
	w.prefect.CreateRuns(prefecttest.Order{Count: 3, Labels: []string{"gpu"}})
	got := w.page(t, "--scaler", "--namespace", "flows,elsewhere", "--warm-up-lead", "20s", "--install-namespace", "etl")
	for _, want := range []string{
		"ok default: due flow runs 3, with any labels",
		"FAIL team-a: API key",
		"→ set PREFECT_KEDA_CONNECTION_TEAM_A_API_KEY to a key that has not been revoked, and PREFECT_KEDA_CONNECTION_TEAM_A_TENANT_ID to one",
		"ok namespace flows flows",
		"ok permissions all 5 of the Role prefect-keda-scaler in flows",
		"FAIL namespace elsewhere there is no namespace elsewhere",
		"ok ScaledObject",
	} {
		if !strings.Contains(strings.Join(strings.Fields(got.Out), " "), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if got.Code != exitFailed || got.Err != "" || strings.Contains(got.Out, canary) || strings.Contains(got.Out, "trial Job") {
		t.Errorf("%+v", got)
	}
}

func TestCheckMisconfigured(t *testing.T) {
	w := newWorld(t, "")
	for _, tc := range []struct{ args, want string }{
		{"-o yaml", `--output: "yaml" is not a format: give text or json`},
		{"--timeout 0s", `--timeout: is 0s: give some seconds`},
		{"--scaler --connections a --idle-timeout x", "settings:\n  PREFECT_KEDA_CONNECTION_A_API_KEY: is not set, but Prefect Cloud needs a key: give it, or set PREFECT_KEDA_CONNECTION_A_BACKEND=server"},
		{"--namespace A", "settings:\n  NAMESPACE (--namespace): \"A\" cannot be the name of a namespace"},
	} {
		got := w.page(t, strings.Fields(tc.args)...)
		if d := cmp.Diff(result{exitMisconfigured, "", "prefect-keda: " + tc.want + "\n"}, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", tc.args, d)
		}
	}
}
