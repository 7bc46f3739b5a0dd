package install_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/install"
)

// agentDeployment is what `kubectl get deployment -o yaml` prints of what
// `prefect agent kubernetes install` made (prefect1 §5.5).
func agentDeployment(command, args, env string) string {
	return `
apiVersion: apps/v1
kind: Deployment
metadata:
  annotations: {deployment.kubernetes.io/revision: "1"}
  name: prefect-agent
  namespace: prefect
spec:
  replicas: 1
  template:
    metadata: {labels: {app: prefect-agent}}
    spec:
      containers:
      - name: agent
        image: prefecthq/prefect:1.4.1-python3.7
        command: ` + command + `
        args: ` + args + `
        env: ` + env + `
        volumeMounts: [{name: templates, mountPath: /etc/templates, readOnly: true}]
      volumes: [{name: templates, configMap: {name: job-templates}}]
status: {replicas: 1}
`
}

// TestReadAgentArgs: the ways in which manifests call the agent.
func TestReadAgentArgs(t *testing.T) {
	for _, tc := range []struct {
		name, command, args, env string
		want                     []string
	}{
		{"install's", `[/bin/bash, -c]`, `[prefect agent kubernetes start]`, `[]`, nil},
		{"an agent config", `[/bin/bash, -c]`, `["prefect agent kubernetes start --agent-config-id 8a1d4bb8"]`, `[]`, []string{"--agent-config-id", "8a1d4bb8"}},
		{"without a shell", `[prefect]`, `[agent, kubernetes, start, --label, a b, -n, etl]`, `[]`, []string{"--label", "a b", "-n", "etl"}},
		{"an entrypoint before", `[tini, --, /usr/local/bin/prefect, agent, kubernetes, start, -l, x]`, `[]`, `[]`, []string{"-l", "x"}},
		{"args alone", `[]`, `["prefect agent kubernetes start --job-template /etc/templates/job.yaml"]`, `[]`, []string{"--job-template", "/etc/templates/job.yaml"}},
		{
			"a script", `[bash, -ec]`, `["pip install x \"y z\" # first\nexport A=$(date)\nexec prefect agent kubernetes start \\\n  --label 'it''s' -e \"A=\\\"1\\\" 2\" --log-level=DEBUG && echo done"]`,
			`[]`,
			[]string{"--label", "its", "-e", `A="1" 2`, "--log-level=DEBUG"},
		},
		{
			"variables of the shell and of Kubernetes", `[bash, -c]`, `["prefect agent kubernetes start $EXTRA --name \"${N}\" --namespace $(N) --label $HOSTNAME"]`,
			`[{name: N, value: "e t"}, {name: EXTRA, value: "-l a -l b"}]`,
			[]string{"-l", "a", "-l", "b", "--name", "e t", "--namespace", "e", "t", "--label", "\x00"},
		},
		{"a comment and a redirection", `[sh, -c]`, `["prefect agent kubernetes start -l a 2>&1 >> log -l b | tee log"]`, `[]`, []string{"-l", "a", "-l", "b"}},
	} {
		got, err := install.ReadAgent([]byte(agentDeployment(tc.command, tc.args, tc.env)))
		if d := cmp.Diff(tc.want, append([]string(nil), got.Args...)); d != "" || err != nil || got.Namespace != "prefect" {
			t.Errorf("%s: %v, -want +got:\n%s", tc.name, err, d)
		}
	}
}

// TestReadAgentEnv: values, values from elsewhere, and values made of others.
func TestReadAgentEnv(t *testing.T) {
	const block = `
- {name: A, value: "1"}
- {name: B, value: "$(A)-$$(A)-$(NOWHERE)-$5"}
- {name: K, valueFrom: {secretKeyRef: {name: s, key: k}}}
- {name: C, value: "x$(K)"}
- {name: D}
- {name: A, value: "2"}
`
	type variable struct {
		Name, Value string
		From        map[string]any
	}
	want := []variable{
		{"B", "1-$(A)-$(NOWHERE)-$5", nil},
		{"K", "", map[string]any{"secretKeyRef": map[string]any{"name": "s", "key": "k"}}},
		{"C", "", map[string]any{"value": "x$(K)"}},
		{"D", "", nil},
		{"A", "2", nil},
	}
	const start = `[prefect agent kubernetes start]`
	flow := `[` + strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(block, "- ", "")), "\n", ", ") + `]`
	for name, text := range map[string]string{
		"a list":      block,
		"a field":     "env:" + block,
		"Deployment":  agentDeployment(`[]`, start, flow),
		"in a list":   "kind: List\nitems:\n- kind: Service\n- " + strings.ReplaceAll(strings.TrimSpace(agentDeployment(`[]`, start, flow)), "\n", "\n  "),
		"in a stream": "kind: Role\nspec: 1\n---\n" + agentDeployment(`[]`, start, flow) + "---\n",
	} {
		agent, err := install.ReadAgent([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []variable
		for _, v := range agent.Env {
			got = append(got, variable{v.Name, v.Value, v.From})
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", name, d)
		}
	}
	agent, err := install.ReadAgent([]byte("# made by hand\nA=1\n\nB=x = y \n"))
	if err != nil || len(agent.Env) != 2 || agent.Env[1].Value != "x = y " {
		t.Errorf("%+v, %v", agent, err)
	}
}

func TestReadAgentMounted(t *testing.T) {
	agent, err := install.ReadAgent([]byte(agentDeployment(`[]`, `[prefect agent kubernetes start]`, `[]`)))
	if err != nil {
		t.Fatal(err)
	}
	mount, volume, found := agent.Pod.Mounted("/etc/templates/job.yaml")
	if d := cmp.Diff([]any{"/etc/templates", map[string]any{"name": "job-templates"}, true}, []any{mount["mountPath"], volume["configMap"], found}); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if _, _, found := agent.Pod.Mounted("/etc/templates-2/job.yaml"); found {
		t.Error("found what is not mounted")
	}
}

func TestReadAgentFailures(t *testing.T) {
	deployment := agentDeployment(`[]`, `[prefect agent kubernetes start]`, `[]`)
	for text, want := range map[string]string{
		"":                              "has no container that runs",
		"hello":                         "has no container that runs",
		"{":                             "is neither YAML nor JSON",
		"kind: Deployment\nspec: 1":     "has a Deployment that cannot be read",
		deployment + "---" + deployment: "has 2 agents",
		agentDeployment(`[]`, `[prefect agent docker start]`, `[]`):                 "has no container that runs",
		agentDeployment(`[]`, `[prefect agent kubernetes start]`, `[{value: "1"}]`): "has a variable without a name",
	} {
		if _, err := install.ReadAgent([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// FuzzReadAgent: whatever is piped in, there is an agent or an error.
func FuzzReadAgent(f *testing.F) {
	f.Add(agentDeployment(`[bash, -c]`, `["prefect agent kubernetes start -l \"$A\" ${B} $(C) \\"]`, `[{name: A, value: "$(A)$$"}]`))
	f.Add("- {name: A, value: 1}")
	f.Add("A=1")
	f.Add("kind: List\nitems: [{kind: List, items: []}]")
	f.Fuzz(func(t *testing.T, text string) {
		agent, err := install.ReadAgent([]byte(text))
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, v := range agent.Env {
			if v.Name == "" || names[v.Name] {
				t.Errorf("the variable %q is there twice or has no name", v.Name)
			}
			names[v.Name] = true
		}
	})
}
