package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// anAgent is what kubectl prints of what the agent's own install made
// (prefect1 §5.5).
const anAgent = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: prefect-agent
  namespace: prefect
spec:
  template:
    spec:
      containers:
      - args: [prefect agent kubernetes start]
        command: [/bin/bash, -c]
        env:
        - {name: PREFECT__CLOUD__AGENT__AUTH_TOKEN, value: canary}
        - {name: PREFECT__CLOUD__API, value: "http://apollo.prefect:4200"}
        - {name: NAMESPACE, value: flows}
        - {name: IMAGE_PULL_SECRETS, value: registry}
        - {name: PREFECT__CLOUD__AGENT__LABELS, value: "['b', 'a']"}
        - {name: JOB_MEM_REQUEST, value: 1G}
        - {name: JOB_MEM_LIMIT}
        - {name: JOB_CPU_REQUEST}
        - {name: JOB_CPU_LIMIT}
        - {name: IMAGE_PULL_POLICY, value: Always}
        - {name: SERVICE_ACCOUNT_NAME}
        - {name: PREFECT__BACKEND, value: server}
        - {name: PREFECT__CLOUD__AGENT__AGENT_ADDRESS, value: "http://:8080"}
        - {name: PREFECT__CLOUD__API_KEY, value: pk}
        - {name: PREFECT__CLOUD__TENANT_ID, value: 3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11}
        - {name: PREFECT__CLOUD__AGENT__ENV_VARS, value: '{"A": "1"}'}
        image: prefecthq/prefect:1.4.1-python3.7
        name: agent
