package monitoring

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// registered are the labels of each metric there is, by its name as it is queried. The page is
// rendered from the registries (TestMetricsDocument).
func registered(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	// Go's own, which every process has.
	all := map[string][]string{"process_start_time_seconds": nil, "process_resident_memory_bytes": nil, "process_cpu_seconds_total": nil, "go_goroutines": nil}
	for _, m := range regexp.MustCompile("(?m)^\\| `(prefect_keda_[a-z_]+)` \\| ([a-z]+) \\| ([a-z_, ]*) \\|").FindAllStringSubmatch(string(page), -1) {
		labels := strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })
		if m[2] != "histogram" {
			all[m[1]] = labels
			continue
		}
		all[m[1]+"_bucket"] = append(slices.Clone(labels), "le")
		all[m[1]+"_sum"], all[m[1]+"_count"] = labels, labels
	}
	if len(all) < 30 {
		t.Fatalf("found only %d metrics", len(all))
	}
	return all
}

// ofTarget are the labels that a scrape by the PodMonitors adds to each series.
func ofTarget() []string { return []string{"namespace", "pod", "container", "job", "instance"} }

// problems are the metrics and labels of an expression that no registry has.
func problems(t *testing.T, expression string, metrics map[string][]string) (found []string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return []string{err.Error()}
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			labels, is := metrics[n.Name]
			if !is {
				found = append(found, "no process has "+n.Name)
				return nil
			}
			for _, m := range n.LabelMatchers {
				if m.Name != "__name__" && !slices.Contains(labels, m.Name) && !slices.Contains(ofTarget(), m.Name) {
					found = append(found, n.Name+" has no label "+m.Name)
				}
			}
		case *parser.AggregateExpr:
			for _, label := range n.Grouping {
				if label != "le" && !has(n.Expr, label, metrics) {
					found = append(found, "nothing in "+n.Expr.String()+" has a label "+label)
				}
			}
		case *parser.BinaryExpr:
			if n.VectorMatching == nil {
				return nil
			}
			for _, label := range n.VectorMatching.MatchingLabels {
				if n.VectorMatching.On && (!has(n.LHS, label, metrics) || !has(n.RHS, label, metrics)) {
					found = append(found, "not both sides of "+n.String()+" have a label "+label)
				}
			}
		}
		return nil
	})
	return found
}

// has reports whether some series of an expression has the label.
func has(expr parser.Node, label string, metrics map[string][]string) (has bool) {
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if s, is := node.(*parser.VectorSelector); is {
			has = has || slices.Contains(metrics[s.Name], label) || slices.Contains(ofTarget(), label)
		}
		return nil
	})
	return has
}

// Every metric and label that a rule names is registered by a process.
func TestRulesNameWhatThereIs(t *testing.T) {
	metrics := registered(t)
	for _, group := range ruleGroups(t) {
		for _, rule := range group.Rules {
			for _, problem := range problems(t, rule.Expr, metrics) {
				t.Errorf("%s: %s", rule.Alert, problem)
			}
		}
	}
	for _, wrong := range []string{
		"prefect_keda_scaler_no_such > 1", `prefect_keda_scaler_ready{connection="a"}`, "sum by (kind) (prefect_keda_scaler_ready)",
		"prefect_keda_scaler_ready == on (connection) prefect_keda_scaler_due_runs",
	} {
		if len(problems(t, wrong, metrics)) == 0 {
			t.Errorf("nothing is found in %s", wrong)
		}
	}
}
