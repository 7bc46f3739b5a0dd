package scaler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/literal"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxMetadata bounds a trigger's metadata; a real one has a few hundred bytes.
	maxMetadata = 16 << 10
	// maxKeys is far more than exist, with KEDA's own and in both spellings.
	maxKeys  = 64
	maxCount = 1_000_000
	fromEnv  = "FromEnv"
)

// trigger is the parsed metadata of a ScaledObject's trigger.
type trigger struct {
	Connection string
	Scope      prefect.Scope
	// Places are those of its connection.
	Places PlaceKind
	// Named is the kind of places that the metadata names, even if the list is empty ("[]").
	// Without any, it is up to the connection.
	Named               []PlaceKind
	RunsPerLauncher     int64
	ActivationThreshold int64
	// MaxLaunchers is 0 when there is no limit below KEDA's own.
	MaxLaunchers int64
	MetricName   string
	WarmUpLead   time.Duration
}

// key is one entry of the metadata: its name, its default, its meaning for operators
// (docs/tuning.md has a table of these), and how its text becomes a value.
type key struct {
	name string
	// also is another spelling; may be empty.
	also    string
	initial string
	about   string
	set     func(*trigger, string) error
}

// spellings are the keys of the metadata that mean k, in the order in which they count.
func (k key) spellings() []string {
	all := []string{k.name, k.name + fromEnv}
	if k.also != "" {
		all = append(all, k.also, k.also+fromEnv)
	}
	return all
}

// keys are all keys of a trigger. KEDA passes every value on as text.
func keys(lead time.Duration) []key {
	return []key{
		{"connection", "", "default", "the Prefect connection of the scaler in which to count; it has to be [for this namespace](how-it-works.md#who-may-ask-the-scaler)", func(t *trigger, v string) error {
			t.Connection = v
			return nil
		}},
		{"labels", "", "", "the labels its launchers serve: `a,b`, `[\"a\",\"b\"]` or `[]`. `labelsFromEnv: PREFECT__CLOUD__AGENT__LABELS` takes them from the launcher Deployment, so they are written down once", func(t *trigger, v string) error {
			return t.places(ByLabels, v, &t.Scope.Labels)
		}},
		{"workPools", "workPool", "", "the work pools its launchers serve, as a list like `labels`; without it all work pools of the connection that run in Kubernetes. `workPool` is the same", func(t *trigger, v string) error {
			return t.places(ByWorkPools, v, &t.Scope.Pools)
		}},
		{"workQueues", "workQueue", "", "the work queues its launchers serve in each of these work pools; without it all queues", func(t *trigger, v string) error {
			return t.places(ByWorkPools, v, &t.Scope.Queues)
		}},
		{"runsPerLauncher", "", "100", "due runs per launcher; a burst of 1,000 gets 10 launchers", func(t *trigger, v string) error { return count(v, 1, &t.RunsPerLauncher) }},
		{"activationThreshold", "", "0", "more runs than this have to be due before the first launcher starts for them; Jobs in trouble, claims without a Job and heartbeats wake one at any number, and once it is up it takes all runs", func(t *trigger, v string) error { return count(v, 0, &t.ActivationThreshold) }},
		{"maxLaunchers", "", "0", "most launchers to ask for, below `maxReplicaCount`; 0 leaves it to KEDA", func(t *trigger, v string) error { return count(v, 0, &t.MaxLaunchers) }},
		{"metricName", "", "prefect-runs", "the metric's name in the HPA", func(t *trigger, v string) error { return metricName(v, &t.MetricName) }},
		{"warmUpLead", "", lead.String(), "how long before a scheduled run is due a launcher is woken; give it more than a pod takes to start", func(t *trigger, v string) error { return duration(v, &t.WarmUpLead) }},
	}
}

// kedaKeys are for KEDA itself and reach us only because KEDA passes all on (keda §1.4).
func kedaKeys() []string {
	return []string{"scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsClientCert", "tlsClientKey", "tlsCertFile"}
}