`

// helmAgent is as the Server's chart has it, with what users add.
const helmAgent = `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "apps/v1", "kind": "Deployment",
 "metadata": {"name": "prefect-agent", "namespace": "prefect"},
 "spec": {"template": {"spec": {
  "serviceAccountName": "prefect-server-serviceaccount",
  "containers": [{"name": "agent", "command": ["bash", "-c"],
   "args": ["prefect agent kubernetes start --job-template /opt/job/job_template.yaml --name \"$WHO\" --max-polls 9 --no-cloud-logs --shiny new"],
   "env": [
    {"name": "WHO", "value": "the etl"},
    {"name": "PREFECT__BACKEND", "value": "server"},
    {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    {"name": "PREFECT__CLOUD__AGENT__LABELS", "value": "[\"a\", \"b\"]"},
    {"name": "PREFECT__CLOUD__API_KEY", "valueFrom": {"secretKeyRef": {"name": "own", "key": "k"}}},
    {"name": "PREFECT__SERVER__ENDPOINT", "value": "http://apollo:4200/graphql"},
    {"name": "PREFECT__CLOUD__TENANT_ID", "valueFrom": {"configMapKeyRef": {"name": "tenants", "key": "t"}}}
   ],
   "volumeMounts": [{"name": "job", "mountPath": "/opt/job"}]}],
  "volumes": [{"name": "job", "configMap": {"name": "job-template"}}]}}}}]}`

func pullSecret(into string) string {
	return "prefect-keda: pods pull images by the Secret registry, so it has to be in " + into + ": " + copied("flows", "secret registry", into) + "\n"
}

func copied(from, what, into string) string {
	return "kubectl -n " + from + " get " + what + " -o yaml | sed -E '/^  (uid|resourceVersion):/d; s/^  namespace: .*/  namespace: " + into + "/' | kubectl apply -f -"
}

// shippedImage is the image that the base names, with its pull policy. The tag is a
// version in the commit of a release.
func shippedImage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../manifests/base/kustomization.yaml")
	_, tag, found := strings.Cut(string(text), "newTag: ")
	tag, _, _ = strings.Cut(tag, "\n")
	if err != nil || !found {
		t.Fatal("the base names no tag", err)
	}
	return "ghcr.io/prefect-keda/prefect-keda:" + tag + " IfNotPresent"
}

// TestInstallFromAgent: migration is one pipe.
func TestInstallFromAgent(t *testing.T) {
	got := installWith(t, []string{"PREFECT__BACKEND=cloud"}, anAgent, "--from-agent", "-")
	want := installed{
		Config: map[string]string{
			"PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": "http://apollo.prefect:4200", "PREFECT__CLOUD__AGENT__LABELS": "['b', 'a']",
			"IMAGE_PULL_SECRETS": "registry", "PREFECT__CLOUD__AGENT__AGENT_ADDRESS": "http://:8080",
			"PREFECT__CLOUD__TENANT_ID": "3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11", "PREFECT__CLOUD__AGENT__ENV_VARS": `{"A": "1"}`,
		},
		Secrets:    map[string]string{"prefect-keda": "prefect-api-key=pk", "flows": "prefect-api-key=pk"},
		Namespaces: []string{"prefect-keda"}, Home: "prefect-keda", JobNamespace: "flows", RoleNamespaces: []string{"flows", "flows", "flows", "flows"}, KeyOptional: []bool{true, true},
		PullSecrets: []string{"registry", "registry"}, Images: []string{shippedImage(t), shippedImage(t)},
		MaxLaunchers: 10, RunsPer: "100",
		Err: "prefect-keda: without effect, as in the agent, and left out: JOB_MEM_REQUEST, IMAGE_PULL_POLICY, PREFECT__CLOUD__AGENT__AUTH_TOKEN\n" + pullSecret("prefect-keda"),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}

	// Flags win.
	got = installWith(t, nil, anAgent, "--from-agent", "-", "-n", "other", "-l", "x", "--api", "http://h:1", "--key", "pk2")
	want.JobNamespace, want.RoleNamespaces = "other", []string{"other", "other", "other", "other"}
	want.Err += pullSecret("other")
	want.Config["PREFECT__CLOUD__AGENT__LABELS"], want.Config["PREFECT__CLOUD__API"] = "['x']", "http://h:1"
	want.Secrets = map[string]string{"prefect-keda": "prefect-api-key=pk2", "other": "prefect-api-key=pk2"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("with flags: -want +got:\n%s", d)
	}
}

// TestInstallFromHelmAgent: what comes from elsewhere stays there, and install
// says what has to be where.
func TestInstallFromHelmAgent(t *testing.T) {
	got := command(t.Context(), nil, helmAgent, "install", "--from-agent", "-")
	want := `prefect-keda: both processes read PREFECT__CLOUD__TENANT_ID from there, so it has to be in prefect-keda: kubectl -n prefect get configmap tenants -o yaml | sed -E '/^  (uid|resourceVersion):/d; s/^  namespace: .*/  namespace: prefect-keda/' | kubectl apply -f -
prefect-keda: not settings of the agent or of ours, so both processes get them as they are: WHO
prefect-keda: the agent's --shiny is unknown and left out
prefect-keda: the agent's --max-polls is left out: KEDA decides how long a launcher stays; for trials run prefect-keda launcher
prefect-keda: the Job template is mounted as in the agent, so it has to be in prefect-keda: kubectl -n prefect get configmap job-template -o yaml | sed -E '/^  (uid|resourceVersion):/d; s/^  namespace: .*/  namespace: prefect-keda/' | kubectl apply -f -
prefect-keda: not taken over: the agent's service account prefect-server-serviceaccount: the launcher has one of its own, prefect-keda-launcher, with the Role that it needs. If it has a cloud role (for templates on S3 or Google Cloud Storage), ` + "`kubectl -n prefect get serviceaccount prefect-server-serviceaccount -o yaml`" + ` shows that as an annotation: add it to ours with kubectl annotate, and let the role trust ours
prefect-keda: our pods and the flows' pods read the API key from Secret own, so it has to be in prefect-keda: kubectl -n prefect get secret own -o yaml | sed -E '/^  (uid|resourceVersion):/d; s/^  namespace: .*/  namespace: prefect-keda/' | kubectl apply -f -
`
	if d := cmp.Diff(want, got.Err); d != "" || got.Code != exitOK {
		t.Errorf("exit code %d, -want +got:\n%s", got.Code, d)
	}
	head, _, _ := strings.Cut(got.Out, "---\n")
	want = `# Printed by prefect-keda install, for kubectl apply -f -; install KEDA first.
