//go:build conformance

package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// rendering is a case of the corpus: an agent's settings, and a flow run it is to
// render.
type rendering struct {
	ServiceAccount   *string
	ImagePullSecrets []string
	Template         string // the agent's; empty for none
	Labels           []string
	Env              [][2]string // in order
	SendLogs         bool
	Key              bool
	// Tenant is configured; otherwise it is looked up.
	Tenant bool
	// Slash ends the API's URL.
	Slash        bool
	Backend      string
	LoggingLevel string
	// Web has templates that are given by location on a web server; else they are files.
	Web bool

	RunConfig any
	// ByPath is what the run config's job_template_path leads to; empty for none.
	ByPath  string
	Storage any
	Core    any
}

// author writes what authors and operators write, in any combination that makes
// sense, and slips now and then. It slips once per case at the most, so that
// there is no doubt which error is to be told.
type author struct {
	*rand.Rand
	slips int
	// raw is what stands in a text for its markers, which is set while a text is written.
	raw map[string]string
}

// plain is a value that YAML has words of its own for, where a text is written.
func (a *author) plain(otherwise any, right ...string) any {
	return a.plainOr(otherwise, nil, right...)
}

func (a *author) plainOr(otherwise any, wrong []string, right ...string) any {
	if a.raw == nil || a.often(60) {
		return otherwise
	}
	text := pick(a, right...)
	if len(wrong) > 0 {
		text = a.value(text).or(pick(a, wrong...)).(string)
	}
	marker := fmt.Sprintf("__raw%d__", len(a.raw))
	a.raw[marker] = text
	return marker
}

// unmarked is a text with what its markers stand for; JSON has them in quotes.
func (a *author) unmarked(text string) string {
	for marker, raw := range a.raw {
		for _, m := range []string{`"` + marker + `":`, marker + ":"} {
			text = strings.ReplaceAll(text, m, raw+": ")
		}
		for _, m := range []string{`"` + marker + `"`, marker} {
			text = strings.ReplaceAll(text, m, raw)
		}
	}
	return text
}

// newRendering is a case; the same seed makes the same one.
func newRendering(seed uint64) rendering {
	a := &author{Rand: rand.New(rand.NewPCG(seed, 0))}
	if a.often(30) {
		a.slips = 1
	}
	c := rendering{
		ServiceAccount:   pick(a, nil, nil, new(""), new("agents")),
		ImagePullSecrets: pick(a, nil, nil, []string{"agents"}, []string{"agents", "more"}),
		Labels:           pick(a, nil, []string{"a"}, []string{"a", "b c"}, []string{"it's"}, []string{`"q"`, `it's "q"`}, []string{`back\slash`, "new\nline"}, []string{"größe", "标签", "\u00a0\u200b"}),
		SendLogs:         a.often(80), Key: a.often(50),
		Tenant: a.often(60), Slash: a.often(20), Backend: pick(a, "server", "server", "cloud"), Web: a.often(20),
		LoggingLevel: pick(a, "INFO", "DEBUG"),
		Core:         a.value("1.4.1", "1.4.1", "1.4.1", nil, "1.4.1+12.gabc", "0.13.0", "0.12.6", "0.13.0rc1", "0.15.13", "").or("latest"),
	}
	if c.Backend == "cloud" {
		c.Key = true // or no agent starts
	}
	for _, name := range []string{"A", "B", "PREFECT__LOGGING__LEVEL", "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", "PREFECT__CLOUD__API", "PREFECT__CONTEXT__IMAGE"} {
		if a.often(25) {
			c.Env = append(c.Env, [2]string{name, pick(a, "agent's", "", "false")})
		}
	}
	a.runConfig(&c)
	if k, _ := c.RunConfig.(map[string]any); a.often(45) && c.ByPath == "" && k["job_template"] == nil {
		c.Template = a.text()
	}
	c.Storage = a.storage()
	return c
}

func pick[T any](a *author, choices ...T) T { return choices[a.IntN(len(choices))] }

