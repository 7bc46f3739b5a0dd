package manifests_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/scaler"
)

// schema is a kind's OpenAPI schema out of the CRDs in KEDA's own module.
func schema(t *testing.T, plural string) *apiextensions.JSONSchemaProps {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/kedacore/keda/v2").Output()
	if err != nil {
		t.Fatalf("find KEDA's module: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "bases", "keda.sh_"+plural+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(raw, &crd); err != nil {
		t.Fatal(err)
	}
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		t.Fatal(err)
	}
	return &internal
}

// TestKEDASchema holds KEDA's objects against the schema of the KEDA we build
// with, as its API server would, and finds fields it would drop without a word.
func TestKEDASchema(t *testing.T) {
	checked := 0
	for kind, plural := range map[string]string{"ScaledObject": "scaledobjects", "ScaledJob": "scaledjobs", "TriggerAuthentication": "triggerauthentications"} {
		props := schema(t, plural)
		validator, _, err := validation.NewSchemaValidator(props)
		if err != nil {
			t.Fatal(err)
		}
		structural, err := structuralschema.NewStructural(props)
		if err != nil {
			t.Fatal(err)
		}
		// The test can fail: a misspelt field and a wrong type are found.
		bad := map[string]any{"apiVersion": "keda.sh/v1alpha1", "kind": kind, "spec": map[string]any{"pollingIntervall": int64(1), "secretTargetRef": "many", "maxReplicaCount": "many"}}
		if len(unknown(bad, structural)) == 0 || len(validation.ValidateCustomResource(nil, bad, validator)) == 0 {
			t.Fatalf("%s: the schema finds nothing wrong with %v", kind, bad)
		}
		for _, overlay := range overlays(t) {
			for _, o := range build(t, overlay) {
				if o.GetKind() != kind {
					continue
				}
				checked++
				for _, err := range validation.ValidateCustomResource(nil, o.Object, validator) {
					t.Errorf("%s: %s %s: %v", overlay, kind, o.GetName(), err)
				}
				for _, path := range unknown(o.Object, structural) {
					t.Errorf("%s: %s %s: KEDA knows no %s", overlay, kind, o.GetName(), path)
				}
			}
		}
	}
	if checked < len(overlays(t)) {
		t.Errorf("only %d objects of KEDA were checked", checked)
	}
}

func unknown(object map[string]any, s *structuralschema.Structural) []string {
	return pruning.PruneWithOptions(runtime.DeepCopyJSON(object), s, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
}

// TestTimesFit: KEDA takes an idle launcher away before it leaves by itself, and
// Kubernetes waits longer than a launcher drains or the scaler shuts down.
func TestTimesFit(t *testing.T) {
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		for _, p := range pods(t, objects) {
			if p.process() == "" {
				continue
			}
			grace := time.Duration(*p.spec.TerminationGracePeriodSeconds) * time.Second
			if p.process() == "scaler" && grace < scaler.ShutdownTimeout+2*time.Second {
				t.Errorf("%s: %s: the grace period %s leaves less than 2s beside the %s a shutdown may take", overlay, p.of, grace, scaler.ShutdownTimeout)
			}
			if p.process() != "launcher" {
				continue
			}
			settings, err := config.LoadLauncher(t.Context(), environment(t, objects, p))
			if err != nil {
				t.Fatalf("%s: %s: %v", overlay, p.of, err)
			}
			if grace < settings.DrainTimeout+10*time.Second {
				t.Errorf("%s: %s: the grace period %s leaves less than 10s beside the drain timeout %s", overlay, p.of, grace, settings.DrainTimeout)
			}
			for _, o := range objects {
				if o.GetKind() != "ScaledObject" {
					continue
				}
				cooldown, _, _ := unstructured.NestedInt64(o.Object, "spec", "cooldownPeriod")
				polling, _, _ := unstructured.NestedInt64(o.Object, "spec", "pollingInterval")
				if left := settings.IdleTimeout; cooldown == 0 || left != 0 && time.Duration(cooldown+polling)*time.Second >= left {
					t.Errorf("%s: cooldown %d s + polling %d s must be set and below the idle timeout %s", overlay, cooldown, polling, settings.IdleTimeout)
				}
			}
		}
	}
}

// TestTLS: KEDA is told to speak TLS exactly where the scaler does, by a name the
// scaler's Service has.
func TestTLS(t *testing.T) {
	for _, overlay := range overlays(t) {
		objects := build(t, overlay)
		settings, err := config.LoadScaler(t.Context(), environment(t, objects, ours(t, objects)["scaler"]))
		if err != nil {
			t.Fatal(err)
		}
		container := ours(t, objects)["scaler"].spec.Containers[0]
		if tls := settings.TLSCertFile != ""; tls != (container.ReadinessProbe.GRPC == nil) || tls != (container.LivenessProbe.GRPC == nil) {
			t.Errorf("%s: the kubelet's gRPC probes speak no TLS", overlay)
		}
		var given []string
		for _, o := range objects {
			if o.GetKind() != "TriggerAuthentication" {
				continue
			}
			parameters, _, _ := unstructured.NestedSlice(o.Object, "spec", "secretTargetRef")
			for _, p := range parameters {
				given = append(given, fmt.Sprint(p.(map[string]any)["parameter"]))
			}
		}
		var want []string
		if settings.TLSCertFile != "" {
			want = append(want, "caCert")
		}
		if settings.TLSClientCAFile != "" {
			want = append(want, "tlsClientCert", "tlsClientKey")
			if diff := cmp.Diff(config.Names{"keda"}, settings.TLSClientNames); diff != "" {
				t.Errorf("%s: the scaler lets other clients of the CA in than KEDA (-want +got):\n%s", overlay, diff)
			}
		}
		if diff := cmp.Diff(want, given); diff != "" {
			t.Errorf("%s: KEDA is given other certificates than the scaler asks for (-want +got):\n%s", overlay, diff)
		}
		for _, o := range objects {
			if kind := o.GetKind(); kind != "ScaledObject" && kind != "ScaledJob" {
				continue
			}
			triggers, _, _ := unstructured.NestedSlice(o.Object, "spec", "triggers")
			metadata, _ := triggers[0].(map[string]any)["metadata"].(map[string]any)
			if (settings.TLSCertFile != "") != (metadata["enableTLS"] == "true") {
				t.Errorf("%s: the scaler has the certificate %q and KEDA is told enableTLS: %v", overlay, settings.TLSCertFile, metadata["enableTLS"])
			}
			service := find(t, objects, "Service", "prefect-keda-scaler")
			want := service.GetName() + "." + service.GetNamespace() + ".svc:" + settings.Listen.Port()
			if metadata["scalerAddress"] != want {
				t.Errorf("%s: KEDA is sent to %v, the scaler is at %s", overlay, metadata["scalerAddress"], want)
			}
		}
	}
}