# Where the flags went:
#   agent's env              NAMESPACE in the ConfigMap
#   agent's env              PREFECT__BACKEND in the ConfigMap
#   agent's env              PREFECT__CLOUD__AGENT__LABELS in the ConfigMap
#   agent's env              PREFECT__SERVER__ENDPOINT in the ConfigMap
#   agent's --name           PREFECT__CLOUD__AGENT__NAME in the ConfigMap
#   agent's --job-template   JOB_TEMPLATE in the ConfigMap
#   agent's --no-cloud-logs  PREFECT__CLOUD__SEND_FLOW_RUN_LOGS in the ConfigMap
#   agent's env              also the namespace of the Roles; you make the namespace yourself
#   agent's env              key k of Secret own, which both Deployments and the flows' pods read
#   agent's env              WHO in the environment of both Deployments
#   agent's env              PREFECT__CLOUD__TENANT_ID in the environment of both Deployments
#   for JOB_TEMPLATE         volume job of the launcher
`
	if d := cmp.Diff(want, head); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for text, times := range map[string]int{
		"\n  JOB_TEMPLATE: /opt/job/job_template.yaml # agent's --job-template\n": 1, "\n  PREFECT__CLOUD__AGENT__NAME: the etl # agent's --name\n": 1,
		"PREFECT__CLOUD__API:": 0, "value: own/k # agent's env\n": 1, "name: own # agent's env\n": 2, "mountPath: /opt/job\n": 1, "name: tenants\n": 2,
	} {
		if n := strings.Count(got.Out, text); n != times {
			t.Errorf("%q is there %d times, want %d", text, n, times)
		}
	}
}

// A key made of another variable is what Prefect made of it, and a dead variable
// stays away wherever it comes from.
func TestInstallFromAgentBlock(t *testing.T) {
	got := installWith(t, nil, `