// often is true that many times of 100.
func (a *author) often(percent int) bool { return a.IntN(100) < percent }

// value is one of some that are right.
func (a *author) value(right ...any) choice { return choice{a, pick(a, right...)} }

type choice struct {
	a     *author
	right any
}

// or is, now and then, one of some that are wrong.
func (c choice) or(wrong ...any) any {
	if c.a.slips > 0 && c.a.often(12) {
		c.a.slips--
		return pick(c.a, wrong...)
	}
	return c.right
}

type fields map[string]func() any

// object has each field that often.
func (a *author) object(percent int, of fields) map[string]any {
	o := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if a.often(percent) {
			o[name] = of[name]()
		}
	}
	return o
}

func (a *author) some(right ...any) func() any { return func() any { return pick(a, right...) } }

// typo is a field that nothing has.
func (a *author) typo(o map[string]any, field string) map[string]any {
	if a.value(false).or(true) == true {
		o[field] = "x"
	}
	return o
}

func (a *author) storage() any {
	switch a.IntN(10) {
	case 0, 1, 2:
		d := a.object(85, fields{"registry_url": a.some("gcr.io/p", "gcr.io//p/", "http://r/", nil, "")})
		d["type"] = "Docker"
		d["image_name"], d["image_tag"] = a.value("name", "dir/name").or(nil, ""), a.value("tag", "v1.2").or(nil, "")
		return d
	case 3:
		return nil
	case 4:
		return map[string]any{"type": "Module", "module": "m", "flows": map[string]any{}, "secrets": []any{}, "labels": []any{}}
	default:
		return a.value(map[string]any{"type": "Local", "flows": map[string]any{}, "directory": "/d"}).or(map[string]any{"type": "Tape"}, map[string]any{})
	}
}

func (a *author) runConfig(c *rendering) {
	switch a.IntN(20) {
	case 0:
		return
	case 1, 2:
		u := a.object(80, fields{"env": a.env, "labels": a.runLabels})
		u["type"] = "UniversalRun"
		c.RunConfig = u
		return
	case 3:
		c.RunConfig = a.value(nil, map[string]any{"type": "UniversalRun"}).or(map[string]any{"type": "LocalRun"}, map[string]any{"type": "DockerRun", "image": "i"},
			map[string]any{"type": "ECSRun"}, map[string]any{"type": "VertexRun"}, map[string]any{"type": "MoonRun"}, map[string]any{}, map[string]any{"type": nil}, map[string]any{"env": map[string]any{}})
		return
	}
	quantity := func() any { return a.value("1", "500m", "2Gi", "8G", "", nil, "1.5").or("many", 2) }
	k := a.object(30, fields{
		"env": a.env, "labels": a.runLabels,
		"image": a.some("run", "", nil), "cpu_limit": quantity, "cpu_request": quantity, "memory_limit": quantity, "memory_request": quantity,
		"service_account_name": a.some("runs", "", nil), "image_pull_secrets": func() any {
			return a.value([]any{"runs"}, []any{}, nil, []any{"a", "b"}).or("a", []any{"a", 1}, []any{nil}, map[string]any{})
		},
		"image_pull_policy": func() any { return a.value("Always", "IfNotPresent", "Never", nil).or("Sometimes", "") },
		"unknown":           a.some(1),
	})
	k["type"] = "KubernetesRun"
	switch a.IntN(10) {
	case 0, 1:
		k["job_template"] = a.template()
	case 2, 3:
		k["job_template"] = a.text()
	case 4, 5:
		c.ByPath = a.text()
		if a.value(false).or(true) == true {
			k["job_template"] = a.template()
		}
	case 6:
		k["job_template"] = nil
	}
	c.RunConfig = k
}

func (a *author) runLabels() any {
	return a.value([]any{}, []any{"a"}).or(nil, "a", []any{"a", 1}, []any{1, true}, []any{nil}, map[string]any{"a": "b"}, 1)
}

