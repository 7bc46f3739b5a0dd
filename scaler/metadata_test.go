package scaler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// In a ScaledObject the values of variables are not known; what is misspelt is.
func TestMetadataIsCheckedAsWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		metadata map[string]string
		says     string
	}{
		"as shipped":           {map[string]string{"scalerAddress": "a:9090", "labelsFromEnv": "LABELS", "runsPerLauncher": "100"}, ""},
		"a number by its name": {map[string]string{"runsPerLauncherFromEnv": "RUNS"}, ""},
		"misspelt":             {map[string]string{"runsPerLaucher": "100"}, `unknown key "runsPerLaucher", did you mean runsPerLauncher?`},
		"misspelt, FromEnv":    {map[string]string{"labelFromEnv": "LABELS"}, `unknown key "labelFromEnv", did you mean labels?`},
		"two Prefects":         {map[string]string{"labels": "a", "workPools": "b"}, "give labels, or work pools and queues, not both"},
		"no list":              {map[string]string{"workPools": "[1]"}, "workPools: 1 is not a text"},
		"of a variable":        {map[string]string{"workPoolsFromEnv": "PREFECT_KEDA_WORK_POOLS", "labelsFromEnv": "LABELS"}, ""},
		"no number":            {map[string]string{"maxLaunchers": "many"}, `maxLaunchers: "many" is not a whole number`},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckMetadata(tc.metadata)
			if (err != nil) != (tc.says != "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %q", err, tc.says)
			}
		})
	}
}

func defaultTrigger() trigger {
	return trigger{Connection: "default", Scope: prefect.Scope{Labels: []string{}}, RunsPerLauncher: 100, MetricName: "prefect-runs", WarmUpLead: 10 * time.Second}
}

func TestMetadataIsUnderstood(t *testing.T) {
	with := func(change func(*trigger)) trigger {
		v := defaultTrigger()
		change(&v)
		return v
	}
	labels := func(l ...string) trigger {
		return with(func(t *trigger) { t.Scope.Labels, t.Named = l, []PlaceKind{ByLabels} })
	}
	pools := func(pools, queues []string) trigger {
		return with(func(t *trigger) { t.Scope.Pools, t.Scope.Queues, t.Named = pools, queues, []PlaceKind{ByWorkPools} })
	}
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
		"FromEnv":             {map[string]string{"labelsFromEnv": "a", "connectionFromEnv": "prod"}, with(func(t *trigger) { t.Scope.Labels, t.Named, t.Connection = []string{"a"}, []PlaceKind{ByLabels}, "prod" })},
		"comma list":          {map[string]string{"labels": " b, a ,,a"}, labels("a", "b")},
		"JSON list":           {map[string]string{"labels": `["a b", "ü"]`}, labels("a b", "ü")},
		"Python list":         {map[string]string{"labels": `['it\'s', "b", ]`}, labels("b", "it's")},
		"empty Python list":   {map[string]string{"labels": "[]"}, labels([]string{}...)},
		"Python \\x41":        {map[string]string{"labels": `['\x41']`}, labels("A")},
		"a tuple":             {map[string]string{"labels": `'b', 'a'`}, labels("a", "b")},
		"a launcher's null":   {map[string]string{"labelsFromEnv": "null"}, labels([]string{}...)},
		"work pools":          {map[string]string{"workPools": "k8s, größer,k8s", "workQueues": "['b', 'a']"}, pools([]string{"größer", "k8s"}, []string{"a", "b"})},
		"one of each":         {map[string]string{"workPool": "k8s", "workQueue": "high"}, pools([]string{"k8s"}, []string{"high"})},
		"both, FromEnv":       {map[string]string{"workPoolsFromEnv": "k8s", "workQueueFromEnv": "high"}, pools([]string{"k8s"}, []string{"high"})},
		"the same twice":      {map[string]string{"workPoolsFromEnv": "k8s", "workPool": " k8s "}, pools([]string{"k8s"}, nil)},
		"all work pools":      {map[string]string{"workPools": "[]"}, pools(nil, nil)},
		"a launcher's None":   {map[string]string{"labelsFromEnv": "None"}, labels([]string{}...)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseTrigger(tc.metadata, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
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
		"two pools":    {map[string]string{"workPool": "a", "workPoolsFromEnv": "b"}, `trigger metadata: give workPoolsFromEnv or workPool, not both`},
		"two Prefects": {map[string]string{"labels": "a", "workQueues": "b"}, `trigger metadata: give labels, or work pools and queues, not both: a connection has one or the other`},
		"misspelt":     {map[string]string{"workpool": "a"}, `trigger metadata: unknown key "workpool", did you mean workPools?`},
		"long lead":    {map[string]string{"warmUpLead": "601"}, `trigger metadata: warmUpLead: "601" is not a duration from 0s to 10m0s, such as 10s`},
		"list of int":  {map[string]string{"labels": "[1]"}, `trigger metadata: labels: 1 is not a text: put every text of a list in quotes, as in ['a', 'b']`},
		"unclosed":     {map[string]string{"labels": "['a"}, `trigger metadata: labels: cannot be read: character 2 opens a quote that is never closed: give a list such as ['a', 'b'] or a,b`},
		"no comma":     {map[string]string{"labels": "['a' 'b']"}, `trigger metadata: labels: cannot be read: character 6 should be a comma or ]: give a list such as ['a', 'b'] or a,b`},
		"text behind":  {map[string]string{"labels": "['a'] b"}, `trigger metadata: labels: cannot be read: character 7 does not belong there: give a list such as ['a', 'b'] or a,b`},
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
	f.Add("workPool", "k8s", "workQueuesFromEnv", `["high"]`)
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
		if got.RunsPerLauncher < 1 || got.MaxLaunchers < 0 || got.WarmUpLead < 0 || got.WarmUpLead > MaxWarmUpLead ||
			!isName(got.MetricName, 60, "") || got.Connection == "" ||
			len(got.Named) > 1 || len(got.Scope.Labels) > 0 && len(got.Scope.Pools)+len(got.Scope.Queues) > 0 {
			t.Fatalf("accepted %+v", got)
		}
	})
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a,b", `["a"]`, `['a', 'b',]`, `['\'']`, "[", "['a' 'b']"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		labels, err := parseNames(text)
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
