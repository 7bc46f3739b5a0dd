package workpool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/workpool"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

const runID = "6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001"

// asked is a flow run for a test. What it leaves out is the default's.
type asked struct {
	// run and deployment are job variables as JSON; deployment "-" is none.
	run, deployment string
	name, version   string
	// edit changes values of the default template: path → JSON, or nothing to remove it.
	edit     map[string]string
	settings func(*workpool.Settings)
	blocks   map[string]string
}

const manifest, pod, flowContainer = "job_configuration.job_manifest.", manifest + "spec.template.spec.", pod + "containers.0."

func (a asked) bundle(t testing.TB) recipe.Bundle {
	t.Helper()
	var template any
	raw, err := os.ReadFile("default-template.json")
	if err == nil {
		err = json.Unmarshal(raw, &template)
	}
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range a.edit {
		template = edited(t, template, strings.Split(path, "."), text)
	}
	if raw, err = json.Marshal(template); err != nil {
		t.Fatal(err)
	}
	b := recipe.Bundle{
		Inputs: recipe.Inputs{
			FlowRun:       row(runID, or(a.name, "sturdy-viper"), `"job_variables": `+or(a.run, "{}")),
			Flow:          row("0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002", "My Flow", `"tags": ["a"]`),
			WorkPool:      row("22222222-6ed1-4d08-9b5c-1d1bdb6a0004", "k8s demo", `"base_job_template": `+string(raw)),
			ServerVersion: or(a.version, "3.9.1"),
		},
		BlockDocuments: map[string]json.RawMessage{}, Variables: map[string]json.RawMessage{"region": json.RawMessage(`"eu"`)},
	}
	if a.deployment != "-" {
		b.Deployment = row("11111111-6ed1-4d08-9b5c-1d1bdb6a0003", "My Deployment", `"updated": "2026-11-23T16:30:27.805Z", "job_variables": `+or(a.deployment, "{}"))
	}
	for name, data := range a.blocks {
		b.BlockDocuments[name] = json.RawMessage(data)
	}
	return b
}

