//go:build conformance

package conformance

import (
	"encoding/json"
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
	LoggingLevel     string

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
		LoggingLevel: pick(a, "INFO", "DEBUG"),
		Core:         a.value("1.4.1", "1.4.1", "1.4.1", nil, "1.4.1+12.gabc", "0.13.0", "0.12.6", "0.13.0rc1", "0.15.13", "").or("latest"),
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
		u := a.object(80, fields{"env": a.env, "labels": func() any { return a.value([]any{}, []any{"a"}).or(nil) }})
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
		"env": a.env, "labels": func() any { return a.value([]any{}, []any{"a"}).or(nil) },
		"image": a.some("run", "", nil), "cpu_limit": quantity, "cpu_request": quantity, "memory_limit": quantity, "memory_request": quantity,
		"service_account_name": a.some("runs", "", nil), "image_pull_secrets": func() any { return a.value([]any{"runs"}, []any{}, nil, []any{"a", "b"}).or("a") },
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

func (a *author) env() any {
	return a.value(a.object(35, fields{
		"A": a.some("run's", ""), "C": a.some("run's"), "PREFECT__LOGGING__LEVEL": a.some("ERROR"),
		"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": a.some("false", "", "true"), "PREFECT__CLOUD__API_KEY": a.some("forged"),
	}), nil).or(map[string]any{"A": 1}, map[string]any{"A": nil}, []any{}, "A=1")
}

// text is a template as YAML, or as JSON, which is YAML too.
func (a *author) text() string {
	const pod = "spec: {template: {spec: {}}}\n"
	if slip := a.value("").or("\n", "# nothing\n", "a\n", "[]\n", "a: [\n", pod+"---\n"+pod, "null\n", "spec: {template: &a {spec: {}}}\nx: *a\n"); slip != "" {
		return slip.(string)
	}
	j, err := json.Marshal(a.template())
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	y, err := yaml.JSONToYAML(j)
	if err != nil {
		panic(err)
	}
	return pick(a, string(y), string(y), "---\n"+string(y), "# ours\n"+string(y), string(j))
}

func (a *author) template() any {
	labels := func() any {
		return a.value(map[string]any{}, map[string]any{"team": "a"}, map[string]any{"prefect.io/identifier": "forged", "team": "b"}).or(nil, map[string]any{"team": 1})
	}
	metadata := func() any {
		return a.value(a.object(40, fields{
			"name": func() any {
				return a.value("etl", "etl", strings.Repeat("long-", 12), "Upper_case", "ends-", "").or(nil, 1)
			},
			"labels": labels, "annotations": a.some(map[string]any{"a.b/c": "d"}), "namespace": func() any { return a.value("flows").or("other") },
		})).or(nil)
	}
	spec := a.object(15, fields{
		"backoffLimit": a.some(0, 3), "ttlSecondsAfterFinished": a.some(0, 100, 1000), "activeDeadlineSeconds": a.some(600),
		"suspend": a.some(false), "completions": func() any { return a.value(2).or("2") },
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
		return a.value(a.object(60, fields{"cpu": a.some("100m", "4", 1, 0.5), "memory": a.some("1Gi", "64M"), "nvidia.com/gpu": a.some(1, "1")})).or(nil, map[string]any{"cpu": "a lot"}, 1)
	}
	return a.typo(a.object(45, fields{
		"name": a.some("flow", "flow", "main"), "image": a.some("templates", "", nil), "command": a.some([]any{"tini", "--"}, []any{"sh", "-c"}),
		"args": a.some([]any{"lost"}, nil), "imagePullPolicy": a.some("Always", "Never", nil), "workingDir": a.some("/w"),
		"resources": func() any { return a.value(a.object(60, fields{"requests": resource, "limits": resource})).or(nil) },
		"env": func() any {
			env := []any{}
			for _, name := range []string{"A", "T", "PREFECT__LOGGING__LEVEL", "PREFECT__CLOUD__API_KEY", "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", "T"} {
				if a.often(35) {
					env = append(env, pick(a, map[string]any{"name": name, "value": "template's"}, map[string]any{"name": name},
						map[string]any{"name": name, "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "s", "key": "k"}}}))
				}
			}
			return a.value(env).or(nil, map[string]any{"A": "1"}, []any{map[string]any{"value": "nameless"}}, []any{map[string]any{"name": "N", "value": 1}})
		},
	}), "imagePulPolicy")
}