// env is in an order of its author's.
func (a *author) env() any {
	var env [][2]string
	for _, v := range []struct {
		name   string
		values []string
	}{
		{"A", []string{"run's", ""}},
		{"C", []string{"run's"}},
		{"PREFECT__LOGGING__LEVEL", []string{"ERROR"}},
		{"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", []string{"false", "", "true"}},
		{"PREFECT__CLOUD__API_KEY", []string{"forged"}},
	} {
		if a.often(35) {
			env = append(env, [2]string{v.name, pick(a, v.values...)})
		}
	}
	a.Shuffle(len(env), func(i, j int) { env[i], env[j] = env[j], env[i] })
	return a.value(ordered(env), nil).or(map[string]any{"A": 1}, map[string]any{"A": nil}, []any{}, "A=1")
}

// text is a template as YAML, or as JSON, which is YAML too.
func (a *author) text() string {
	const pod = "spec: {template: {spec: {}}}\n"
	if slip := a.value("").or("\n", "# nothing\n", "a\n", "[]\n", "a: [\n", pod+"---\n"+pod, "null\n", "spec: {template: &a {spec: {}}}\nx: *a\n"); slip != "" {
		return slip.(string)
	}
	a.raw = map[string]string{}
	defer func() { a.raw = nil }()
	j, err := json.Marshal(a.merging(a.template()))
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	y, err := yaml.JSONToYAML(j)
	if err != nil {
		panic(err)
	}
	return a.unmarked(pick(a, string(y), string(y), "---\n"+string(y), "# ours\n"+string(y), string(j)))
}

// merging has the pod's annotations merge the Job's now and then.
func (a *author) merging(template any) any {
	top, _ := template.(map[string]any)
	metadata, _ := top["metadata"].(map[string]any)
	spec, _ := top["spec"].(map[string]any)
	pod, _ := spec["template"].(map[string]any)
	if metadata == nil || pod == nil || !a.often(40) {
		return template
	}
	mark := func(text string) string {
		marker := fmt.Sprintf("__raw%d__", len(a.raw))
		a.raw[marker] = text
		return marker
	}
	metadata["annotations"] = mark("&shared {a.b/c: d, x: shared}")
	pod["metadata"] = map[string]any{"annotations": mark(a.value(
		"{<<: *shared, x: own}", "{x: own, <<: *shared}", "{<<: *shared}", "{<<: [*shared, {x: later, y: z}]}", "*shared", "{'<<': text}", "{<<: {x: y}, x: z}",
	).or("{<<: text}", "{<<: *nothing}", "{x: one, x: two}", "{<<: *shared, x: one, x: two}").(string))}
	return template
}

func (a *author) template() any {
	labels := func() any {
		return a.value(map[string]any{}, map[string]any{"team": "a"}, map[string]any{a.plain("key", "1", "010", "yes", "1.5", "null", "08", "'1'", "y").(string): "k"}, map[string]any{"prefect.io/identifier": "forged", "team": "b"}).or(nil, map[string]any{"team": 1})
	}
	metadata := func() any {
		return a.value(a.object(40, fields{
			"name": func() any {
				return a.value("etl", "etl", strings.Repeat("long-", 12), "Upper_case", "ends-", "").or(nil, 1)
			},
			"labels": labels, "annotations": func() any {
				return map[string]any{"a.b/c": a.plainOr("d", []string{"yes", "Off", "010", "1_0", "12:30", "0x1F", "1.", ".5", "-1:30.5"},
					"08", "1e3", "y", "N", "0o17", "2001-01-01", "'yes'", "1.4.1", "+.5", "12:60", "~", "0x", "1.5e3")}
			}, "namespace": func() any { return a.value("flows").or("other") }, "finalizers": func() any { return a.value([]any{}).or([]any{"a/b"}) },
		})).or(nil)
	}
	spec := a.object(15, fields{
		"backoffLimit": a.some(0, 3), "ttlSecondsAfterFinished": a.some(0, 100, 1000), "activeDeadlineSeconds": func() any {
			return a.plainOr(600, []string{"08", "1e3", "600.0"}, "0x258", "1_000", "0600", "10:00", "0b11", "+5")
		},
		"suspend": func() any { return a.plainOr(false, []string{"y", "0"}, "off", "No", "on", "TRUE") }, "completions": func() any { return a.value(2).or("2") },
		"parallelism": a.some(0, 1, 3), "manualSelector": func() any { return a.value(false).or(true) },
	})
	pod := map[string]any{"spec": a.value(a.pod()).or(nil)}
	if a.often(30) {
		pod["metadata"] = a.value(a.object(80, fields{"labels": labels, "annotations": a.some(map[string]any{"x": "y"})})).or(nil)
	}
	if a.value(false).or(true) == true {
		delete(pod, "spec")
	}
	spec["template"] = a.value(pod).or(nil)
	top := a.object(70, fields{"apiVersion": func() any { return a.value("batch/v1").or("v1") }, "kind": func() any { return a.value("Job").or("CronJob", "job") }, "metadata": metadata})
	top["spec"] = a.value(a.typo(spec, "parallelisn")).or(nil)
	return a.typo(top, "status_")
}