func row(id, name, more string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"id": %q, "name": %q, %s}`, id, name, more))
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func edited(t testing.TB, in any, path []string, text string) any {
	t.Helper()
	if len(path) == 0 {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return v
	}
	switch in := in.(type) {
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil {
			t.Fatal(err)
		}
		in[i] = edited(t, in[i], path[1:], text)
		return in
	case map[string]any:
		if len(path) == 1 && text == "" {
			delete(in, path[0])
		} else {
			in[path[0]] = edited(t, in[path[0]], path[1:], text)
		}
		return in
	}
	t.Fatalf("nothing at %s", strings.Join(path, "."))
	return nil
}

func settings() workpool.Settings {
	return workpool.Settings{Namespace: "flows", WorkerName: "prefect-keda", APIURL: "http://prefect:4200/api", DeleteFinishedJobs: true, TTLSeconds: 600}
}

func (a asked) render(t *testing.T) (job.Rendering, error) {
	t.Helper()
	s := settings()
	if a.settings != nil {
		a.settings(&s)
	}
	r := workpool.Renderer{Settings: s, Source: workpool.FromBundle(a.bundle(t))}
	return r.Render(t.Context(), prefect.FlowRun{ID: runID, Attempt: "s1", Recipe: recipe.Run{}})
}

func (a asked) rendered(t *testing.T) job.Rendering {
	t.Helper()
	made, err := a.render(t)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func flow(t *testing.T, j *batchv1.Job) corev1.Container {
	t.Helper()
	for _, c := range j.Spec.Template.Spec.Containers {
		if c.Name == workpool.Container {
			return c
		}
	}
	t.Fatal("no container for the flow")
	return corev1.Container{}
}

func env(t *testing.T, j *batchv1.Job) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, v := range flow(t, j).Env {
		if all[v.Name] = v.Value; v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
			all[v.Name] = "secret " + v.ValueFrom.SecretKeyRef.Name + " " + v.ValueFrom.SecretKeyRef.Key
		}
	}
	return all
}

// A run that says nothing has the default Job.
func TestDefault(t *testing.T) {
	labels := map[string]string{
		"prefect.io/flow-run-id": runID, "prefect.io/flow-run-name": "sturdy-viper", "prefect.io/version": "3.9.1",
		"prefect.io/work-pool-name": "k8s-demo", "prefect.io/work-pool-id": "22222222-6ed1-4d08-9b5c-1d1bdb6a0004", "prefect.io/worker-name": "prefect-keda",
		"prefect.io/flow-id": "0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002", "prefect.io/flow-name": "My-Flow",
		"prefect.io/deployment-id": "11111111-6ed1-4d08-9b5c-1d1bdb6a0003", "prefect.io/deployment-name": "My-Deployment", "prefect.io/deployment-updated": "2026-11-23T16-30-27.805000-00-00",
		"app.kubernetes.io/managed-by": "prefect", "app.kubernetes.io/part-of": "prefect", "app.kubernetes.io/version": "3.9.1", "app.kubernetes.io/name": "My-Deployment",
		"prefect-keda.io/attempt": "s1",
	}
	name, _ := job.Name("sturdy-viper", runID, "s1", 0)
	want := &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "flows", Labels: labels},
		Spec: batchv1.JobSpec{
			BackoffLimit: new(int32(0)), TTLSecondsAfterFinished: new(int32(600)),
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{
					Name: "prefect-job", Image: "prefecthq/prefect:3.9.1-python3.12", ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"prefect", "flow-run", "execute"},
					Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{}, Requests: corev1.ResourceList{}},
					Env: []corev1.EnvVar{
						{Name: "PREFECT_API_URL", Value: "http://prefect:4200/api"},
						{Name: "PREFECT__FLOW_RUN_ID", Value: runID},
						{Name: "PREFECT__WORKER_NAME", Value: "prefect-keda"},
						{Name: "PREFECT__FLOW_ID", Value: "0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002"},
						{Name: "PREFECT__FLOW_NAME", Value: "My Flow"},
						{Name: "PREFECT__DEPLOYMENT_ID", Value: "11111111-6ed1-4d08-9b5c-1d1bdb6a0003"},
						{Name: "PREFECT__DEPLOYMENT_NAME", Value: "My Deployment"},
						{Name: "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR", Value: "reschedule"},
					},
				}}},
			},
		},
	}
	made := asked{}.rendered(t)
	if diff := cmp.Diff(want, made.Job); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if made.Secret != nil || made.Warnings != nil || !made.OwnTemplate || !made.NameVaries || made.AuthorsAccount.Name != "" {
		t.Errorf("facts: %+v", made)
	}
	// A pool with no template at all has the same one.
	b := asked{}.bundle(t)
	b.WorkPool = row("22222222-6ed1-4d08-9b5c-1d1bdb6a0004", "k8s demo", `"base_job_template": {}`)
	again, err := workpool.Render(t.Context(), prefect.FlowRun{ID: runID, Attempt: "s1"}, b.Inputs, settings(), workpool.FromBundle(b))
	if diff := cmp.Diff(want, again.Job); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestRunWithoutDeployment(t *testing.T) {
	made := asked{deployment: "-"}.rendered(t)
	if got := made.Job.Labels["app.kubernetes.io/name"]; got != "My-Flow" {
		t.Errorf("name %q", got)
	}
	for _, name := range []string{"prefect.io/deployment-id", "prefect.io/deployment-name", "prefect.io/deployment-updated"} {
		if v, ok := made.Job.Labels[name]; ok {
			t.Errorf("%s: %s", name, v)
		}
	}
	if _, ok := env(t, made.Job)["PREFECT__DEPLOYMENT_ID"]; ok {
		t.Error("the pod is told a deployment")
	}
}

// infra_overrides is Prefect 2's name for job_variables, and its pods have another command.
func TestPrefect2(t *testing.T) {
	b := asked{version: "2.20.26"}.bundle(t)
	b.Deployment = row("1", "d", `"infra_overrides": {"env": {"A": "1"}}`)
	made, err := workpool.Render(t.Context(), prefect.FlowRun{ID: runID, Attempt: "s1"}, b.Inputs, settings(), workpool.FromBundle(b))
	if err != nil {
		t.Fatal(err)
	}
	c := flow(t, made.Job)
	if got := env(t, made.Job)["A"]; got != "1" || c.Image != "prefecthq/prefect:2.20.26-python3.12" || !cmp.Equal(c.Args, []string{"python", "-m", "prefect.engine"}) {
		t.Errorf("A is %q, image %s, args %q", got, c.Image, c.Args)
	}
}

func TestDefaultImage(t *testing.T) {
	for version, want := range map[string]string{
		"3.9.1": "prefecthq/prefect:3.9.1-python3.12", "2.20.26": "prefecthq/prefect:2.20.26-python3.12", "": "prefecthq/prefect:3-latest",
		"3.9.2.dev1": "prefecthq/prefect:3-latest", "2.20.27+1.gabc": "prefecthq/prefect:2-latest", "x": "prefecthq/prefect:3-latest",
	} {
		if got := workpool.DefaultImage(version); got != want {
			t.Errorf("%q: %s, want %s", version, got, want)
		}
	}
	configured := asked{settings: func(s *workpool.Settings) { s.DefaultImage = "ours:1" }}.rendered(t)
	if got := flow(t, configured.Job).Image; got != "ours:1" || configured.Origins.Of("spec.template.spec.containers[0].image") != "PREFECT_KEDA_DEFAULT_IMAGE" {
		t.Errorf("image %s", got)
	}
}

func TestNamespace(t *testing.T) {
	const refused = `is none that Jobs are created in here: use flows or team-a, or ask the launcher's operator to add it to PREFECT_KEDA_JOB_NAMESPACES`
	more := func(s *workpool.Settings) { s.Namespaces = []string{"team-a", "flows"} }
	const schema = "variables.properties.namespace.default"
	for name, c := range map[string]struct {
		asked
		want, from string
	}{
		"nobody has chosen":              {asked{}, "flows", "NAMESPACE of the launcher"},
		"the pool":                       {asked{edit: map[string]string{schema: `"team-a"`}}, "team-a", "the default of namespace in the work pool's base job template"},
		"the run over the pool":          {asked{run: `{"namespace": "flows"}`, edit: map[string]string{schema: `"team-a"`}}, "flows", "job_variables.namespace of the flow run"},
		"the deployment":                 {asked{deployment: `{"namespace": "team-a"}`}, "team-a", "job_variables.namespace of the deployment"},
		"default, chosen by somebody":    {asked{run: `{"namespace": "default"}`}, `the namespace "default", which is from job_variables.namespace of the flow run, ` + refused, ""},
		"default in the template":        {asked{edit: map[string]string{"job_configuration.namespace": `"default"`}}, `the namespace "default", which is from the work pool's base job template, ` + refused, ""},
		"one that is not ours":           {asked{run: `{"namespace": "kube-system"}`}, `the namespace "kube-system", which is from job_variables.namespace of the flow run, ` + refused, ""},
		"null and empty are none":        {asked{run: `{"namespace": null}`, deployment: `{"namespace": ""}`}, "flows", "NAMESPACE of the launcher"},
		"no text":                        {asked{run: `{"namespace": 3}`}, "namespace, which is from job_variables.namespace of the flow run, is a number: it must be a text", ""},
		"only in the manifest":           {asked{edit: map[string]string{manifest + "metadata.namespace": `"team-a"`}}, "team-a", "the work pool's base job template"},
		"another one in the manifest":    {asked{run: `{"namespace": "flows"}`, edit: map[string]string{manifest + "metadata.namespace": `"team-a"`}}, `namespace is "flows", which is from job_variables.namespace of the flow run, and metadata.namespace of the job_manifest is "team-a", which is from the work pool's base job template: make both the same, or leave one out`, ""},
		"the same again in the manifest": {asked{run: `{"namespace": "team-a"}`, edit: map[string]string{manifest + "metadata.namespace": `"team-a"`}}, "team-a", "job_variables.namespace of the flow run"},
	} {
		t.Run(name, func(t *testing.T) {
			c.settings = more
			made, err := c.render(t)
			got, from := "", ""
			if err != nil {
				got = authors(t, err)
			} else {
				got, from = made.Job.Namespace, made.Origins.Of("metadata.namespace")
			}
			if got != c.want || from != c.from {
				t.Errorf("%s from %q\nwant %s from %q", got, from, c.want, c.from)
			}
		})
	}
}

