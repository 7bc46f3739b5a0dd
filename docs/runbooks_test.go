package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// alerts are the severities of the shipped alerts by their names.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../manifests/components/monitoring/*-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		var of struct {
			Spec struct {
				Groups []struct {
					Rules []struct {
						Alert  string
						Labels struct{ Severity string }
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, strings.TrimPrefix(file, "../"))), &of); err != nil {
			t.Fatal(err)
		}
		for _, group := range of.Spec.Groups {
			for _, rule := range group.Rules {
				all[rule.Alert] = rule.Labels.Severity
			}
		}
	}
	if len(all) < 10 {
		t.Fatalf("found only the alerts %v", all)
	}
	return all
}

// Each alert has a page, and each page an alert. All are of one form and begin with what the
// person sees who was just woken; the index lists them with their severity.
func TestRunbooks(t *testing.T) {
	alerts := alerts(t)
	entries, err := os.ReadDir("runbooks")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`(?m)^#+ .*$`)
	for _, entry := range entries {
		alert := strings.TrimSuffix(entry.Name(), ".md")
		if alert == "README" {
			continue
		}
		text := read(t, "docs/runbooks/"+entry.Name())
		form := []string{"# " + alert, "## What you see", "## What it means", "## How to check", "## What to change", "## When to silence"}
		if diff := cmp.Diff(form, heading.FindAllString(text, -1)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", alert, diff)
		}
		if alerts[alert] == "" {
			t.Errorf("there is no alert %s", alert)
		}
	}
	listed := map[string]string{}
	for _, row := range rows(read(t, "docs/runbooks/README.md"), 3)[1:] {
		alert := regexp.MustCompile(`^\[(\w+)\]\((\w+)\.md\)$`).FindStringSubmatch(row[0])
		if alert == nil || alert[1] != alert[2] {
			t.Errorf("the index has %s", row[0])
			continue
		}
		listed[alert[1]] = row[1]
		if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == alert[1]+".md" }) {
			t.Errorf("%s has no page", alert[1])
		}
	}
	if diff := cmp.Diff(alerts, listed); diff != "" {
		t.Errorf("the index (-alerts +listed):\n%s", diff)
	}
}

// Every metric of ours that a document names is registered: the page of metrics is rendered
// from the registries.
func TestMetricsExist(t *testing.T) {
	there := read(t, "docs/metrics.md")
	metric := regexp.MustCompile("`(prefect_keda_(?:scaler|launcher|prefect)_[a-z_]+)`")
	for name, text := range documents(t) {
		for _, m := range metric.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(there, "| `"+m[1]+"` |") {
				t.Errorf("%s names %s, which is no metric", name, m[1])
			}
		}
	}
}

// A link into a page leads to a heading that it has.
func TestLinkedHeadingsExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)#([^)]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	texts := documents(t)
	anchors := map[string]map[string]bool{}
	for name, text := range texts {
		anchors[name] = map[string]bool{}
		for _, m := range heading.FindAllStringSubmatch(text, -1) {
			anchors[name][anchor(m[1])] = true
		}
	}
	for name, text := range texts {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to := name
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(name), m[1])
			}
			if anchors[to] != nil && !anchors[to][m[2]] {
				t.Errorf("%s links to #%s, which %s does not have", name, m[2], to)
			}
		}
	}
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(strings.ToLower(heading), "$1")
	return strings.ReplaceAll(regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(heading, ""), " ", "-")
}
