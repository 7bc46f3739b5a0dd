//go:build conformance

package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// poolAuthor writes what people put into work pools, deployments and flow runs, and slips
// now and then, once per case at the most.
type poolAuthor struct{ author }

// generatedCase is the same for the same seed.
func generatedCase(seed uint64) poolCase {
	a := poolAuthor{author{Rand: rand.New(rand.NewPCG(seed, 3)), slips: int(seed % 3 / 2)}} //nolint:gosec // not for secrets
	c := poolCase{
		Name: fmt.Sprintf("seed %d", seed),
		Flow: a.row("0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002", nil),
		BlockDocuments: []blockDocument{
			{"33333333-6ed1-4d08-9b5c-1d1bdb6a0005", "secret", "token", json.RawMessage(`{"value": "hunter2"}`)},
			{"33333333-6ed1-4d08-9b5c-1d1bdb6a0006", "settings", "all", json.RawMessage(`{"zone": "a", "value": {"n": 1, "list": ["x", {"y": null}]}, "empty": {}}`)},
		},
		Variables: map[string]any{"region": "eu", "number": 5, "settings": map[string]any{"a": []any{1, "b"}}, "nothing": nil, "nested": "{{ prefect.variables.region }}"},
		Environ:   map[string]string{"ZONE": "z1", "EMPTY": ""},
	}
	run := map[string]any{"flow_id": "0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002", "job_variables": a.jobVariables()}
	if a.often(80) {
		run["deployment_id"] = "11111111-6ed1-4d08-9b5c-1d1bdb6a0003"
		c.Deployment = a.row("11111111-6ed1-4d08-9b5c-1d1bdb6a0003", map[string]any{
			"flow_id": run["flow_id"], "updated": pick(&a.author, "2026-11-23T16:30:27.805Z", "2026-11-23T16:30:27Z", "2026-01-02T03:04:05.000001+02:00"),
			"job_variables": a.jobVariables(),
		})
	}
	c.FlowRun = a.row(poolRun, run)
	c.WorkPool = a.row("22222222-6ed1-4d08-9b5c-1d1bdb6a0004", map[string]any{"type": "kubernetes", "base_job_template": a.baseTemplate()})
	return c
}

// row is an object of the API with a name.
func (a *poolAuthor) row(id string, fields map[string]any) json.RawMessage {
	name := a.name()
	if id != poolRun { // only runs may have such names
		name = strings.NewReplacer("/", "", "&", "+", "%", "", ">", "", "<", "").Replace(name)
	}
	all := map[string]any{"id": id, "name": name}
	maps.Copy(all, fields)
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // maps of what JSON has
	}
	return text
}

func (a *poolAuthor) name() string {
	return pick(&a.author, "sturdy-viper", "My Flow", "größe ÄÖ 你好", "1,000 rows & co", "it's", "_x_", "a/b:c", strings.Repeat("Long name ", 9), "Привет мир", "x &amp; y &#65;", "‘q’ ½ №", "ends-.-", "日本語のフロー", "a__b--c..d")
}