// authors is the text of an error that is for the author.
func authors(t *testing.T, err error) string {
	t.Helper()
	wrong, ok := errors.AsType[*prefect.AuthorError](err)
	if !ok {
		t.Fatalf("not for the author: %v", err)
	}
	return wrong.Message
}

func TestAuthorErrors(t *testing.T) {
	for name, c := range map[string]struct {
		asked
		want string
	}{
		"another cluster":           {asked{run: `{"cluster_config": {"config": {}, "context_name": "c"}}`}, "cluster_config, which is from job_variables.cluster_config of the flow run, asks for another cluster. Only a worker serves that: run `prefect worker start` for such flow runs, in a work pool of their own, or leave cluster_config out"},
		"a wrong type":              {asked{run: `{"backoff_limit": "two", "cpu_limit": "many"}`}, `the job_manifest does not make a Kubernetes Job: spec.backoffLimit is the text "two": it must be a whole number (from job_variables.backoff_limit of the flow run); spec.template.spec.containers[0].resources.limits.cpu is "many", which is no quantity: give for example 500m, 2 or 1Gi (from job_variables.cpu_limit of the flow run)`},
		"another kind":              {asked{edit: map[string]string{manifest + "kind": `"CronJob"`}}, "the job_manifest is a batch/v1 CronJob, which is from the work pool's base job template: it must be a batch/v1 Job"},
		"restarts":                  {asked{edit: map[string]string{pod + "restartPolicy": `"OnFailure"`}}, `spec.template.spec.restartPolicy is "OnFailure", which is from the work pool's base job template: it must be Never, or one pod would run the flow twice`},
		"no container":              {asked{edit: map[string]string{flowContainer + "name": `"flow"`}}, "the work pool's base job template has no container named prefect-job in its job_manifest.spec.template.spec.containers: give the flow's container that name"},
		"no containers":             {asked{edit: map[string]string{pod + "containers": `{}`}}, "the work pool's base job template has no list of containers in its job_manifest.spec.template.spec: give it one, with a container named prefect-job"},
		"no spec":                   {asked{edit: map[string]string{manifest + "spec": ""}}, "the work pool's base job template has no object spec in its job_manifest: add it, for example from the default template of a new work pool"},
		"no manifest":               {asked{edit: map[string]string{"job_configuration.job_manifest": ""}}, "the work pool's base job template has no object job_manifest in its job_configuration: give it a Kubernetes Job"},
		"no configuration":          {asked{edit: map[string]string{"job_configuration": ""}}, "the work pool's base job template has no object job_configuration: give it one, or reset the template of the work pool"},
		"an open quote":             {asked{deployment: `{"command": "sh -c 'x"}`}, `the command "sh -c 'x", which is from job_variables.command of the deployment, opens a quote that is never closed`},
		"no block":                  {asked{run: `{"env": {"A": "{{ prefect.blocks.secret.none }}"}}`}, "there is no block secret/none, which the work pool, the deployment or the flow run refers to: create it, or change {{ prefect.blocks.secret.none }}"},
		"no block's name":           {asked{run: `{"env": {"A": "{{ prefect.blocks.secret }}"}}`}, "{{ prefect.blocks.secret }} names no block: write {{ prefect.blocks.TYPE.NAME }}, with the slug of the block's type"},
		"nothing in a block":        {asked{run: `{"image": "{{ prefect.blocks.x.y.z }}"}`, blocks: map[string]string{"x/y": `{"a": 1}`}}, `the block x/y has nothing at "z": change {{ prefect.blocks.x.y.z }}`},
		"a block in a text":         {asked{run: `{"image": "a{{ prefect.blocks.x.y }}"}`, blocks: map[string]string{"x/y": `{"a": 1}`}}, `{{ prefect.blocks.x.y }} is an object, which cannot stand inside a text: name one value of the block, for example {{ prefect.blocks.x.y.value }}`},
		"no block document":         {asked{run: `{"env": {"$ref": {"block_document_id": "33"}}}`}, "there is no block document 33, which job_variables.env of the flow run refers to: create the block again, or change the reference"},
		"no reference":              {asked{run: `{"env": {"$ref": "33"}}`}, `$ref, which is from job_variables.env of the flow run, is a text: it must be {"block_document_id": "…"}`},
		"labels of numbers":         {asked{run: `{"labels": {"a": 1}}`}, `"a" in labels, which is from job_variables.labels of the flow run, is a number: it must be a text; put it in quotes`},
		"env as a text":             {asked{run: `{"env": "A=1"}`}, "env, which is from job_variables.env of the flow run, is a text: it must be an object of names and values, or a list of variables as a container has it"},
		"env without a name":        {asked{run: `{"env": [{"value": "1"}]}`}, "env[0], which is from job_variables.env of the flow run, has no name: give it one"},
		"a name as a number":        {asked{run: `{"name": 5}`}, "name, which is from job_variables.name of the flow run, is a number: it must be a text"},
		"our labels":                {asked{run: `{"labels": {"prefect-keda.io/attempt": "x"}}`}, "the work pool's base job template makes a Job with what no flow run's Job may have: metadata.labels.prefect-keda.io/attempt (prefect-keda.io/ is prefect-keda's own), spec.template.metadata.labels.prefect-keda.io/attempt (prefect-keda.io/ is prefect-keda's own): leave it out"},
		"finalizers":                {asked{edit: map[string]string{manifest + "metadata.finalizers": `["a/b"]`}}, "the work pool's base job template makes a Job with what no flow run's Job may have: metadata.finalizers (the Job could not be removed): leave it out"},
		"variables no object":       {asked{run: `[]`}, "job_variables of the flow run is a list: it must be an object"},
		"a refused secret":          {asked{run: `{"env": {"A": "x{{ prefect.blocks.secret.t }}"}}`, blocks: map[string]string{"secret/t": `{"value": "s"}`}, settings: func(s *workpool.Settings) { s.TemplateSecrets = workpool.Refuse }}, "A in env has a value of a block, and everybody would read it who may read Jobs: have the pod read the block itself, or take it from a Secret by secretKeyRef (PREFECT_KEDA_TEMPLATE_SECRETS is refuse)"},
		"a secret of a wrong type":  {asked{run: `{"backoff_limit": "{{ prefect.blocks.secret.t }}"}`, blocks: map[string]string{"secret/t": `{"value": "s3cret"}`}}, "the job_manifest does not make a Kubernetes Job: spec.backoffLimit is of another type than the block's value (from the block secret/t)"},
		"a secret in an open quote": {asked{run: `{"command": "'{{ prefect.blocks.secret.t }}"}`, blocks: map[string]string{"secret/t": `{"value": "s3cret"}`}}, `the command "…", which is from job_variables.command of the flow run with the block secret/t, opens a quote that is never closed`},
		"Pod Security":              {asked{edit: map[string]string{pod + "hostNetwork": "true"}, settings: func(s *workpool.Settings) { s.PodSecurity = "baseline" }}, "the work pool's base job template makes a pod that the Pod Security level baseline, which flows are held to here, does not allow: host namespaces (hostNetwork=true)"},
		"too deep":                  {asked{run: `{"x": ` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`}, "job_variables of the flow run is nested more than 100 deep, and no Job is"},
		"too many values":           {asked{run: `{"x": [` + strings.Repeat("1,", 20_000) + `1]}`}, "job_variables of the flow run has more than 20000 values, and no Job needs as many: have the pod mount what is long from a ConfigMap, or bring it in the image"},
		"too long":                  {asked{run: `{"x": "` + strings.Repeat("1", 3<<19) + `"}`}, "job_variables of the flow run is larger than 1.5 MiB, and Kubernetes takes no such Job: have the pod mount what is long from a ConfigMap, or bring it in the image"},
		"too long together":         {asked{run: `{"name": "` + strings.Repeat("1", 3<<18) + `"}`}, "what the placeholders of the work pool's base job template bring is larger than 1.5 MiB, and Kubernetes takes no such Job: have the pod mount what is long from a ConfigMap, or bring it in the image"},
		"too many references":       {asked{run: references(101)}, "the work pool, the deployment and the flow run refer to more than 100 blocks and variables, and no Job needs as many"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.render(t)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(c.want, authors(t, err)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func references(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"V%d": "{{ prefect.variables.v%d }}"`, i, i))
	}
	return `{"env": {` + strings.Join(all, ",") + `}}`
}

