package monitoring

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// board is the dashboard as Grafana's own types read it, which refuse fields that they do not
// have, in panels and queries too.
func board(t *testing.T) dashboard.Dashboard {
	t.Helper()
	text, err := os.ReadFile(components + "dashboard/prefect-keda.json")
	if err != nil {
		t.Fatal(err)
	}
	plugins.RegisterDefaultPlugins()
	if found := strictly(text); found != "" {
		t.Error(found)
	}
	var d dashboard.Dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	return d
}

// strictly is what is wrong with a dashboard: fields that are missing, unknown or of a wrong
// type. The types return an error without a text where they find nothing.
func strictly(text []byte) string {
	var found []string
	note := func(err error) {
		if err != nil && err.Error() != "" {
			found = append(found, err.Error())
		}
	}
	var d dashboard.Dashboard
	note(d.UnmarshalJSONStrict(text))
	// Of a panel's fieldConfig it reads only what is custom strictly.
	var configs struct {
		Panels []struct{ FieldConfig json.RawMessage }
	}
	note(json.Unmarshal(text, &configs))
	for _, p := range configs.Panels {
		var config dashboard.FieldConfigSource
		note(config.UnmarshalJSONStrict(p.FieldConfig))
	}
	return strings.Join(found, "\n")
}

// panels are all, except rows.
func panels(t *testing.T, d dashboard.Dashboard) []dashboard.Panel {
	t.Helper()
	var all []dashboard.Panel
	for _, p := range d.Panels {
		if p.Panel != nil && p.Panel.Type != "row" {
			all = append(all, *p.Panel)
		}
	}
	if len(all) < 20 {
		t.Fatalf("found only %d panels", len(all))
	}
	return all
}

// Grafana takes the dashboard: its types know every field, and each panel has a place and an
// id of its own.
func TestDashboardIsGrafanas(t *testing.T) {
	d := board(t)
	ids := map[uint32]string{}
	for _, p := range panels(t, d) {
		if p.Title == nil || p.Description == nil || p.Id == nil || p.GridPos == nil {
			t.Errorf("a panel of type %s lacks title, description, id or place", p.Type)
			continue
		}
		if other, is := ids[*p.Id]; is {
			t.Errorf("%s and %s have the id %d", other, *p.Title, *p.Id)
		}
		ids[*p.Id] = *p.Title
		for _, other := range panels(t, d) {
			if other.Id != nil && *other.Id < *p.Id && overlap(*other.GridPos, *p.GridPos) {
				t.Errorf("%s lies on %s", *p.Title, *other.Title)
			}
		}
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s is beyond the right edge", *p.Title)
		}
	}
	text, err := os.ReadFile(components + "dashboard/prefect-keda.json")
	if err != nil {
		t.Fatal(err)
	}
	for right, wrong := range map[string]string{`"title"`: `"titel"`, `"legendFormat"`: `"legend"`, `"graphMode"`: `"graph"`, `"drawStyle"`: `"draw"`, `"unit"`: `"units"`, `"refresh": 2`: `"refresh": "two"`} {
		if strictly([]byte(strings.Replace(string(text), right, wrong, 1))) == "" {
			t.Errorf("nothing is found with %s in place of %s", wrong, right)
		}
	}
}

func overlap(a, b dashboard.GridPos) bool {
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

// Every metric and label of a panel or a variable is registered by a process, and each panel
// asks for the chosen namespace only.
func TestDashboardNamesWhatThereIs(t *testing.T) {
	d, metrics := board(t), registered(t)
	filled := strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$namespace", "prefect-keda", "$connection", "default")
	for _, p := range panels(t, d) {
		if len(p.Targets) == 0 {
			t.Errorf("%s asks for nothing", *p.Title)
		}
		for _, target := range p.Targets {
			query, is := target.(*prometheus.Dataquery)
			if !is {
				if value, isValue := target.(prometheus.Dataquery); isValue {
					query, is = &value, true
				}
			}
			if !is {
				t.Fatalf("%s asks by a %T", *p.Title, target)
			}
			expression := filled.Replace(query.Expr)
			for _, problem := range problems(t, expression, metrics) {
				t.Errorf("%s: %s", *p.Title, problem)
			}
			selectors := regexp.MustCompile(`\b(?:prefect_keda|process)_[a-z_]+`).FindAllString(expression, -1)
			if strings.Count(query.Expr, `{namespace="$namespace"`) != len(selectors) {
				t.Errorf("%s asks for all namespaces: %s", *p.Title, query.Expr)
			}
			if query.LegendFormat == nil {
				continue
			}
			for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(*query.LegendFormat, -1) {
				if !regexp.MustCompile(`by \([^)]*\b` + m[1] + `\b`).MatchString(expression) {
					t.Errorf("%s: the legend names %s, which the answer does not have: %s", *p.Title, m[1], expression)
				}
			}
		}
	}
	values := regexp.MustCompile(`^label_values\(([a-z_]+)(?:\{.*\})?, ([a-z_]+)\)$`)
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
		if v.Type != dashboard.VariableTypeQuery {
			continue
		}
		m := values.FindStringSubmatch(*v.Definition)
		if m == nil {
			t.Errorf("variable %s: %s", v.Name, *v.Definition)
			continue
		}
		labels, is := metrics[m[1]]
		if !is || !slices.Contains(labels, m[2]) && !slices.Contains(ofTarget(), m[2]) {
			t.Errorf("variable %s: no process has %s with the label %s", v.Name, m[1], m[2])
		}
		if asked, err := json.Marshal(v.Query); err != nil || !strings.Contains(string(asked), m[1]) {
			t.Errorf("variable %s asks for %s and says %s", v.Name, asked, *v.Definition)
		}
	}
	if want := []string{"datasource", "namespace", "connection"}; !slices.Equal(want, names) {
		t.Errorf("the variables are %v, want %v", names, want)
	}
}

// Every metric of ours is on the dashboard or left out for a reason.
func TestDashboardShowsEveryMetric(t *testing.T) {
	text, err := os.ReadFile(components + "dashboard/prefect-keda.json")
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]string{
		"prefect_keda_scaler_active":                       "demand shows it",
		"prefect_keda_scaler_metric_value":                 "demand, and one while a threshold holds",
		"prefect_keda_scaler_activations_total":            "their latency is shown",
		"prefect_keda_scaler_streams":                      "KEDA's calls are shown",
		"prefect_keda_scaler_last_asked_timestamp_seconds": "that of the connection is shown",
		"prefect_keda_scaler_heartbeats_due":               "part of the demand",
		"prefect_keda_scaler_poll_consecutive_failures":    "polls are shown by result",
		"prefect_keda_scaler_poll_duration_seconds":        "the latency of Prefect is shown",
		"prefect_keda_scaler_request_duration_seconds":     "answers come from memory",
		"prefect_keda_scaler_panics_total":                 "bugs, for a look by hand",
		"prefect_keda_scaler_forgotten_total":              "strangers at the port, for a look by hand",
		"prefect_keda_scaler_connections_refused_total":    "strangers at the port, for a look by hand",
	}
	for name := range registered(t) {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if shown := strings.Contains(string(text), base); strings.HasPrefix(name, "prefect_keda_") && shown == (left[base] != "") {
			t.Errorf("%s is on the dashboard: %v, and left out because: %q", base, shown, left[base])
		}
	}
}