// jobVariables are in an order of their author's.
func (a *poolAuthor) jobVariables() json.RawMessage {
	all := a.object(25, fields{
		"image": func() any { return a.text("i:1", "i:{{ x }}") }, "command": func() any {
			return a.value(pick[any](&a.author, "python -m flow", `sh -c "a 'b' \$c" d\ e`, "", " a\tb\n", nil, "{{ prefect.variables.region }} x")).or(`a "b`, `a\`, 3)
		},
		"namespace": func() any { return a.value("flows", "default").or(nil, "other", 3) }, "service_account_name": a.some("runs", nil),
		"labels": a.labels, "annotations": func() any {
			return a.value(map[string]any{"Any Key/x y": "Any V", "b": "é"}, map[string]any{}).or(map[string]any{"a": 1}, nil)
		},
		"name": func() any {
			return a.value("jobs", nil, "", "{{ ctx.flow.name }}-{{ ctx.flow_run.name }}", "My Name").or(5)
		},
		"image_pull_policy": a.some("Always", nil), "finished_job_ttl": func() any { return a.value(100, 600, nil).or("soon", 1.5) },
		"backoff_limit": func() any { return a.value(0, 3, nil).or("0", 0.5) }, "cpu_limit": func() any { return a.value("500m", "2", nil).or("many") },
		"memory_request": a.some("1Gi"), "own": func() any { return a.anything(2) }, "own.deep.er": func() any { return a.anything(1) }, "zzz": a.some(1),
	})
	if a.often(60) {
		all["env"] = a.env()
	}
	if a.often(15) {
		all["env.DOTTED"] = a.anything(1)
	}
	return a.shuffled(all)
}

func (a *poolAuthor) labels() any {
	return a.value(map[string]any{"team": "a b", "Foo Bar/Baz Qux": "V_"}, map[string]any{"prefect.io/flow-name": "mine", "x": "1,5"}, map[string]any{}).or(map[string]any{"n": 1}, nil, map[string]any{"prefect-keda.io/attempt": "forged"})
}

// text is one that now and then refers to something.
func (a *poolAuthor) text(plain ...string) any {
	return pick[any](&a.author, pick(&a.author, plain...), "{{ prefect.variables.region }}", "r-{{ prefect.variables.missing }}-{{ prefect.variables.number }}", "x{{ prefect.blocks.secret.token }}", "{{prefect.blocks.settings.all.value.n}}")
}

func (a *poolAuthor) env() any {
	var parts []string
	for _, name := range []string{"A", "B", "PREFECT_API_URL", "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR", "C", "PREFECT_LOGGING_LEVEL"} {
		if a.often(40) {
			parts = append(parts, fmt.Sprintf("%q: %s", name, a.encoded(a.value(pick(&a.author, a.text("v", "", "{{ own }}"), a.anything(1), any(nil))).or("{{ prefect.blocks.secret.none }}", "{{ prefect.blocks.settings.all.nothing }}", "t{{ prefect.blocks.settings.all }}", map[string]any{"$ref": map[string]any{"block_document_id": "33333333-6ed1-4d08-9b5c-1d1bdb6a0009"}}))))
		}
	}
	a.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	env := json.RawMessage("{" + strings.Join(parts, ", ") + "}")
	return a.value(env, env, env, env, nil, map[string]any{"$ref": map[string]any{"block_document_id": "33333333-6ed1-4d08-9b5c-1d1bdb6a0006"}}).or("A=1", 5)
}

func (a *poolAuthor) encoded(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of what JSON has
	}
	return string(text)
}

// shuffled is an object with its fields in any order.
func (a *poolAuthor) shuffled(o map[string]any) json.RawMessage {
	names := slices.Sorted(maps.Keys(o))
	a.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%q: %s", name, a.encoded(o[name]))
	}
	return json.RawMessage("{" + strings.Join(parts, ", ") + "}")
}

// anything is a value of so many levels.
func (a *poolAuthor) anything(depth int) any {
	if depth > 0 && a.often(40) {
		if a.often(50) {
			return []any{a.anything(depth - 1), a.anything(depth - 1)}
		}
		return map[string]any{"k": a.anything(depth - 1), "l m": a.anything(depth - 1)}
	}
	return pick[any](&a.author, 1, -3, 1.5, 1e20, 1e-7, true, false, nil, "it's", "q\"u'o\n", "é\u200b\x01😀", "", "{{ own }}", json.Number("100000000000000000000"), json.Number("2.50"), json.Number("-0"), json.Number("1E5"))
}

// placeholders are in the template's own texts.
func (a *poolAuthor) placeholders() any {
	return pick[any](&a.author, "{{ own }}", "{{own.k}}", "x-{{ own.k[0] }}-{{ own['k'] }}", "{{ own.deep.er }}", "{{ own[0] }}", "{{ own[-1] }}", "{{ missing }}", "a{{ missing }}b", "{{ $ZONE }}", "z{{ $EMPTY }}{{ $ZONE }}", "{{ own | upper }}", "{{{ own }}}", "{{ own }}{{ image }}", "{{ labels }}", "e{{ env }}", "{{\u00a0größe }}", "{{ größe }}{{ ctx.flow.name }}", "{{ prefect.variables.settings }}", "{{ prefect.variables.settings.a }}", "t{{ prefect.variables.settings }}", "{{ prefect.variables.nested }}", "{{ prefect.variables.nothing }}")
}

func (a *poolAuthor) baseTemplate() any {
	configuration := map[string]any{"job_manifest": a.manifest()}
	for _, name := range []string{"command", "env", "labels", "name", "annotations", "namespace", "job_watch_timeout_seconds", "stream_output"} {
		if a.often(92) {
			configuration[name] = "{{ " + name + " }}"
		}
	}
	if a.often(15) {
		configuration["env"] = json.RawMessage(fmt.Sprintf(`{"Z": %s, "A": "pool"}`, a.encoded(a.placeholders())))
	}
	if a.often(10) {
		configuration["labels"] = map[string]any{"pool": "{{ image }}"}
	}
	properties := map[string]any{"namespace": map[string]any{"default": a.value("default", "flows").or("other")}, "backoff_limit": map[string]any{"default": pick(&a.author, 0, 0, 2)}}
	for name, v := range a.object(25, fields{
		"env": a.env, "image": func() any { return a.text("pool:1") }, "labels": a.labels, "größe": a.some("g"), "own": func() any { return a.anything(2) }, "command": a.some("pool cmd", nil),
		"finished_job_ttl": a.some(900), "name": a.some("pool name"),
	}) {
		properties[name] = map[string]any{"title": name, "default": v}
	}
	return map[string]any{"job_configuration": configuration, "variables": map[string]any{"type": "object", "properties": properties}}
}

func (a *poolAuthor) manifest() any {
	container := map[string]any{"name": "prefect-job", "env": "{{ env }}", "image": "{{ image }}", "args": "{{ command }}"}
	maps.Copy(container, a.object(20, fields{
		"imagePullPolicy": a.some("{{ image_pull_policy }}"), "workingDir": a.placeholders, "command": a.some([]any{"tini", "--"}),
		"args": func() any {
			return a.value([]any{"sh", "-c", "{{ command }}"}, "{{ command }} more", []any{}).or(map[string]any{})
		},
		"resources": a.some(map[string]any{"limits": map[string]any{"cpu": "{{ cpu_limit }}"}, "requests": map[string]any{"memory": "{{ memory_request }}"}}),
		"env":       a.some([]any{map[string]any{"name": "A", "value": "literal"}, map[string]any{"name": "L", "value": "x{{ image }}"}, map[string]any{"name": "R", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "s", "key": "k"}}}}),
	}))
	pod := map[string]any{"parallelism": 1, "completions": 1, "restartPolicy": "Never", "serviceAccountName": "{{ service_account_name }}", "containers": []any{container}}
	if a.often(20) {
		pod["containers"] = []any{container, map[string]any{"name": "beside", "image": "{{ image }}", "args": []any{a.placeholders()}}}
	}
	maps.Copy(pod, a.object(15, fields{"nodeSelector": a.some(map[string]any{"zone": "{{ $ZONE }}", "x": "{{ missing }}"}), "priorityClassName": a.some("p{{ missing }}")}))
	if a.value(false).or(true) == true {
		pod["restartPolicy"] = "OnFailure"
	}
	spec := map[string]any{"backoffLimit": "{{ backoff_limit }}", "ttlSecondsAfterFinished": "{{ finished_job_ttl }}", "template": map[string]any{"spec": pod}}
	maps.Copy(spec, a.object(15, fields{"activeDeadlineSeconds": func() any { return a.value(600).or("600") }, "backoffLimit": a.some(0, 4), "template": func() any {
		return map[string]any{"metadata": map[string]any{"labels": map[string]any{"pod": "a b", "team": "pod's"}, "annotations": map[string]any{"p": "{{ own }}x"}}, "spec": pod}
	}}))
	metadata := map[string]any{"labels": "{{ labels }}", "annotations": "{{ annotations }}", "namespace": "{{ namespace }}", "generateName": "{{ name }}-"}
	maps.Copy(metadata, a.object(12, fields{
		"generateName": a.some("fixed-", "{{ name }}-{{ image }}-"), "labels": func() any {
			return a.value(map[string]any{"literal": "{{ image }}", "team": "job's"}).or(map[string]any{"n": 1})
		},
		"annotations": a.some(map[string]any{"literal": "{{ own }}."}),
	}))
	manifest := map[string]any{"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
	if a.value(false).or(true) == true {
		manifest["kind"] = "CronJob"
	}
	return manifest
}
