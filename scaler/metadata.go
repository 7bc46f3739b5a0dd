package scaler

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxMetadata bounds a trigger's metadata; a real one has a few hundred bytes.
	maxMetadata = 16 << 10
	// maxKeys is far more than all there are, KEDA's and each in both spellings.
	maxKeys       = 64
	maxCount      = 1_000_000
	maxWarmUpLead = 10 * time.Minute
	fromEnv       = "FromEnv"
)

// trigger is a ScaledObject trigger's metadata, understood.
type trigger struct {
	Connection          string
	Labels              []string
	RunsPerLauncher     int64
	ActivationThreshold int64
	// MaxLaunchers is 0 when there is no limit below KEDA's own.
	MaxLaunchers int64
	MetricName   string
	WarmUpLead   time.Duration
}

// key is one entry of the metadata: its name, what it is when absent, what it
// means to an operator (the README's table is made of these), and how its text
// becomes a value.
type key struct {
	name    string
	initial string
	about   string
	set     func(*trigger, string) error
}

// keys is the whole vocabulary of a trigger. KEDA hands every value on as text.
func keys(lead time.Duration) []key {
	return []key{
		{"connection", "default", "which of the scaler's Prefect connections to count in; it has to be [for this namespace](docs/how-it-works.md#who-may-ask-the-scaler)", func(t *trigger, v string) error {
			t.Connection = v
			return nil
		}},
		{"labels", "", "the labels its launchers serve: `a,b`, `[\"a\",\"b\"]` or `[]`. `labelsFromEnv: PREFECT__CLOUD__AGENT__LABELS` takes them from the launcher Deployment, so they are written down once", func(t *trigger, v string) (err error) {
			t.Labels, err = parseLabels(v)
			return err
		}},
		{"runsPerLauncher", "100", "due runs per launcher; a burst of 1,000 gets 10 launchers", func(t *trigger, v string) (err error) {
			t.RunsPerLauncher, err = count(v, 1)
			return err
		}},
		{"activationThreshold", "0", "more runs than this have to be due before the first launcher starts for them; Jobs in trouble, claims without a Job and heartbeats do not wait for that, and once one runs, it takes them all", func(t *trigger, v string) (err error) {
			t.ActivationThreshold, err = count(v, 0)
			return err
		}},
		{"maxLaunchers", "0", "most launchers to ask for, below `maxReplicaCount`; 0 leaves it to KEDA", func(t *trigger, v string) (err error) {
			t.MaxLaunchers, err = count(v, 0)
			return err
		}},
		{"metricName", "prefect-runs", "the metric's name in the HPA", func(t *trigger, v string) (err error) {
			t.MetricName, err = metricName(v)
			return err
		}},
		{"warmUpLead", lead.String(), "how long before a scheduled run is due a launcher is woken: more than it takes to start a pod", func(t *trigger, v string) (err error) {
			t.WarmUpLead, err = duration(v)
			return err
		}},
	}
}

// kedaKeys are read by KEDA itself and reach us only because it hands on all.
func kedaKeys() []string {
	return []string{"scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsClientCert", "tlsClientKey", "tlsCertFile"}
}

// parseTrigger reads a trigger's metadata. Its error names everything that is
// wrong. An empty value is an absent one, as templating tends to write it. With
// the suffix FromEnv, KEDA has already put the variable's value in.
func parseTrigger(metadata map[string]string, lead time.Duration) (trigger, error) {
	var t trigger
	var problems []string
	vocabulary := keys(lead)
	used := map[string]bool{}
	for _, k := range vocabulary {
		value := metadata[k.name]
		other := metadata[k.name+fromEnv]
		used[k.name], used[k.name+fromEnv] = true, true
		if value != "" && other != "" && value != other {
			problems = append(problems, fmt.Sprintf("give %s or %s, not both", k.name, k.name+fromEnv))
			continue
		}
		for _, candidate := range []string{value, other, k.initial} {
			if value = strings.TrimSpace(candidate); value != "" {
				break
			}
		}
		if err := k.set(&t, value); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", k.name, err))
		}
	}
	for _, k := range kedaKeys() {
		used[k], used[k+fromEnv] = true, true
	}
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		if !used[k] {
			problems = append(problems, fmt.Sprintf("unknown key %q, did you mean %s?", shorten(k), nearest(k, vocabulary)))
		}
	}
	if len(problems) > 0 {
		return trigger{}, fmt.Errorf("trigger metadata: %s", strings.Join(problems, "; "))
	}
	return t, nil
}

func count(text string, least int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > maxCount {
		return 0, fmt.Errorf("%q is not a whole number from %d to %d", shorten(text), least, maxCount)
	}
	return n, nil
}

// duration reads Go's spelling, or a plain number of seconds as KEDA's own
// settings have it.
func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if seconds, e := strconv.ParseUint(text, 10, 16); e == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < 0 || d > maxWarmUpLead {
		return 0, fmt.Errorf("%q is not a duration from 0s to %s, such as 10s", shorten(text), maxWarmUpLead)
	}
	return d, nil
}

// metricName is one that survives as a segment of a path of the metrics API.
func metricName(text string) (string, error) {
	if !isName(text, 60, "") {
		return "", fmt.Errorf("%q must be 1 to 60 of a-z, 0-9, '.', '_' and '-', and begin and end with a letter or digit", shorten(text))
	}
	return text, nil
}

const (
	lowerAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789"
	upper          = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// isName reports whether text is of lower case letters, digits and those of
// also, with '.', '_' and '-' between them. (A regular expression with such a
// bound costs every start 80 kB.)
func isName(text string, longest int, also string) bool {
	return text != "" && len(text) <= longest &&
		strings.Trim(text, "._-"+lowerAndDigits+also) == "" &&
		strings.ContainsRune(lowerAndDigits+also, rune(text[0])) && strings.ContainsRune(lowerAndDigits+also, rune(text[len(text)-1]))
}

func shorten(text string) string { return cut(text, 60) }

// cut is text, or a copy of its beginning that does not hold on to the rest.
func cut(text string, longest int) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

// nearest is the known key that takes the fewest edits to reach.
func nearest(unknown string, vocabulary []key) string {
	unknown = strings.ToLower(strings.TrimSuffix(shorten(unknown), fromEnv))
	return slices.MinFunc(vocabulary, func(a, b key) int {
		return edits(unknown, strings.ToLower(a.name)) - edits(unknown, strings.ToLower(b.name))
	}).name
}

// edits is the Levenshtein distance in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// metadataSize is what maxMetadata bounds.
func metadataSize(metadata map[string]string) int {
	size := 0
	for k, v := range metadata {
		size += len(k) + len(v)
	}
	return size
}