// What Kubernetes or the worker would do without a word, authors are told.
func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		asked
		want []string
	}{
		"an unknown field":       {asked{edit: map[string]string{pod + "nodeSelectr": `{"a": "b"}`}}, []string{"Kubernetes knows no field spec.template.spec.nodeSelectr, which is from the work pool's base job template, and leaves it out"}},
		"several pods":           {asked{edit: map[string]string{pod + "parallelism": "3"}}, []string{"spec.template.spec.parallelism is 3, which is from the work pool's base job template: a flow run is one pod, always"}},
		"the launcher's own":     {asked{edit: map[string]string{flowContainer + "image": `"{{ $REGISTRY }}/x"`}}, []string{"{{ $REGISTRY }} in the work pool's base job template is empty: the launcher's operator would have to add REGISTRY to PREFECT_KEDA_TEMPLATE_ENV"}},
		"a missing variable":     {asked{run: `{"image": "x{{ prefect.variables.none }}"}`}, []string{"there is no Prefect variable none, so {{ prefect.variables.none }} is empty"}},
		"the run's own variable": {asked{run: `{"env": {"PREFECT__FLOW_RUN_ID": "x"}}`}, []string{"PREFECT__FLOW_RUN_ID in env is the flow run's, always"}},
		"a label of no letters":  {asked{name: "🚀", run: `{"labels": {"🚀": "x"}}`}, []string{`"🚀" of the label prefect.io/flow-run-name, which is from the flow run, cannot be a label's value in Kubernetes, so the label is left out`, `the label "🚀", which is from job_variables.labels of the flow run, cannot be a label in Kubernetes and is left out`}},
		"a secret elsewhere": {asked{run: `{"command": "x {{ prefect.blocks.secret.t }}"}`, blocks: map[string]string{"secret/t": `{"value": "s"}`}}, []string{
			"everybody who may read Jobs can read spec.template.spec.containers[0].args[0], which has a value of a block: have the pod take it from env",
			"everybody who may read Jobs can read spec.template.spec.containers[0].args[1], which has a value of a block: have the pod take it from env",
		}},
		"a secret for all": {asked{run: `{"env": {"A": "x{{ prefect.blocks.secret.t }}"}}`, blocks: map[string]string{"secret/t": `{"value": "s"}`}, settings: func(s *workpool.Settings) { s.TemplateSecrets = workpool.Inline }}, []string{"everybody who may read Jobs can read A, which have values of blocks (PREFECT_KEDA_TEMPLATE_SECRETS is inline)"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.rendered(t).Warnings); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Values of blocks are in a Secret, those of others in the Job.
func TestSecretsInEnv(t *testing.T) {
	blocks := map[string]string{"secret/token": `{"value": "hunter2"}`, "aws/c": `{"key": "k", "region": "r"}`, "44": `{"X": "from ref"}`}
	run := `{"env": {"PLAIN": "p", "TOKEN": "{{ prefect.blocks.secret.token }}", "URL": "https://u:{{ prefect.blocks.secret.token }}@h", "ALL": "{{ prefect.blocks.aws.c }}", "REGION": "{{ prefect.variables.region }}"}}`
	made := asked{run: run, blocks: blocks}.rendered(t)
	got := env(t, made.Job)
	secret := made.Secret
	if secret == nil {
		t.Fatal("no Secret")
	}
	for name, want := range map[string]string{"TOKEN": "hunter2", "URL": "https://u:hunter2@h", "ALL": "{'key': 'k', 'region': 'r'}"} {
		if got[name] != "secret "+secret.Name+" "+name || string(secret.Data[name]) != want {
			t.Errorf("%s is %q in the Job and %q in the Secret", name, got[name], secret.Data[name])
		}
	}
	if got["PLAIN"] != "p" || got["REGION"] != "eu" || len(secret.Data) != 3 || secret.Namespace != "flows" || secret.Labels["prefect.io/flow-run-id"] != runID || secret.Immutable == nil {
		t.Errorf("Secret %+v, env %v", secret, got)
	}
	text, err := json.Marshal(made.Job)
	if err != nil || strings.Contains(string(text), "hunter2") || strings.Contains(fmt.Sprint(made.Origins, made.Warnings), "hunter2") {
		t.Errorf("the secret shows: %s, %v", text, err)
	}

	// A block as the whole of env, and names that no Secret may have.
	made = asked{run: `{"env": {"$ref": {"block_document_id": "44"}}}`, blocks: blocks}.rendered(t)
	if string(made.Secret.Data["X"]) != "from ref" {
		t.Errorf("Secret %+v", made.Secret)
	}
	made = asked{run: `{"env": {"A B": "{{ prefect.blocks.secret.token }}"}}`, blocks: blocks}.rendered(t)
	if key := strings.TrimPrefix(env(t, made.Job)["A B"], "secret "+made.Secret.Name+" "); string(made.Secret.Data[key]) != "hunter2" || key == "A B" {
		t.Errorf("Secret %+v", made.Secret)
	}

	// All of env, and the pod still knows its run by what others recognise.
	made = asked{run: `{"env": {"A": "1"}}`, settings: func(s *workpool.Settings) { s.StoreEnvAsSecret = true }}.rendered(t)
	if got := env(t, made.Job); string(made.Secret.Data["A"]) != "1" || got["PREFECT__FLOW_RUN_ID"] != runID {
		t.Errorf("Secret %+v, env %v", made.Secret, got)
	}
}

// The launcher's credentials go by reference, and what an author sets stays.
func TestCredentials(t *testing.T) {
	byReference := func(s *workpool.Settings) {
		s.APIKey, s.AuthString = "not in a Job", "not in a Job"
		s.APIKeySecret = &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "prefect"}, Key: "key"}
		s.AuthStringSecret = &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "prefect"}, Key: "auth"}
	}
	got := env(t, asked{settings: byReference}.rendered(t).Job)
	if got["PREFECT_API_KEY"] != "secret prefect key" || got["PREFECT_API_AUTH_STRING"] != "secret prefect auth" {
		t.Errorf("env %v", got)
	}
	got = env(t, asked{run: `{"env": {"PREFECT_API_KEY": "mine", "PREFECT_API_AUTH_STRING": null}}`, settings: byReference}.rendered(t).Job)
	if _, ok := got["PREFECT_API_AUTH_STRING"]; ok || got["PREFECT_API_KEY"] != "mine" {
		t.Errorf("env %v", got)
	}
	got = env(t, asked{settings: func(s *workpool.Settings) { s.APIKey = "inline" }}.rendered(t).Job)
	if _, ok := got["PREFECT_API_AUTH_STRING"]; ok || got["PREFECT_API_KEY"] != "inline" {
		t.Errorf("env %v", got)
	}
}