// parseTrigger reads a trigger's metadata. Its error names all mistakes. An empty value
// counts as absent, because templates tend to write empty values. For keys with the suffix
// FromEnv, KEDA has already put in the variable's value (keda §1.4).
func parseTrigger(metadata map[string]string, lead time.Duration) (trigger, error) {
	var t trigger
	var problems []string
	vocabulary := keys(lead)
	used := map[string]bool{}
	for _, k := range vocabulary {
		value, err := valueOf(k, metadata)
		if err == nil {
			err = k.set(&t, value)
			if err != nil {
				err = fmt.Errorf("%s: %w", k.name, err)
			}
		}
		if err != nil {
			problems = append(problems, err.Error())
		}
		for _, name := range k.spellings() {
			used[name] = true
		}
	}
	if len(t.Named) > 1 {
		problems = append(problems, "give labels, or work pools and queues, not both: a connection has one or the other")
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

// valueOf is the text for k, or its default.
func valueOf(k key, metadata map[string]string) (string, error) {
	var name, value string
	for _, other := range k.spellings() {
		text := strings.TrimSpace(metadata[other])
		switch {
		case text == "":
		case value == "":
			name, value = other, text
		case value != text:
			return "", fmt.Errorf("give %s or %s, not both", name, other)
		}
	}
	return cmp.Or(value, k.initial), nil
}

// places reads names of places of a kind.
func (t *trigger) places(kind PlaceKind, text string, into *[]string) (err error) {
	if text == "" {
		return nil
	}
	if !slices.Contains(t.Named, kind) {
		t.Named = append(t.Named, kind)
	}
	*into, err = parseNames(text)
	return err
}

// CheckMetadata reads a trigger's metadata from a ScaledObject. There, keys with the
// suffix FromEnv name a variable, and we do not know its value. The error names all
// mistakes.
func CheckMetadata(metadata map[string]string) error {
	metadata = maps.Clone(metadata)
	for k := range metadata {
		if strings.HasSuffix(k, fromEnv) {
			metadata[k] = ""
		}
	}
	_, err := parseTrigger(metadata, 0)
	return err
}

// parseNames reads labels, work pools or queues like a launcher, because they are often the
// text of its variable, and drops empty ones. The result is sorted and has no duplicates, so
// equal sets are equal slices.
func parseNames(text string) ([]string, error) {
	names, err := literal.List(text)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(l string) bool { return l == "" })
	slices.Sort(names)
	// A copy, because the original list may have had thousands.
	return slices.Clone(slices.Compact(names)), nil
}

func count(text string, least int64, to *int64) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > maxCount {
		return fmt.Errorf("%q is not a whole number from %d to %d", shorten(text), least, maxCount)
	}
	*to = n
	return nil
}

// duration reads Go's spelling, or a plain number of seconds like KEDA's own settings.
func duration(text string, to *time.Duration) error {
	d, err := time.ParseDuration(text)
	if seconds, e := strconv.ParseUint(text, 10, 16); e == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < 0 || d > MaxWarmUpLead {
		return fmt.Errorf("%q is not a duration from 0s to %s, such as 10s", shorten(text), MaxWarmUpLead)
	}
	*to = d
	return nil
}

// metricName accepts names that are valid in a path of the metrics API.
func metricName(text string, to *string) error {
	if !isName(text, 60, "") {
		return fmt.Errorf("%q must be 1 to 60 of a-z, 0-9, '.', '_' and '-', and begin and end with a letter or digit", shorten(text))
	}
	*to = text
	return nil
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

// cut is text, or a copy of its beginning, so that the rest can be freed.
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

// metadataSize is the size that maxMetadata bounds.
func metadataSize(metadata map[string]string) int {
	size := 0
	for k, v := range metadata {
		size += len(k) + len(v)
	}
	return size
}
