package scaler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func defaultTrigger() trigger {
	return trigger{Connection: "default", Labels: []string{}, RunsPerLauncher: 100, MetricName: "prefect-runs", WarmUpLead: 10 * time.Second}
}

func TestMetadataIsUnderstood(t *testing.T) {
	with := func(change func(*trigger)) trigger {
		v := defaultTrigger()
		change(&v)
		return v
	}
	labels := func(l ...string) trigger { return with(func(t *trigger) { t.Labels = l }) }
	for name, tc := range map[string]struct {
		metadata map[string]string
		want     trigger
	}{
		"nothing at all":      {nil, defaultTrigger()},
		"KEDA's own keys":     {map[string]string{"scalerAddress": "a:1", "enableTLS": "true", "unsafeSsl": "false", "caCert": "x", "tlsClientCert": "x", "tlsClientKeyFromEnv": "x"}, defaultTrigger()},
		"empty is absent":     {map[string]string{"runsPerLauncher": " ", "connection": "", "labels": ""}, defaultTrigger()},
		"connection":          {map[string]string{"connection": "prod"}, with(func(t *trigger) { t.Connection = "prod" })},
		"runsPerLauncher":     {map[string]string{"runsPerLauncher": "7"}, with(func(t *trigger) { t.RunsPerLauncher = 7 })},
		"activationThreshold": {map[string]string{"activationThreshold": "5"}, with(func(t *trigger) { t.ActivationThreshold = 5 })},
		"maxLaunchers":        {map[string]string{"maxLaunchers": "3"}, with(func(t *trigger) { t.MaxLaunchers = 3 })},
		"metricName":          {map[string]string{"metricName": "etl"}, with(func(t *trigger) { t.MetricName = "etl" })},
		"warmUpLead":          {map[string]string{"warmUpLead": "1m"}, with(func(t *trigger) { t.WarmUpLead = time.Minute })},
		"warmUpLead, number":  {map[string]string{"warmUpLead": "0"}, with(func(t *trigger) { t.WarmUpLead = 0 })},
		"FromEnv":             {map[string]string{"labelsFromEnv": "a", "connectionFromEnv": "prod"}, with(func(t *trigger) { t.Labels, t.Connection = []string{"a"}, "prod" })},
		"comma list":          {map[string]string{"labels": " b, a ,,a"}, labels("a", "b")},
		"JSON list":           {map[string]string{"labels": `["a b", "ü"]`}, labels("a b", "ü")},
		"Python list":         {map[string]string{"labels": `['it\'s', "b", ]`}, labels("b", "it's")},
		"empty Python list":   {map[string]string{"labels": "[]"}, defaultTrigger()},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseTrigger(tc.metadata, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Labels) == 0 {
				got.Labels = []string{}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMetadataErrorsSayWhatToChange(t *testing.T) {
	for name, tc := range map[string]struct {
		metadata map[string]string
		want     string
	}{
		"all at once": {
			map[string]string{"runsPerLauncher": "0", "maxLaunchers": "-1", "warmUpLead": "soon", "metricName": "Ä"},
			`trigger metadata: runsPerLauncher: "0" is not a whole number from 1 to 1000000; maxLaunchers: "-1" is not a whole number from 0 to 1000000; ` +
				`metricName: "Ä" must be 1 to 60 of a-z, 0-9, '.', '_' and '-', and begin and end with a letter or digit; ` +
				`warmUpLead: "soon" is not a duration from 0s to 10m0s, such as 10s`,
		},
		"unknown":      {map[string]string{"label": "a"}, `trigger metadata: unknown key "label", did you mean labels?`},
		"mixed case":   {map[string]string{"runsperlauncher": "a"}, `trigger metadata: unknown key "runsperlauncher", did you mean runsPerLauncher?`},
		"from env":     {map[string]string{"maxLauncherFromEnv": "a"}, `trigger metadata: unknown key "maxLauncherFromEnv", did you mean maxLaunchers?`},
		"both":         {map[string]string{"labels": "a", "labelsFromEnv": "b"}, `trigger metadata: give labels or labelsFromEnv, not both`},
		"long lead":    {map[string]string{"warmUpLead": "601"}, `trigger metadata: warmUpLead: "601" is not a duration from 0s to 10m0s, such as 10s`},
		"list of int":  {map[string]string{"labels": "[1]"}, `trigger metadata: labels: not a comma list, a JSON list or a Python list of strings: element 1: not a quoted string`},
		"unclosed":     {map[string]string{"labels": "['a"}, `trigger metadata: labels: not a comma list, a JSON list or a Python list of strings: element 1: the quote is not closed`},
		"no comma":     {map[string]string{"labels": "['a' 'b']"}, `trigger metadata: labels: not a comma list, a JSON list or a Python list of strings: no ',' or ']' after element 1`},
		"text behind":  {map[string]string{"labels": "['a'] b"}, `trigger metadata: labels: not a comma list, a JSON list or a Python list of strings: text after the closing ']'`},
		"python \\x41": {map[string]string{"labels": `['\x41']`}, `trigger metadata: labels: not a comma list, a JSON list or a Python list of strings: element 1: only \\, \' and \" can be escaped`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseTrigger(tc.metadata, 10*time.Second)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tc.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "a-b.c_d": true, "0": true, "a--b": true, strings.Repeat("a", 60): true,
		"": false, "-a": false, "a.": false, "a b": false, "aB": false, "aä": false, "ä": false, "a/b": false, strings.Repeat("a", 61): false,
	} {
		if got := isName(name, 60, ""); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
	if !isName("Prod", 60, upper) {
		t.Error("upper case is refused where it is allowed")
	}
}

// TestMetadataErrorsHideUnknownValues: FromEnv can put a secret under any key.
func TestMetadataErrorsHideUnknownValues(t *testing.T) {
	_, err := parseTrigger(map[string]string{"apiKeyFromEnv": "canary-5f1c"}, 0)
	if err == nil || strings.Contains(err.Error(), "canary-5f1c") {
		t.Errorf("error %v: want one without the value", err)
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add("labels", "['a', \"b\"]", "runsPerLauncher", "10")
	f.Add("labelsFromEnv", `["a"]`, "warmUpLead", "1h")
	f.Add("Labels", "a,b", "", "\x00")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		metadata := map[string]string{k1: v1, k2: v2}
		got, err := parseTrigger(metadata, time.Second)
		again, errAgain := parseTrigger(metadata, time.Second)
		if diff := cmp.Diff(got, again); diff != "" || (err == nil) != (errAgain == nil) {
			t.Fatalf("not a function of the metadata: %s, %v, %v", diff, err, errAgain)
		}
		if err != nil {
			return
		}
		if got.RunsPerLauncher < 1 || got.MaxLaunchers < 0 || got.WarmUpLead < 0 || got.WarmUpLead > maxWarmUpLead ||
			!isName(got.MetricName, 60, "") || got.Connection == "" {
			t.Fatalf("accepted %+v", got)
		}
	})
}

func FuzzLabels(f *testing.F) {
	for _, s := range []string{"", "a,b", `["a"]`, `['a', 'b',]`, `['\'']`, "[", "['a' 'b']"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		labels, err := parseLabels(text)
		if err != nil {
			return
		}
		for i, l := range labels {
			if l == "" || (i > 0 && labels[i-1] >= l) {
				t.Fatalf("%q gives %q: not a sorted set without empty labels", text, labels)
			}
		}
	})
}