func TestLaunchersVariables(t *testing.T) {
	j := asked{run: `{"env": {"B": "run's"}, "image": "i/{{ $ZONE }}"}`, settings: func(s *workpool.Settings) {
		s.Env = []corev1.EnvVar{{Name: "A", Value: "launcher's"}, {Name: "B", Value: "launcher's"}, {Name: "C", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "k"}}}}
		s.TemplateEnv = map[string]string{"ZONE": "z1"}
	}, edit: map[string]string{"variables.properties.env": `{"default": {"Z": "{{ $ZONE }}"}}`, pod + "schedulerName": `"{{ $ZONE }}"`}}.rendered(t).Job
	got := env(t, j)
	want := map[string]string{"A": "launcher's", "B": "run's", "C": "secret s k", "Z": "z1"}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	// A placeholder for the environment counts in the template, not in a variable's value.
	if scheduler, image := j.Spec.Template.Spec.SchedulerName, flow(t, j).Image; scheduler != "z1" || image != "i/{{ $ZONE }}" {
		t.Errorf("scheduler %s, image %s", scheduler, image)
	}
}

// SIGTERM has Prefect or Kubernetes start the run again, never both.
func TestOnTerm(t *testing.T) {
	const name = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"
	for run, want := range map[string]string{
		`{}`: "reschedule", `{"backoff_limit": 2}`: "relinquish", `{"backoff_limit": null}`: "relinquish",
		`{"env": {"` + name + `": ""}}`: "reschedule", `{"env": {"` + name + `": " "}}`: " ", `{"env": [{"name": "` + name + `", "value": ""}]}`: "reschedule",
		`{"env": {"` + name + `": "mine"}}`: "mine", `{"backoff_limit": 2, "env": {"` + name + `": "mine"}}`: "relinquish", `{"env": {"` + name + `": null}}`: "reschedule",
		`{"env": [{"name": "` + name + `", "value": "mine"}]}`: "mine", `{"backoff_limit": 1, "env": [{"name": "` + name + `", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}`: "relinquish",
		`{"env": [{"name": "` + name + `", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}`: "secret s k",
	} {
		if got := env(t, asked{run: run}.rendered(t).Job)[name]; got != want {
			t.Errorf("%s: %s, want %s", run, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	const name = manifest + "metadata."
	for what, c := range map[string]struct {
		asked
		want string
	}{
		"the run's":                {asked{name: "Größe, 1,000"}, "grosse-1000"},
		"long":                     {asked{name: strings.Repeat("A", 60)}, strings.Repeat("a", 45)},
		"nothing is left":          {asked{name: "🚀"}, "prefect-job"},
		"a variable":               {asked{run: `{"name": "My Job Name"}`}, "my-job-name"},
		"a variable of nothing":    {asked{run: `{"name": ""}`}, "sturdy-viper"},
		"null":                     {asked{run: `{"name": null}`}, "sturdy-viper"},
		"in the context":           {asked{run: `{"name": "{{ ctx.flow.name }}-{{ ctx.flow_run.name }}-{{ ctx.flow.tags[0] }}{{ ctx.nope }}"}`}, "my-flow-sturdy-viper-a"},
		"generateName":             {asked{edit: map[string]string{name + "generateName": `"Fixed Name-"`}}, "fixed-name"},
		"generateName that fits":   {asked{edit: map[string]string{name + "generateName": `"a--b-"`}}, "a--b"},
		"generateName of nothing":  {asked{edit: map[string]string{name + "generateName": `"{{ x }}-"`}}, "sturdy-viper"},
		"name over generateName":   {asked{edit: map[string]string{name + "name": `"This"`}}, "this"},
		"neither":                  {asked{edit: map[string]string{name + "generateName": ""}}, "sturdy-viper"},
		"no metadata":              {asked{edit: map[string]string{manifest + "metadata": "null"}}, "sturdy-viper"},
		"the configuration's name": {asked{edit: map[string]string{"job_configuration.name": `"Lit"`}}, "lit"},
	} {
		t.Run(what, func(t *testing.T) {
			made := c.rendered(t)
			if got, _ := job.Name(c.want, runID, "s1", 0); made.Job.Name != got || made.Job.GenerateName != "" {
				t.Errorf("%s, want %s", made.Job.Name, got)
			}
		})
	}
}

// A sidecar may stand before the flow's container, and gets nothing that is the flow's.
func TestSidecars(t *testing.T) {
	j := asked{run: `{"env": {"A": "1"}, "command": "x"}`, edit: map[string]string{pod + "containers": `[{"name": "beside", "image": "b"}, {"name": "prefect-job", "env": [{"name": "A", "value": "literal"}, {"name": "L", "value": "literal"}]}, {"name": "after"}]`}}.rendered(t).Job
	c := j.Spec.Template.Spec.Containers
	if len(c) != 3 || c[0].Args != nil || c[0].Env != nil || c[2].Image != "" || c[1].Image == "" {
		t.Errorf("containers %+v", c)
	}
	got := env(t, j)
	if got["A"] != "1" || got["L"] != "literal" || c[1].Env[len(c[1].Env)-1].Name != "L" {
		t.Errorf("env %v", got)
	}
}

func TestOrigins(t *testing.T) {
	made := asked{
		run: `{"image": "i", "env": {"A": "1", "B": "x{{ prefect.variables.region }}"}, "labels": {"team": "t"}}`, deployment: `{"env": {"D": "1"}, "cpu_limit": "1", "finished_job_ttl": 5, "service_account_name": "runs"}`,
		edit: map[string]string{"variables.properties.env": `{"default": {"P": "1"}}`, pod + "nodeSelector": `{"a": "b"}`},
	}.rendered(t)
	const path = "spec.template.spec.containers[0]."
	want := map[string]string{
		path + "image": "job_variables.image of the flow run", path + "env[A]": "job_variables.env of the flow run", path + "env[B]": "job_variables.env of the flow run with the Prefect variable region",
		path + "env[D]": "job_variables.env of the deployment", path + "env[P]": "the default of env in the work pool's base job template", path + "env[PREFECT_API_URL]": "PREFECT_API_URL of the launcher",
		path + "env[PREFECT__FLOW_RUN_ID]": "the flow run", path + "imagePullPolicy": "the default of image_pull_policy in the work pool's base job template", path + "args": "by default",
		path + "resources.limits.cpu": "job_variables.cpu_limit of the deployment", "spec.template.spec.nodeSelector.a": "the work pool's base job template", "spec.backoffLimit": "the default of backoff_limit in the work pool's base job template",
		"metadata.labels.team": "job_variables.labels of the flow run", "spec.template.metadata.labels.prefect.io/flow-name": "the flow run", "metadata.name": "the flow run's name, and the attempt at the flow run",
		"spec.ttlSecondsAfterFinished": "the least there may be; the template has 5", "spec.template.spec.serviceAccountName": "job_variables.service_account_name of the deployment", "kind": "always",
	}
	for at, from := range want {
		if got := made.Origins.Of(at); got != from {
			t.Errorf("%s: %q, want %q", at, got, from)
		}
	}
	if want := (job.Account{Name: "runs", Field: "serviceAccountName, which is from job_variables.service_account_name of the deployment"}); made.AuthorsAccount != want {
		t.Errorf("account %+v", made.AuthorsAccount)
	}
	if ttl := made.Job.Spec.TTLSecondsAfterFinished; ttl == nil || *ttl != job.MinTTLSeconds {
		t.Errorf("ttl %v", ttl)
	}
}

// The run's id is the run's, whatever labels authors write.
func TestLabelsOfAuthors(t *testing.T) {
	j := asked{run: `{"labels": {"prefect.io/flow-run-id": "forged", "prefect.io/flow-name": "mine", "Foo Bar/Baz Qux": "V V", "foo/Baz Qux": "V V", "e": ""}, "annotations": {"Any Key": "Any V"}}`, edit: map[string]string{
		"job_configuration.job_manifest.metadata.labels": `{"job only": "1", "e": "job's"}`, manifest + "spec.template.metadata": `{"labels": {"pod only": "2"}, "annotations": {"pod a": "3"}}`,
	}}.rendered(t).Job
	for name, want := range map[string]string{"prefect.io/flow-run-id": runID, "prefect.io/flow-name": "mine", "foo/Baz-Qux": "V-V", "e": "", "job-only": "1"} {
		if got, ok := j.Labels[name]; !ok || got != want {
			t.Errorf("%s of the Job is %q", name, got)
		}
	}
	if got, ok := j.Labels["Foo-Bar/Baz-Qux"]; ok { // Kubernetes refuses it
		t.Errorf("Foo-Bar/Baz-Qux is %q", got)
	}
	pods := j.Spec.Template
	if _, ok := pods.Labels["job-only"]; ok || pods.Labels["pod-only"] != "2" || pods.Labels["prefect.io/flow-run-id"] != runID || pods.Annotations["pod-a"] != "3" || pods.Annotations["Any-Key"] != "Any V" || j.Annotations["Any-Key"] != "Any V" {
		t.Errorf("pod %+v", pods.ObjectMeta)
	}
}

// A Job is one pod, whatever the template has.
func TestOnePod(t *testing.T) {
	j := asked{edit: map[string]string{manifest + "spec.parallelism": "4", manifest + "spec.completions": "4", manifest + "status": `{"active": 3}`, pod + "restartPolicy": ""}}.rendered(t).Job
	if *j.Spec.Parallelism != 1 || *j.Spec.Completions != 1 || j.Status.Active != 0 || j.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("%+v", j)
	}
}

// The neutral run needs no API, and is not held against what authors must keep to.
func TestNeutral(t *testing.T) {
	r := workpool.Renderer{Settings: settings()}
	r.Settings.PodSecurity = "restricted"
	for _, own := range []bool{true, false} {
		made, err := r.Render(t.Context(), r.Neutral(own))
		if err != nil || made.Job.Namespace != "flows" || flow(t, made.Job).Image != "prefecthq/prefect:3-latest" || made.Warnings != nil {
			t.Errorf("%+v, %v", made, err)
		}
	}
	if err := r.CheckTemplate(t.Context()); err != nil {
		t.Error(err)
	}
}

// away is a source that does not answer.
type away struct{ err error }

func (a away) Inputs(context.Context, prefect.FlowRun) (recipe.Inputs, error) {
	return recipe.Inputs{}, a.err
}
func (a away) Block(context.Context, string, string) (any, error)         { return nil, a.err }
func (a away) BlockByID(context.Context, string) (any, error)             { return nil, a.err }
func (a away) Variable(context.Context, string) (v any, ok bool, e error) { return nil, false, a.err }

// A server that is away is nobody's mistake.
func TestAway(t *testing.T) {
	gone := errors.New("connection refused")
	if _, err := (workpool.Renderer{Settings: settings(), Source: away{gone}}).Render(t.Context(), prefect.FlowRun{ID: runID, Recipe: recipe.Run{}}); !errors.Is(err, gone) {
		t.Errorf("inputs: %v", err)
	}
	for _, run := range []string{`{"image": "{{ prefect.blocks.a.b }}"}`, `{"image": "{{ prefect.variables.a }}"}`, `{"env": {"$ref": {"block_document_id": "1"}}}`} {
		_, err := workpool.Render(t.Context(), prefect.FlowRun{ID: runID, Attempt: "s1"}, asked{run: run}.bundle(t).Inputs, settings(), away{gone})
		if _, authors := errors.AsType[*prefect.AuthorError](err); authors || !errors.Is(err, gone) {
			t.Errorf("%s: %v", run, err)
		}
	}
	fault := &prefect.AuthorError{Message: "known before"}
	if _, err := (workpool.Renderer{}).Render(t.Context(), prefect.FlowRun{Fault: fault}); !errors.Is(err, fault) {
		t.Errorf("fault: %v", err)
	}
}

// counted answers each question once.
type counted struct {
	workpool.Source
	asked map[string]int
}

func (c counted) Block(ctx context.Context, slug, name string) (any, error) {
	c.asked[slug+"/"+name]++
	return map[string]any{"value": []any{1, "x"}, "more": nil}, nil
}

// Answers may be decoded, and no question is put twice.
func TestReferencesAreAskedForOnce(t *testing.T) {
	ask := counted{workpool.FromBundle(recipe.Bundle{}), map[string]int{}}
	made, err := workpool.Render(t.Context(), prefect.FlowRun{ID: runID, Attempt: "s1"}, asked{run: `{"env": {"A": "{{ prefect.blocks.a.b }}", "B": "{{ prefect.blocks.a.b.value[1] }}"}}`}.bundle(t).Inputs, settings(), ask)
	if err != nil || ask.asked["a/b"] != 1 || string(made.Secret.Data["A"]) != "{'more': None, 'value': [1, 'x']}" || string(made.Secret.Data["B"]) != "x" {
		t.Errorf("asked %v, %+v, %v", ask.asked, made.Secret, err)
	}
}
