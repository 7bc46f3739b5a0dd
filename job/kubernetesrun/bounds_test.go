package kubernetesrun

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// repeated is a text of so many bytes.
func repeated(size int, begin, unit, end string) string {
	return begin + strings.Repeat(unit, (size-len(begin)-len(end))/len(unit)) + end
}

const (
	inPod = "spec: {template: {spec: {containers: [{name: flow, "
	ofPod = "}]}}}"
)

// hostile are texts that become as much as they can, in all that a template and a
// run config are given in.
func hostile() map[string]json.RawMessage {
	text := func(template string) json.RawMessage {
		return json.RawMessage(`{"type":"KubernetesRun","job_template":"` + strings.NewReplacer("\n", `\n`, `"`, `\"`).Replace(template) + `"}`)
	}
	object := func(size int, begin, unit, end string) json.RawMessage {
		return json.RawMessage(`{"type":"KubernetesRun","job_template":` + strings.Replace(repeated(size, begin, unit, end), ",]", "]", 1) + `}`)
	}
	field := func(size int, begin, unit, end string) json.RawMessage {
		return json.RawMessage(`{"type":"KubernetesRun",` + strings.NewReplacer(",]", "]", ",}", "}").Replace(repeated(size, begin, unit, end)) + `}`)
	}
	return map[string]json.RawMessage{
		"flow mapping":             text(repeated(1<<20, "spec: {x: {", "a,", "}}")),
		"flow mapping, four times": text(repeated(4<<20, "spec: {x: {", "a,", "}}")),
		"as many as are allowed":   text("spec: {x: {" + strings.Repeat("a,", 9_990) + "}}"),
		"as many keys":             text("spec: {template: {spec: {x: [" + strings.Repeat("{a},", 6_600) + "]}}}"),
		"flow list":                text(repeated(1<<20, "spec: [", "a,", "]")),
		"lists in a list":          text(repeated(1<<20, "[", "[],", "]")),
		"pairs in a list":          text(repeated(1<<20, "[", "a:,", "]")),
		"block mapping":            text(repeated(1<<20, "", "a:\n", "")),
		"block list":               text(repeated(1<<20, "", "-\n", "")),
		"documents":                text(repeated(1<<20, "", "---\na\n", "")),
		"nested":                   text(repeated(1<<20, "", "[", "")),
		"nested, and ended":        text("{a: " + strings.Repeat("[", 9_990) + strings.Repeat("]", 9_990) + "}"),
		"aliases of aliases":       text("- &a [b,b,b,b,b,b,b,b]\n- &b [*a,*a,*a,*a,*a,*a,*a,*a]\n- &c [*b,*b,*b,*b,*b,*b,*b,*b]\n- &d [*c,*c,*c,*c,*c,*c,*c,*c]\n- &e [*d,*d,*d,*d,*d,*d,*d,*d]\n- [*e,*e,*e,*e,*e,*e,*e,*e]"),
		"aliases of long text":     text("- &a " + strings.Repeat("x", 100_000) + "\n- [" + strings.Repeat("*a,", 5_000) + "]"),
		"aliases of a long key":    text("- &a {? " + strings.Repeat("x", 100_000) + " : b}\n- [" + strings.Repeat("*a,", 5_000) + "]"),
		"one long text":            text(repeated(1<<20, inPod+"image: '", "<", "'"+ofPod)),
		"one longer text":          text(repeated(3<<20, inPod+"image: '", "<", "'"+ofPod)),
		"an object of lists":       object(1<<20, `{"a":[`, `1,`, `]}`),
		"an object, four times":    object(4<<20, `{"a":[`, `1,`, `]}`),
		"a nested object":          json.RawMessage(`{"type":"KubernetesRun","job_template":{"a":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `}}`),
		"fields no Job has":        field(60_000, `"job_template":{"spec":{"template":{"spec":{}}},`, `"":1,`, `"a":1}`),
		"labels":                   field(1<<20, `"labels":[`, `1,`, `]`),
		"fewer labels":             field(20_000, `"labels":[`, `1,`, `]`),
		"env":                      field(1<<20, `"env":{`, `"":"",`, `}`),
		"one long variable":        field(4<<20, `"env":{"A":"`, `x`, `"}`),
		"fields":                   field(1<<20, ``, `"":1,`, `"a":1`),
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// taken is how much memory a call has asked for in all, which no peak exceeds.
func taken(f func()) (bytes uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func rendered(runConfig json.RawMessage) error {
	_, err := Renderer{Settings: Settings{Namespace: "flows"}}.Render(context.Background(), prefect.FlowRun{
		ID: "r", Attempt: "v1", Recipe: recipe.Recipe{RunConfig: runConfig, CoreVersion: "1.4.1", Storage: json.RawMessage(`{"type":"Local"}`)},
	})
	return err
}

// A launcher may take 256 MiB and renders sixteen runs at once; of each its author
// may make as much as the API takes.
func TestNoRunTakesALaunchersMemory(t *testing.T) {
	const most = raceCost * 32 << 20
	for name, runConfig := range hostile() {
		t.Run(name, func(t *testing.T) {
			var err error
			bytes := taken(func() { err = rendered(runConfig) })
			if bytes > most {
				t.Errorf("takes %d MiB to render, at most %d are allowed", bytes>>20, most>>20)
			}
			wrong, told := errors.AsType[*prefect.AuthorError](err)
			switch {
			case name == "one long text" && err == nil:
			case !told:
				t.Errorf("its author is not told: %v", err)
			case len(wrong.Message) > maxMessage+len("…"):
				t.Errorf("its author is told %d bytes", len(wrong.Message))
			}
		})
	}
}

// The text of a template counts, and not only what it becomes.
func TestBoundsAreToldToWhoeverGaveTheTemplate(t *testing.T) {
	const marks = "has more than 20000 commas, colons, dashes, question marks and opening brackets, and no Job needs as many: have the pod mount what is long in it from a ConfigMap, or bring it in the image"
	many := repeated(1<<20, "spec: {x: {", "a,", "}}")
	for _, tc := range []struct{ name, template, want string }{
		{"many values", many, marks},
		{"large", repeated(1<<20+2, "#", "x", "\n"), "is larger than 1 MiB: have the pod mount what is long in it from a ConfigMap, or bring it in the image"},
	} {
		for _, fromRun := range []bool{true, false} {
			_, err := template{YAML: []byte(tc.template), FromRun: fromRun, Origin: "it"}.decode(Settings{Namespace: "flows"}, &library{})
			want := "it " + tc.want
			if !fromRun {
				want += ": mend it, or set JOB_TEMPLATE (--job-template) to another; runs without a template of their own wait"
			}
			wrong, operators := errors.AsType[*job.TemplateError](err)
			if err == nil || err.Error() != want || operators == fromRun || operators && wrong.Passing {
				t.Errorf("%s, the author's: %v\n%v, want\n%s", tc.name, fromRun, err, want)
			}
		}
	}
	for _, tc := range []struct{ name, runConfig, want string }{
		{"deep", `{"type":"KubernetesRun","a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "the run_config is nested more than 100 deep, and no Job is"},
		{"no deeper than allowed", `{"type":"LocalRun","a":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `,"b":"[[{\"[[","c":[[]]}`, "Flow run r has a `run_config` of type `LocalRun`, only `KubernetesRun` is supported"},
		{"commas in a text", `{"type":"LocalRun","a":"` + strings.Repeat(",", 30_000) + `"}`, "Flow run r has a `run_config` of type `LocalRun`, only `KubernetesRun` is supported"},
		{"many values", `{"type":"LocalRun","a":[` + strings.Repeat("1,", 20_000) + `1]}`, "the run_config has more than 20000 values, and no Job needs as many: have the pod mount what is long in it from a ConfigMap, or bring it in the image"},
		{"large", `{"type":"LocalRun","a":"` + strings.Repeat("x", 3<<19) + `"}`, "the run_config is larger than 1.5 MiB, and Kubernetes takes no such Job: have the pod mount what is long in it from a ConfigMap, or bring it in the image"},
	} {
		if _, err := decodeRunConfig("r", json.RawMessage(tc.runConfig)); err == nil || err.Error() != tc.want || !authors(err) {
			t.Errorf("a run config, %s:\n%v, want\n%s", tc.name, err, tc.want)
		}
	}
	// What a Job may have in one variable, all of it JSON, is no reason to refuse it.
	config := strings.ReplaceAll(repeated(128<<10, "[", `{"name":"x","value":"some text"},`, "{}]"), `"`, `\"`)
	if _, err := (template{YAML: []byte(inPod + `env: [{name: A, value: "` + config + `"}]` + ofPod), FromRun: true}).decode(Settings{Namespace: "flows"}, &library{}); err != nil {
		t.Error(err)
	}
}

// nodes of a text, without what bounds them.
func nodes(text []byte) (count, documents int) {
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var of func(n *yaml.Node) int
	of = func(n *yaml.Node) int {
		sum := 1
		for _, child := range n.Content {
			sum += of(child)
		}
		return sum
	}
	for {
		var n yaml.Node
		if err := decoder.Decode(&n); errors.Is(err, io.EOF) || err != nil {
			return count, documents
		}
		documents++
		count += of(&n)
	}
}

// Whatever the text, the marks that are counted in it bound its values.
func FuzzYAMLMarks(f *testing.F) {
	for _, seed := range []string{
		"{a,b,c}", "[a:,b:,? c]", "a:\n b:\n- -\n- ? x\n  : y\n", "---\na\n---\n...\n--- !x\n", `{"a":"b","c":[{},[]]}`, "? - a\n: - b\n", "[a: b, : , ?]", "a: |\n  b, c\n", "- &a b\n- *a\n- <<: *a",
		"-\u0085-\u2028-", "\ufeff- a\n", "{? a : b, ?c, d?}", "[-]", "-",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		wide := []byte{0xff, 0xfe}
		for _, unit := range utf16.Encode([]rune(text)) {
			wide = append(wide, byte(unit), byte(unit>>8))
		}
		for _, encoded := range [][]byte{[]byte(text), wide} {
			// A document and its root have no mark.
			if count, documents := nodes(encoded); count > 2*yamlMarks(encoded)+2*documents {
				t.Errorf("%q has %d nodes in %d documents, and %d marks", encoded, count, documents, yamlMarks(encoded))
			}
		}
	})
}

// BenchmarkMemory tells what the worst template of 1 MiB takes, and how often that
// is what a usual one does. The collector may do better.
func BenchmarkMemory(b *testing.B) {
	usual := must(json.Marshal(map[string]string{"type": "KubernetesRun", "job_template": inPod +
		"image: registry.example.com/flows:1.4.1, env: [{name: A, value: b}], resources: {limits: {cpu: 1, memory: 1Gi}}, volumeMounts: [{name: v, mountPath: /v}]" + ofPod}))
	if err := rendered(usual); err != nil {
		b.Fatal(err)
	}
	runs := hostile()
	for _, name := range []string{"flow mapping", "as many keys", "aliases of long text", "an object of lists", "one long text"} {
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			var most, least uint64
			for b.Loop() {
				most = max(most, taken(func() { _ = rendered(runs[name]) }))
				least = taken(func() { _ = rendered(usual) })
			}
			b.ReportMetric(float64(most)/(1<<20), "MiB")
			b.ReportMetric(float64(most)/float64(least), "times-usual")
		})
	}
}
