package install_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/prefect-keda/prefect-keda/install"
)

var update = flag.Bool("update", false, "write base.yaml")

// kustomize builds a folder of manifests/, with an overlay of ours beside the others.
func kustomize(t *testing.T, folder string, overlay map[string]string) string {
	t.Helper()
	memory := filesys.MakeFsInMemory()
	err := filepath.WalkDir("../manifests", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		return errors.Join(err, memory.WriteFile(strings.TrimPrefix(path, "../"), text))
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range overlay {
		if err := memory.WriteFile(filepath.Join("manifests/overlays/test", name), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	built, err := krusty.MakeKustomizer(asKubectl()).Run(memory, filepath.Join("manifests", folder))
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// objects are sorted by what they are: kubectl does not care about the order.
func objects(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o map[string]any
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b map[string]any) int { return strings.Compare(identity(a), identity(b)) })
	return all
}

func identity(o map[string]any) string {
	text, _ := yaml.Marshal([]any{o["kind"], o["metadata"]})
	return string(text)
}

// TestBaseIsKustomize: what is embedded is what manifests/ builds.
func TestBaseIsKustomize(t *testing.T) {
	want := kustomize(t, ".", nil)
	if *update {
		if err := os.WriteFile("base.yaml", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("install/base.yaml is not what manifests/ builds; run `go generate ./install`: -manifests +embedded:\n%s", d)
	}
}

// TestRenderIsKustomize: every option does what an overlay would.
func TestRenderIsKustomize(t *testing.T) {
	for _, tc := range []struct {
		name, folder string
		overlay      map[string]string
		options      install.Options
	}{
		{name: "nothing", folder: "."},
		{
			name: "cloud", folder: "overlays/prefect-cloud",
			options: install.Options{
				Key: install.Credential{Required: true},
				Settings: []install.Setting{
					{Variable: "PREFECT__BACKEND", Value: "cloud", Flag: "--backend"},
					{Variable: "PREFECT__CLOUD__API", Value: "https://api.prefect.io", Flag: "--api"},
				},
			},
		},
		{name: "the flows beside what is ours", folder: "overlays/test", options: install.Options{JobNamespace: "prefect-keda"}, overlay: map[string]string{"kustomization.yaml": `
resources: [../../base]
configMapGenerator: [{name: prefect-keda, namespace: prefect-keda, behavior: merge, literals: [NAMESPACE=prefect-keda]}]
components: [../../components/namespaces]
patches:
  - {target: {kind: Namespace, name: prefect-flows}, patch: "{$patch: delete, kind: Namespace, metadata: {name: x}}"}
`}},
		{
			name: "elsewhere", folder: "overlays/test",
			options: install.Options{Namespace: "etl", JobNamespace: "etl-flows", Key: install.Credential{Value: "k"}},
			overlay: map[string]string{
				"secret.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: prefect-api-key, namespace: etl}
stringData: {api-key: "k"}
---
apiVersion: v1
kind: Secret
metadata: {name: prefect-api-key, namespace: etl-flows}
stringData: {api-key: "k"}
`,
				"kustomization.yaml": `
resources: [../../base, secret.yaml]
configMapGenerator: [{name: prefect-keda, namespace: prefect-keda, behavior: merge, literals: [PREFECT_KEDA_NAMESPACE=etl, NAMESPACE=etl-flows]}]
components: [../../components/own-namespaces]
`,
			},
		},
		{name: "server", folder: "overlays/prefect-server", options: install.Options{Settings: []install.Setting{{Variable: "PREFECT__BACKEND", Value: "server", Flag: "--backend"}}}},
		{
			name: "everything", folder: "overlays/test",
			options: install.Options{
				Settings: []install.Setting{
					{Variable: "PREFECT__CLOUD__AGENT__LABELS", Value: "['a', 'b']", Flag: "--label"},
					{Variable: "PREFECT__CLOUD__AGENT__ENV_VARS", Value: `{"A": "<1> # 'x' & \"y\""}`, Flag: "--env"},
					{Variable: "A_FIRST", Value: "true", Flag: "--a"},
				},
				Key: install.Credential{Value: "012: 'k'"}, JobNamespace: "flows", ImagePullSecrets: []string{"one", "two"},
				Image: "registry:5000/keda:1", RunsPerLauncher: 20, MaxLaunchers: 3,
			},
			overlay: map[string]string{
				"secret.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: prefect-api-key, namespace: prefect-keda}
stringData: {api-key: "012: 'k'"}
---
apiVersion: v1
kind: Secret
metadata: {name: prefect-api-key, namespace: flows}
stringData: {api-key: "012: 'k'"}
`,
				"kustomization.yaml": `
resources: [../../base, secret.yaml]
configMapGenerator:
  - name: prefect-keda
    namespace: prefect-keda
    behavior: merge
    literals:
      - PREFECT__CLOUD__AGENT__LABELS=['a', 'b']
      - 'PREFECT__CLOUD__AGENT__ENV_VARS={"A": "<1> # ''x'' & \"y\""}'
      - A_FIRST=true
      - NAMESPACE=flows
components: [../../components/namespaces]
images: [{name: ghcr.io/prefect-keda/prefect-keda, newName: "registry:5000/keda", newTag: "1"}]
patches:
  - {target: {kind: Namespace, name: prefect-flows}, patch: "{$patch: delete, kind: Namespace, metadata: {name: x}}"}
  - target: {kind: Deployment}
    patch: |-
      - {op: add, path: /spec/template/spec/imagePullSecrets, value: [{name: one}, {name: two}]}
  - target: {kind: ScaledObject}
    patch: |-
      - {op: replace, path: /spec/triggers/0/metadata/runsPerLauncher, value: "20"}
      - {op: replace, path: /spec/maxReplicaCount, value: 3}
`,
			},
		},
		{
			name: "a key elsewhere, and what else an agent had", folder: "overlays/test",
			options: install.Options{
				Without: []string{"PREFECT__CLOUD__API"}, Key: install.Credential{Secret: install.Secret{Name: "own", Key: "k"}},
				Env:     []install.Field{{Item: map[string]any{"name": "HTTP_PROXY", "value": "http://p"}, Flag: "agent's env"}},
				EnvFrom: []install.Field{{Item: map[string]any{"secretRef": map[string]any{"name": "more"}}, Flag: "agent's env"}},
				Volumes: []install.Field{{Item: map[string]any{"name": "t", "configMap": map[string]any{"name": "templates"}}, Flag: "x"}},
				Mounts:  []install.Field{{Item: map[string]any{"name": "t", "mountPath": "/t"}, Flag: "x"}},
			},
			overlay: map[string]string{
				"config.env": "PREFECT_KEDA_NAMESPACE=prefect-keda\nPREFECT__BACKEND=server\nPREFECT__CLOUD__AGENT__LABELS=[]\nNAMESPACE=prefect-flows\n",
				"kustomization.yaml": `
resources: [../../base]
configMapGenerator: [{name: prefect-keda, namespace: prefect-keda, behavior: replace, envs: [config.env]}]
patches:
  - target: {kind: Deployment}
    patch: |-
      - {op: replace, path: /spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef, value: {name: own, key: k, optional: false}}
  - target: {kind: Deployment, name: prefect-keda-launcher}
    patch: |-
      - {op: replace, path: /spec/template/spec/containers/0/env/1/value, value: own/k}
      - {op: add, path: /spec/template/spec/volumes, value: [{name: t, configMap: {name: templates}}]}
      - {op: add, path: /spec/template/spec/containers/0/volumeMounts, value: [{name: t, mountPath: /t}]}
  - target: {kind: Deployment}
    patch: |-
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: HTTP_PROXY, value: "http://p"}}
      - {op: add, path: /spec/template/spec/containers/0/envFrom/-, value: {secretRef: {name: more}}}
`,
			},
		},
		{
			name: "further namespaces", folder: "overlays/test",
			options: install.Options{
				FurtherNamespaces: []string{"prefect-flows-2"},
				Env:               []install.Field{{Item: map[string]any{"name": "PREFECT_KEDA_JOB_NAMESPACES", "value": "prefect-flows-2"}, Flag: "x"}},
			},
			overlay: map[string]string{"kustomization.yaml": "resources: [../../base]\ncomponents: [../../components/further-namespaces]\n"},
		},
		{
			name: "Prefect 3", folder: "overlays/prefect3-server",
			options: install.Options{
				Without:  []string{"PREFECT__BACKEND", "PREFECT__CLOUD__API", "PREFECT__CLOUD__AGENT__LABELS"},
				Settings: []install.Setting{{Variable: "PREFECT_API_URL", Value: "http://prefect-server.prefect:4200/api", Flag: "--api"}},
			},
		},
		{
			name: "an auth string", folder: "overlays/test",
			options: install.Options{Auth: install.Credential{Value: "admin:a", Flag: "--auth-string"}, Key: install.Credential{Value: "k"}},
			overlay: map[string]string{
				"secret.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: prefect-api-key, namespace: prefect-keda}
stringData: {api-key: k, auth-string: "admin:a"}
---
apiVersion: v1
kind: Secret
metadata: {name: prefect-api-key, namespace: prefect-flows}
stringData: {api-key: k, auth-string: "admin:a"}
`,
				"kustomization.yaml": "resources: [../../base, secret.yaml]\n",
			},
		},
		{
			name: "an auth string elsewhere", folder: "overlays/test",
			options: install.Options{Auth: install.Credential{Secret: install.Secret{Name: "server-auth", Key: "auth-string"}, Flag: "worker's env"}},
			overlay: map[string]string{"kustomization.yaml": `
resources: [../../base]
patches:
  - target: {kind: Deployment, name: prefect-keda-launcher}
    patch: |-
      - {op: replace, path: /spec/template/spec/containers/0/env/2/valueFrom/secretKeyRef, value: {name: server-auth, key: auth-string, optional: false}}
      - {op: replace, path: /spec/template/spec/containers/0/env/3/value, value: server-auth/auth-string}
  - target: {kind: Deployment, name: prefect-keda-scaler}
    patch: |-
      - {op: replace, path: /spec/template/spec/containers/0/env/1/valueFrom/secretKeyRef, value: {name: server-auth, key: auth-string, optional: false}}
`},
		},
		{
			name: "without RBAC, the latest", folder: "overlays/test",
			options: install.Options{WithoutRBAC: true, Latest: true},
			overlay: map[string]string{"kustomization.yaml": `
resources: [../../base]
images: [{name: ghcr.io/prefect-keda/prefect-keda, newTag: latest}]
patches:
  - target: {kind: Deployment}
    patch: |-
      - {op: replace, path: /spec/template/spec/containers/0/imagePullPolicy, value: Always}
  - {target: {kind: Role, name: "prefect-keda-scaler(-own)?"}, patch: "{$patch: delete, kind: Role, metadata: {name: x}}"}
  - {target: {kind: Role, name: "prefect-keda-launcher(-own)?"}, patch: "{$patch: delete, kind: Role, metadata: {name: x}}"}
  - {target: {kind: RoleBinding, name: "prefect-keda-scaler(-own)?"}, patch: "{$patch: delete, kind: RoleBinding, metadata: {name: x}}"}
  - {target: {kind: RoleBinding, name: "prefect-keda-launcher(-own)?"}, patch: "{$patch: delete, kind: RoleBinding, metadata: {name: x}}"}
`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := install.Render(tc.options)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(objects(t, kustomize(t, tc.folder, tc.overlay)), objects(t, string(got))); d != "" {
				t.Errorf("-kustomize +install:\n%s", d)
			}
		})
	}
}

// The head names where each flag went, and so does what it set.
func TestComments(t *testing.T) {
	got, err := install.Render(install.Options{
		Settings:     []install.Setting{{Variable: "PREFECT__CLOUD__API", Value: "http://h:1", Flag: "--api"}},
		JobNamespace: "flows", Key: install.Credential{Value: "k"}, Image: "r:5000/i", MaxLaunchers: 2, Notes: []string{"--x  nowhere"},
	})
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := bytes.Cut(got, []byte("---\n"))
	want := `# Printed by prefect-keda install, for kubectl apply -f -; install KEDA first.
# Where the flags went:
#   --namespace              NAMESPACE in the ConfigMap
#   --api                    PREFECT__CLOUD__API in the ConfigMap
#   --namespace              also the namespace of the Roles; you make the namespace yourself
#   --key                    Secret prefect-api-key in prefect-keda and flows: keep this text as you keep the key
#   --image                  image of both Deployments
#   --max-launchers          maxReplicaCount of the ScaledObject
#   --x  nowhere
`
	if d := cmp.Diff(want, string(head)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	for line, times := range map[string]int{
		"  PREFECT__CLOUD__API: http://h:1 # --api\n": 1, "NAMESPACE: flows # --namespace\n": 1, "namespace: flows # --namespace\n": 4,
		"api-key: k # --key\n": 2, "image: r:5000/i # --image\n": 2, "imagePullPolicy: Always # --image\n": 2, "maxReplicaCount: 2 # --max-launchers\n": 1,
	} {
		if got := strings.Count(string(rest), line); got != times {
			t.Errorf("%q is there %d times, want %d", line, got, times)
		}
	}
}

func TestDefaults(t *testing.T) {
	got, err := install.Defaults()
	if err != nil || got["PREFECT__BACKEND"] != "server" || got["PREFECT__CLOUD__API"] == "" {
		t.Errorf("%v, %v", got, err)
	}
}

// asKubectl are the options that kubectl builds with.
func asKubectl() *krusty.Options {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // legacy, unless a kustomization says another order
	return options
}