func (a *author) pod() map[string]any {
	p := a.object(35, fields{
		"serviceAccountName": a.some("templates", "", nil), "imagePullSecrets": a.some([]any{map[string]any{"name": "templates"}}, []any{}, nil),
		"restartPolicy": func() any { return a.value("OnFailure", "Never").or(nil, "") }, "volumes": a.some([]any{map[string]any{"name": "v", "emptyDir": map[string]any{}}}),
		"initContainers": a.some([]any{map[string]any{"name": "first", "image": "i"}}), "nodeSelector": func() any { return a.value(map[string]any{"gpu": "true"}).or(map[string]any{"gpu": true}) },
	})
	switch a.IntN(12) {
	case 0:
		p["containers"] = a.value([]any{}).or(nil, []any{nil}, []any{"flow"})
	case 1:
	case 2, 3:
		p["containers"] = []any{a.container(), map[string]any{"name": "beside", "image": "sidecar", "env": []any{map[string]any{"name": "A", "value": "its own"}}}}
	default:
		p["containers"] = []any{a.container()}
	}
	return a.typo(p, "nodeSelectr")
}

func (a *author) container() any {
	resource := func() any {
		if a.often(4) {
			return nil
		}
		return a.value(a.object(60, fields{"cpu": func() any {
			return a.plain(pick[any](a, "100m", "4", 1, 0.5), "1_000", "010", "0x10", "1e3", "08", ".5", "1.", "1:30", "0b11", "1.5e+3", "0.00001", "1.25", "1:30.5")
		}, "memory": a.some("1Gi", "64M"), "nvidia.com/gpu": a.some(1, "1")})).or(map[string]any{"cpu": "a lot"}, 1)
	}
	return a.typo(a.object(45, fields{
		"name": a.some("flow", "flow", "main"), "image": a.some("templates", "", nil), "command": a.some([]any{"tini", "--"}, []any{"sh", "-c"}),
		"args": a.some([]any{"lost"}, nil), "imagePullPolicy": a.some("Always", "Never", nil), "workingDir": a.some("/w"),
		"resources": func() any { return a.value(a.object(60, fields{"requests": resource, "limits": resource})).or(nil) },
		"env": func() any {
			env := []any{}
			for _, name := range []string{"A", "T", "PREFECT__LOGGING__LEVEL", "PREFECT__CLOUD__API_KEY", "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", "T"} {
				if a.often(35) {
					env = append(env, pick(a, map[string]any{"name": name, "value": a.plain("template's", "08", "1e3", "y", "'on'", "~", "2001-01-01")}, map[string]any{"name": name},
						map[string]any{"name": name, "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "s", "key": "k"}}}))
				}
			}
			return a.value(env).or(nil, map[string]any{"A": "1"}, []any{map[string]any{"value": "nameless"}}, []any{map[string]any{"name": "N", "value": 1}})
		},
	}), "imagePulPolicy")
}
