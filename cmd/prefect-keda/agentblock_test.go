package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// launcherEnviron is what the launcher's container sees of manifests; where the
// Secret is, its key is there.
func launcherEnviron(t *testing.T, manifests string, secret bool) []string {
	t.Helper()
	var environ, own []string
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
			Data     map[string]string
			Spec     struct{ Template corev1.PodTemplateSpec }
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		for name, value := range o.Data {
			environ = append(environ, name+"="+value)
		}
		if o.Metadata.Name != "prefect-keda-launcher" || o.Kind != "Deployment" {
			continue
		}
		for _, v := range o.Spec.Template.Spec.Containers[0].Env {
			switch {
			case v.ValueFrom == nil:
				own = append(own, v.Name+"="+v.Value)
			case v.Name == "PREFECT_KEDA_API_HEADERS": // optional, and not in it
			case secret:
				own = append(own, v.Name+"=of-the-secret")
			}
		}
	}
	return append(environ, own...)
}

// kustomized is what the base builds with other lines in its config.env.
func kustomized(t *testing.T, env string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("../../manifests")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "base", "config.env"), []byte(env), 0o600); err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, "base"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestFlowPodsGetTheKey: a key in the agent's block reaches the flows' pods as the
// agent gave it, and one in a Secret by reference, so that no pod waits for a Secret
// that is not there.
func TestFlowPodsGetTheKey(t *testing.T) {
	block := "PREFECT__BACKEND=server\nPREFECT__CLOUD__API=http://apollo:4200\nPREFECT__CLOUD__AGENT__LABELS=[]\nNAMESPACE=flows\n"
	reference := func(name, key string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
	}
	fromAgent := func(text string) string { return command(t.Context(), nil, text, "install", "--from-agent", "-").Out }
	for _, tc := range []struct {
		name, manifests string
		secret          bool
		want            corev1.EnvVar
	}{
		{"no key", kustomized(t, block), false, corev1.EnvVar{}},
		{"a key in the block", kustomized(t, block+"PREFECT__CLOUD__API_KEY=pk\n"), false, corev1.EnvVar{Value: "pk"}},
		{"a key in the Secret", kustomized(t, block), true, corev1.EnvVar{ValueFrom: reference("prefect-api-key", "api-key")}},
		{"both", kustomized(t, block+"PREFECT__CLOUD__API_KEY=pk\n"), true, corev1.EnvVar{ValueFrom: reference("prefect-api-key", "api-key")}},
		{"from an agent", fromAgent(anAgent), true, corev1.EnvVar{ValueFrom: reference("prefect-api-key", "api-key")}},
		{"from an agent with a Secret", fromAgent(helmAgent), true, corev1.EnvVar{ValueFrom: reference("own", "k")}},
	} {
		settings := settled(t, launcherEnviron(t, tc.manifests, tc.secret), []string{"--tenant-id", testTenant, "--job-template", ""}).Jobs
		rendered, err := kubernetesrun.Renderer{Settings: settings}.Render(t.Context(), prefect.FlowRun{ID: testTenant, Recipe: recipe.Recipe{FlowID: testConfig, Storage: json.RawMessage(`{"type":"Local"}`)}})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		for _, v := range rendered.Job.Spec.Template.Spec.Containers[0].Env {
			if v.Name != keyVariable {
				continue
			}
			tc.want.Name = keyVariable
			if d := cmp.Diff(tc.want, v); d != "" {
				t.Errorf("%s: -want +got:\n%s", tc.name, d)
			}
		}
		if !strings.Contains(tc.manifests, "namespace: "+settings.Namespace) {
			t.Errorf("%s: the Jobs go to %s, and no Role does", tc.name, settings.Namespace)
		}
	}
}
