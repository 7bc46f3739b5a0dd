package monitoring

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const components = "../../manifests/components/"

// objects are the documents of the component's files, by kind and name. Each is decoded into
// the operator's type, and a field that the type does not have is an error.
func objects(t *testing.T) map[string]any {
	t.Helper()
	files, err := filepath.Glob(components + "monitoring/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			var of metav1.PartialObjectMetadata
			if err := yaml.Unmarshal(document, &of); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			var object any
			switch of.APIVersion + " " + of.Kind {
			case "monitoring.coreos.com/v1 PodMonitor":
				object = &monitoringv1.PodMonitor{}
			case "monitoring.coreos.com/v1 PrometheusRule":
				object = &monitoringv1.PrometheusRule{}
			case "kustomize.config.k8s.io/v1alpha1 Component":
				continue
			default:
				t.Fatalf("%s: %s %s is a kind that this test does not know", file, of.APIVersion, of.Kind)
			}
			if err := yaml.UnmarshalStrict(document, object); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			all[of.Kind+" "+of.Name] = object
		}
	}
	return all
}

// ruleGroups are those of a PrometheusRule as Prometheus itself reads them, which checks
// names, expressions and templates.
func ruleGroups(t *testing.T) []rulefmt.RuleGroup {
	t.Helper()
	var all []rulefmt.RuleGroup
	for name, object := range objects(t) {
		rule, is := object.(*monitoringv1.PrometheusRule)
		if !is {
			continue
		}
		spec, err := yaml.Marshal(rule.Spec)
		if err != nil {
			t.Fatal(err)
		}
		groups, errs := rulefmt.Parse(spec, false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
		for _, err := range errs {
			t.Errorf("%s: %v", name, err)
		}
		if groups != nil {
			all = append(all, groups.Groups...)
		}
	}
	if len(all) < 2 {
		t.Fatalf("found only %d groups", len(all))
	}
	return all
}

func TestObjects(t *testing.T) {
	all := objects(t)
	for _, name := range []string{"PodMonitor prefect-keda-scaler", "PodMonitor prefect-keda-launcher", "PrometheusRule prefect-keda-scaler", "PrometheusRule prefect-keda-launcher"} {
		if all[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	// A misspelt field is found.
	if err := yaml.UnmarshalStrict([]byte("spec: {podMetricsEndpoints: [{prot: ops}]}"), &monitoringv1.PodMonitor{}); err == nil {
		t.Error("a misspelt field is not found")
	}
}

// An alert says how bad it is, how long it has to hold, what is wrong and where to read on.
func TestAlertsSayWhatIsNeeded(t *testing.T) {
	for _, group := range ruleGroups(t) {
		for _, rule := range group.Rules {
			switch {
			case !strings.HasPrefix(rule.Alert, "PrefectKeda"):
				t.Errorf("%s %s is no alert of ours", rule.Alert, rule.Record)
			case rule.For < model.Duration(60e9):
				t.Errorf("%s fires after %s: give it a minute at least", rule.Alert, rule.For)
			case rule.Labels["severity"] != "critical" && rule.Labels["severity"] != "warning":
				t.Errorf("%s has the severity %q", rule.Alert, rule.Labels["severity"])
			case len(rule.Annotations) != 3 || !strings.HasSuffix(rule.Annotations["summary"], ".") || !strings.HasSuffix(rule.Annotations["description"], "."):
				t.Errorf("%s: want sentences as summary and description, and runbook_url", rule.Alert)
			case rule.Annotations["runbook_url"] != "https://github.com/prefect-keda/prefect-keda/blob/main/docs/runbooks/"+rule.Alert+".md":
				t.Errorf("%s has the runbook %s", rule.Alert, rule.Annotations["runbook_url"])
			}
		}
	}
}