- {name: PREFECT__BACKEND, value: server}
- {name: K, value: pk}
- {name: PREFECT__CLOUD__API_KEY, value: "${K}"}
- {name: PREFECT__CLOUD__API, value: "http://h:1"}
- {name: PREFECT__CLOUD__AGENT__AUTH_TOKEN, valueFrom: {secretKeyRef: {name: s, key: k}}}
- {name: DELETE_FINISHED_JOBS}
`, "--from-agent", "-")
	want := installed{
		Config:  map[string]string{"PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": "http://h:1", "PREFECT__CLOUD__AGENT__LABELS": "[]", "DELETE_FINISHED_JOBS": ""},
		Secrets: map[string]string{"prefect-keda": "prefect-api-key=pk", "default": "prefect-api-key=pk"}, Namespaces: []string{"prefect-keda"}, Home: "prefect-keda", JobNamespace: "default",
		RoleNamespaces: []string{"default", "default", "default", "default"}, KeyOptional: []bool{true, true},
		Images:       []string{shippedImage(t), shippedImage(t)},
		MaxLaunchers: 10, RunsPer: "100",
		Err: "prefect-keda: without effect, as in the agent, and left out: PREFECT__CLOUD__AGENT__AUTH_TOKEN\n" +
			"prefect-keda: not settings of the agent or of ours, so both processes get them as they are: K\n",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// The official chart wrote [] for no pull secrets, and lists as JSON.
func TestInstallFromAgentPullSecrets(t *testing.T) {
	const block = "PREFECT__BACKEND=server\nPREFECT__CLOUD__API=http://h:1\nPREFECT__CLOUD__AGENT__LABELS=None\nIMAGE_PULL_SECRETS="
	for text, want := range map[string][]string{"[]": nil, `""`: nil, `["a", "b"]`: {"a", "b", "a", "b"}, `"a"`: {"a", "a"}} {
		got := installWith(t, nil, block+text+"\n", "--from-agent", "-")
		if d := cmp.Diff(want, got.PullSecrets); d != "" || got.Config["IMAGE_PULL_SECRETS"] != text {
			t.Errorf("%s: %q, -want +got:\n%s", text, got.Config["IMAGE_PULL_SECRETS"], d)
		}
	}
	want := result{exitMisconfigured, "", "prefect-keda: settings:\n  IMAGE_PULL_SECRETS (--image-pull-secrets): cannot be read: character 2 begins something other than a text, number, list or dict: put texts in quotes: give a list such as ['a', 'b'] or a,b\n"}
	if d := cmp.Diff(want, command(t.Context(), nil, block+"[a]\n", "install", "--from-agent", "-")); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestInstallFromAgentFailures(t *testing.T) {
	start := func(args, env string) string {
		return "kind: Deployment\nspec: {template: {spec: {containers: [{args: ['prefect agent kubernetes start " + args + "'], env: [" + env + "]}]}}}\n"
	}
	for _, tc := range []struct{ stdin, want string }{
		{"kind: Service\n", "--from-agent -: has no container that runs `prefect agent kubernetes start`: give the agent's Deployment as kubectl get -o yaml prints it, or its env block"},
		{start("--label $(date)", ""), "--from-agent: the agent's argument 2 (after \"--label\") contains a value that only its shell knows: give that flag here"},
		{start("--label", ""), "--from-agent: the agent's command line: flag needs an argument: --label"},
		{
			start("", "{name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}"),
			"--from-agent: the namespace of the flows' Jobs is not in the agent's manifest: give --namespace",
		},
		{
			start("", "{name: PREFECT__CLOUD__TENANT_ID, value: x}, {name: PREFECT__BACKEND, value: y}"),
			"settings:\n  PREFECT__BACKEND (--backend): \"y\" is not a kind of Prefect API: give cloud or server, or prefect3\n  PREFECT__CLOUD__TENANT_ID (--tenant-id): \"x\" is not a UUID",
		},
	} {
		want := result{exitMisconfigured, "", "prefect-keda: " + tc.want + "\n"}
		if d := cmp.Diff(want, command(t.Context(), nil, tc.stdin, "install", "--from-agent", "-")); d != "" {
			t.Errorf("%s: -want +got:\n%s", tc.stdin, d)
		}
	}
	want := result{exitMisconfigured, "", "prefect-keda: --key -: standard input is taken already: give one of the two as a file or a Secret\n"}
	if d := cmp.Diff(want, command(t.Context(), nil, anAgent, "install", "--from-agent", "-", "--key", "-")); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// TestDocumentedInstalls runs every install that the documents show.
func TestDocumentedInstalls(t *testing.T) {
	shown := regexp.MustCompile(`prefect-keda (install [^|>` + "`" + `\n]*)`)
	texts := map[string]string{}
	for _, file := range []string{"../../README.md", "../../docs/install.md", "../../docs/migrate.md", "../../docs/migrate-worker.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"agent.yaml": anAgent, "worker.yaml": serverWorker()} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for file, text := range texts {
		for _, m := range shown.FindAllStringSubmatch(text, -1) {
			seen++
			line := strings.NewReplacer("URL", "http://h:4200", "IMAGE", "r:5000/k:1").Replace(m[1])
			stdin := anAgent
			if strings.Contains(line, "--from-worker") {
				stdin = serverWorker()
			}
			if got := command(t.Context(), nil, stdin, strings.Fields(line)...); got.Code != exitOK {
				t.Errorf("%s: %s: %s", file, m[0], got.Err)
			}
		}
	}
	if seen < 12 {
		t.Errorf("found %d installs in the documents", seen)
	}
}
