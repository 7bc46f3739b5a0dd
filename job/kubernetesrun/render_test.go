package kubernetesrun_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

const runID = "6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001"

func run(runConfig string) prefect.FlowRun {
	return prefect.FlowRun{
		ID: runID, Attempt: "v1", State: prefect.State{Phase: prefect.Waiting}, FlowName: "hello",
		Recipe: recipe.Recipe{
			RunConfig: json.RawMessage(runConfig), FlowID: "0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002",
			CoreVersion: "1.4.1", Storage: json.RawMessage(`{"type":"Local"}`),
		},
	}
}

// of is the run with another flow's storage and core version.
func of(r prefect.FlowRun, storage, core string) prefect.FlowRun {
	made, _ := recipe.Of(r)
	made.Storage, made.CoreVersion = json.RawMessage(storage), core
	r.Recipe = made
	return r
}

func either(text, or string) string {
	if text == "" {
		return or
	}
	return text
}

func settings() kubernetesrun.Settings {
	return kubernetesrun.Settings{
		Namespace: "flows", Labels: []string{"a", "b"}, SendFlowRunLogs: true, Backend: "server", API: "http://127.0.0.1:14200",
	}
}

func inline(yaml string) kubernetesrun.Template {
	return kubernetesrun.Template{YAML: []byte(yaml), FromRun: true}
}

// The Job the real agent was recorded creating for the same run; the differences
// are the intended ones.
func TestRecordedJob(t *testing.T) {
	b, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var want batchv1.Job
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	got, err := kubernetesrun.Render(run(`{"type": "KubernetesRun", "env": {"FOO": "bar"}, "labels": ["k8s"], "image": null, "job_template": null,
		"cpu_limit": "2", "cpu_request": "1", "memory_limit": "8G", "memory_request": "4G", "image_pull_policy": "Always"}`),
		settings(), kubernetesrun.Template{})
	if err != nil {
		t.Fatal(err)
	}
	// Intended: the name is derived instead of random, and the attempt is a label.
	name, identifier := job.Name("", runID, "v1", 0)
	want.Name = name
	for _, labels := range []map[string]string{want.Labels, want.Spec.Template.Labels} {
		labels[kubernetesrun.LabelIdentifier] = identifier
		labels[job.LabelAttempt] = "v1"
	}
	if diff := cmp.Diff(mustJSON(t, &want), mustJSON(t, got)); diff != "" {
		t.Errorf("(-recorded +ours):\n%s", diff)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAuthorErrors(t *testing.T) {
	const pod = "spec: {template: {spec: {containers: [{name: flow}]}}}\n"
	for _, tc := range []struct {
		name, runConfig, storage, core, template, want string
	}{
		{name: "other run config", runConfig: `{"type":"LocalRun"}`, want: "Flow run " + runID + " has a `run_config` of type `LocalRun`, only `KubernetesRun` is supported"},
		{name: "unknown run config", runConfig: `{"type":"MyRun"}`, want: "{'type': ['Unsupported value: MyRun']}"},
		{name: "no type", runConfig: `{}`, want: "{'type': ['Missing data for required field.']}"},
		{name: "number for a string", runConfig: `{"type":"KubernetesRun","cpu_limit":2}`, want: "{'cpu_limit': ['Not a valid string.']}"},
		{name: "null labels", runConfig: `{"type":"UniversalRun","labels":null}`, want: "{'labels': ['Field may not be null.']}"},
		{name: "text for labels", runConfig: `{"type":"UniversalRun","labels":"a"}`, want: "{'labels': ['Not a valid list.']}"},
		{name: "labels of wrong types", runConfig: `{"type":"KubernetesRun","labels":["a",1,null]}`, want: "{'labels': {1: ['Not a valid string.'], 2: ['Field may not be null.']}}"},
		{name: "a number among pull secrets", runConfig: `{"type":"KubernetesRun","image_pull_secrets":["a",1]}`, want: "{'image_pull_secrets': {1: ['Not a valid string.']}}"},
		{name: "two templates", runConfig: `{"type":"KubernetesRun","job_template":{},"job_template_path":"/x"}`, want: "Cannot provide both `job_template_path` and `job_template`"},
		{name: "policy", runConfig: `{"type":"KubernetesRun","image_pull_policy":"Sometimes"}`, want: "Invalid image_pull_policy 'Sometimes'.  Expected 'Always', 'IfNotPresent', or 'Never'"},
		{name: "quantity", runConfig: `{"type":"KubernetesRun","memory_limit":"4 gigs"}`, want: `memory_limit of the run_config is "4 gigs", which is not a quantity Kubernetes understands: write for example 500m or 2 for CPU, 512Mi or 4Gi for memory`},
		{name: "number in env", runConfig: `{"type":"UniversalRun","env":{"A":1}}`, want: `env "A" of the run_config is 1: values of environment variables must be strings, so put it in quotes`},
		{name: "no storage", storage: `null`, want: "the flow has no storage, so its pod could not load it: register the flow with one"},
		{name: "storage", storage: `{"type":"Tape"}`, want: "{'type': ['Unsupported value: Tape']}"},
		{name: "docker storage", storage: `{"type":"Docker","image_name":"x"}`, want: "Docker storage is missing required fields image_name and image_tag"},
		{name: "core version", core: "latest", want: `the flow's core_version "latest" is not a version: register the flow again with a released Prefect`},
		{name: "empty template", template: "# nothing\n", want: "the job template is empty: it must hold one Kubernetes Job"},
		{name: "two documents", template: pod + "---\n" + pod, want: "the job template holds 2 YAML documents: keep one, a Kubernetes Job"},
		{name: "no pod spec", template: "kind: Job\n", want: "the job template has no spec.template.spec: add the pod's spec, for example with one container named flow"},
		{name: "null labels in the template", template: "metadata: {labels: null}\n" + pod, want: "the job template: metadata.labels is null: give it a value or leave it out"},
		{name: "null name", template: "metadata: {name: null}\n" + pod, want: "the job template: metadata.name is null: give it a value or leave it out"},
		{name: "null env", template: "spec: {template: {spec: {containers: [{name: flow, env: null}]}}}", want: "the job template: spec.template.spec.containers[0].env is null: give it a value or leave it out"},
		{name: "variable without a name", template: "spec: {template: {spec: {containers: [{name: flow, env: [{name: A}, {value: x}]}]}}}", want: "the job template: spec.template.spec.containers[0].env[1] has no name: give it one"},
		{name: "what does not fit, all of it and where", template: `
spec:
  backoffLimit: few
  template:
    metadata: {annotations: [a]}
    spec:
      hostNetwork: "yes"
      containers:
      - {name: flow, resources: {limits: {memory: lots, cpu: "1"}, requests: {cpu: [1]}}, imagePulPolicy: Always, env: [{name: A, value: 1}], args: x}
      volumes: [{name: v, emptyDir: {sizeLimit: 1Q i}}]
`, want: `the job template is not a Kubernetes Job: spec.backoffLimit is the text "few": it must be a whole number; ` +
			`spec.template.metadata.annotations is a list: it must be an object; ` +
			`spec.template.spec.containers[0].args is the text "x": it must be a list; ` +
			`spec.template.spec.containers[0].env[0].value is 1: it must be a text; put it in quotes; ` +
			`unknown field "spec.template.spec.containers[0].imagePulPolicy"; ` +
			`spec.template.spec.containers[0].resources.limits.memory is "lots", which is no quantity: give for example 500m, 2 or 1Gi; ` +
			`spec.template.spec.containers[0].resources.requests.cpu is [1], which is no quantity: give for example 500m, 2 or 1Gi; ` +
			`spec.template.spec.hostNetwork is the text "yes": it must be true or false; ` +
			`spec.template.spec.volumes[0].emptyDir.sizeLimit is "1Q i", which is no quantity: give for example 500m, 2 or 1Gi`},
		{name: "misspelt field", template: "spec: {template: {spec: {containers: [{name: flow, imagePulPolicy: Always}]}}}", want: `the job template has fields that no Job has: unknown field "spec.template.spec.containers[0].imagePulPolicy"`},
		{name: "another kind", template: "apiVersion: v1\nkind: Pod\n" + pod, want: "the job template is a v1 Pod; it must be a batch/v1 Job"},
		{name: "another namespace", template: "metadata: {namespace: other}\n" + pod, want: `the job template names the namespace "other", but Jobs run in "flows": remove metadata.namespace`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := of(run(tc.runConfig), either(tc.storage, `{"type":"Local"}`), either(tc.core, "1.4.1"))
			_, err := kubernetesrun.Render(r, settings(), inline(tc.template))
			var author *prefect.AuthorError
			if !errors.As(err, &author) {
				t.Fatalf("error %v is not addressed to the author", err)
			}
			if diff := cmp.Diff(tc.want, author.Message); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What the operator's template lacks fails no run, and is told apart from a
// template server that is away.
func TestOperatorsTemplate(t *testing.T) {
	const (
		good   = "spec: {template: {spec: {containers: [{name: flow}]}}}"
		mend   = ": mend it, or set JOB_TEMPLATE (--job-template) to another; runs without a template of their own wait"
		ofRuns = `{"type":"KubernetesRun","job_template":{"spec":{"template":{"spec":{}}}}}`
	)
	for name, tc := range map[string]struct {
		source    kubernetesrun.Source
		runConfig string
		check     string // what is wrong with the template; empty for nothing
		render    string // what is wrong with the run's Job, and whose it is
	}{
		"good":                           {file(good), "", "", ""},
		"good, and the run is wrong":     {file(good), `{"type":"KubernetesRun","cpu_limit":"many"}`, "", "author"},
		"a typo":                         {file("spec: {templte: {}}"), "", `the launcher's job template https://templates/t.yaml has fields that no Job has: unknown field "spec.templte"` + mend, "operator"},
		"a typo, and the run brings one": {file("spec: {templte: {}}"), ofRuns, `the launcher's job template https://templates/t.yaml has fields that no Job has: unknown field "spec.templte"` + mend, ""},
		"a typo, and the run is wrong":   {file("spec: {templte: {}}"), `{"type":"LocalRun"}`, `the launcher's job template https://templates/t.yaml has fields that no Job has: unknown field "spec.templte"` + mend, "author"},
		"another namespace":              {file("metadata: {namespace: other}\n" + good), "", `the launcher's job template https://templates/t.yaml names the namespace "other", but Jobs run in "flows": remove metadata.namespace` + mend, "operator"},
		"empty":                          {file(""), "", "the job template https://templates/t.yaml is empty: it must hold one Kubernetes Job" + mend, "operator"},
		"missing":                        {broken{&prefect.AuthorError{Message: "doesn't exist"}}, "", "doesn't exist" + mend, "operator"},
		"away": {
			broken{errors.New("503")},
			"",
			"read job template: 503: see that JOB_TEMPLATE (--job-template) can be reached from the launcher; runs without a template of their own wait", "passing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings()
			s.JobTemplate = "https://me:canary@templates/t.yaml?signature=canary"
			r := kubernetesrun.Renderer{Settings: s, Source: tc.source}
			got := ""
			if err := r.CheckTemplate(t.Context()); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.check, got); diff != "" {
				t.Errorf("what the check says (-want +got):\n%s", diff)
			}
			_, err := r.Render(t.Context(), run(tc.runConfig))
			if got := addressee(err); got != tc.render {
				t.Errorf("rendering: %v is for %q, want %q", err, got, tc.render)
			}
		})
	}
}

// broken is a source that has nothing.
type broken struct{ err error }

func (b broken) Read(context.Context, string) ([]byte, error) { return nil, b.err }

// addressee is whom an error of rendering is for.
func addressee(err error) string {
	author, isAuthors := errors.AsType[*prefect.AuthorError](err)
	template, isOperators := errors.AsType[*job.TemplateError](err)
	switch {
	case err == nil:
		return ""
	case isAuthors && isOperators:
		return "two: " + author.Message
	case isAuthors:
		return "author"
	case isOperators && template.Passing:
		return "passing"
	case isOperators:
		return "operator"
	}
	return "nobody"
}

func TestWhoWins(t *testing.T) {
	withPod := func(podSpec string) string { return "spec: {template: {spec: {" + podSpec + "}}}" }
	operator := func(s *kubernetesrun.Settings) {
		s.ServiceAccountName, s.ImagePullSecrets = "launchers", []string{"launchers-secret"}
	}
	for _, tc := range []struct {
		name      string
		runConfig string
		template  kubernetesrun.Template
		settings  func(*kubernetesrun.Settings)
		get       func(*batchv1.Job) any
		want      any
	}{
		{"service account of the run config", `{"type":"KubernetesRun","service_account_name":"run"}`, inline(withPod("serviceAccountName: tmpl")), operator, account, "run"},
		{"service account of the run's template", "", inline(withPod("serviceAccountName: tmpl")), operator, account, "tmpl"},
		{"service account: null in the run's template counts as given", "", inline(withPod("serviceAccountName: null")), operator, account, ""},
		{"the launcher's account over its own template's", "", kubernetesrun.Template{YAML: []byte(withPod("serviceAccountName: tmpl"))}, operator, account, "launchers"},
		{"an empty SERVICE_ACCOUNT_NAME does not clobber the launcher's template", "", kubernetesrun.Template{YAML: []byte(withPod("serviceAccountName: tmpl"))}, nil, account, "tmpl"},
		{"pull secrets are replaced, never merged", `{"type":"KubernetesRun","image_pull_secrets":["x"]}`, inline(withPod("imagePullSecrets: [{name: old}]")), operator, secrets, []corev1.LocalObjectReference{{Name: "x"}}},
		{"image of Docker storage", "", inline(withPod("containers: [{name: a, image: tmpl}]")), nil, imageOf, "tmpl"},
		{"image of the run config", `{"type":"KubernetesRun","image":"run"}`, inline(withPod("containers: [{name: a, image: tmpl}]")), nil, imageOf, "run"},
		{"image by core version", "", kubernetesrun.Template{}, nil, imageOf, "prefecthq/prefect:1.4.1"},
		{"an empty image in the template is none", "", inline(withPod(`containers: [{image: ""}]`)), nil, imageOf, "prefecthq/prefect:1.4.1"},
		{"restart policy of the template", "", inline(withPod("restartPolicy: OnFailure")), nil, func(j *batchv1.Job) any { return j.Spec.Template.Spec.RestartPolicy }, corev1.RestartPolicyOnFailure},
		{"no backoff limit is added", "", kubernetesrun.Template{}, nil, func(j *batchv1.Job) any { return j.Spec.BackoffLimit }, (*int32)(nil)},
		{"args are overwritten, command stays", "", inline(withPod("containers: [{command: [tini], args: [x]}]")), nil, func(j *batchv1.Job) any {
			c := j.Spec.Template.Spec.Containers[0]
			return append(c.Command, c.Args...)
		}, []string{"tini", "prefect", "execute", "flow-run"}},
		{"ttl when finished Jobs are deleted", "", kubernetesrun.Template{}, func(s *kubernetesrun.Settings) { s.DeleteFinishedJobs, s.TTLSeconds = true, 900 }, ttl, int32(900)},
		{"ttl has a floor", "", kubernetesrun.Template{}, func(s *kubernetesrun.Settings) { s.DeleteFinishedJobs = true }, ttl, int32(300)},
		{"a template's ttl has it too", "", inline("spec: {ttlSecondsAfterFinished: 0, template: {spec: {}}}"), nil, ttl, int32(300)},
		{"no ttl when Jobs are kept", "", kubernetesrun.Template{}, nil, ttl, int32(-1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := settings()
			if tc.settings != nil {
				tc.settings(&s)
			}
			j, err := kubernetesrun.Render(run(tc.runConfig), s, tc.template)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, tc.get(j)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func account(j *batchv1.Job) any { return j.Spec.Template.Spec.ServiceAccountName }
func secrets(j *batchv1.Job) any { return j.Spec.Template.Spec.ImagePullSecrets }
func imageOf(j *batchv1.Job) any { return j.Spec.Template.Spec.Containers[0].Image }

func ttl(j *batchv1.Job) any {
	if j.Spec.TTLSecondsAfterFinished == nil {
		return int32(-1)
	}
	return *j.Spec.TTLSecondsAfterFinished
}

func TestDockerStorageAndOldCores(t *testing.T) {
	r := of(run(""), `{"type":"Docker","registry_url":"gcr.io//p/","image_name":"n","image_tag":"t"}`, "0.13.0rc1")
	j, err := kubernetesrun.Render(r, settings(), kubernetesrun.Template{})
	if err != nil {
		t.Fatal(err)
	}
	c := j.Spec.Template.Spec.Containers[0]
	if diff := cmp.Diff([]string{"gcr.io/p/n:t", "prefect", "execute", "cloud-flow"}, append([]string{c.Image}, c.Args...)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEnvironment(t *testing.T) {
	s := settings()
	s.Env = []kubernetesrun.EnvVar{{Name: "SHARED", Value: "launcher"}, {Name: "L", Value: "1"}, {Name: "PREFECT__BACKEND", Value: "forged"}}
	s.Labels = []string{"it's", `back\slash`, `it's "q"`, "größe\u00a0\u200b\x00\U000e0001\n"}
	s.APIKey, s.TenantID = "secret-key", "tenant"
	s.APIKeySecret = &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "prefect"}, Key: "api-key"}
	j, err := kubernetesrun.Render(run(`{"type":"UniversalRun","env":{"SHARED":"run","R":"2","NULL":null,"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS":"","PREFECT__LOGGING__LEVEL":"DEBUG"}}`), s,
		inline(`spec: {template: {spec: {containers: [{env: [{name: R, value: t}, {name: TWICE, value: a}, {name: FROM, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: TWICE, value: b}]}]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range j.Spec.Template.Spec.Containers[0].Env {
		switch {
		case v.ValueFrom == nil:
			got = append(got, v.Name+"="+v.Value)
		case v.ValueFrom.SecretKeyRef != nil:
			got = append(got, v.Name+" from "+v.ValueFrom.SecretKeyRef.Name+"/"+v.ValueFrom.SecretKeyRef.Key)
		default:
			got = append(got, v.Name+" from "+v.ValueFrom.FieldRef.FieldPath)
		}
	}
	want := []string{
		"PREFECT__LOGGING__LEVEL=DEBUG", "SHARED=run", "L=1", "PREFECT__BACKEND=server", "R=2", "NULL=",
		"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS=",
		`PREFECT__CLOUD__AGENT__LABELS=["it's", 'back\\slash', 'it\'s "q"', 'größe\xa0\u200b\x00\U000e0001\n']`,
		"PREFECT__CLOUD__API=http://127.0.0.1:14200", "PREFECT__CLOUD__API_KEY from prefect/api-key", "PREFECT__CLOUD__TENANT_ID=tenant",
		"PREFECT__CLOUD__USE_LOCAL_SECRETS=false", "PREFECT__CONTEXT__FLOW_RUN_ID=" + runID,
		"PREFECT__CONTEXT__FLOW_ID=0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002", "PREFECT__CONTEXT__IMAGE=prefecthq/prefect:1.4.1",
		"PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS=prefect.engine.cloud.CloudFlowRunner", "PREFECT__LOGGING__LOG_TO_CLOUD=true",
		"PREFECT__CLOUD__AUTH_TOKEN from prefect/api-key", "TWICE=a", "FROM from metadata.name", "TWICE=b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Pods are told the tenant that the client knows of, and it is asked only when
// nothing else tells.
func TestTenantOfPods(t *testing.T) {
	for name, tc := range map[string]struct {
		key, tenant string
		err         error
		want        string
	}{
		"without a key":       {"", "", errors.New("asked"), ""},
		"configured":          {"key", "configured", errors.New("asked"), "configured"},
		"the key's":           {"key", "", nil, "looked up"},
		"cannot be looked up": {"key", "", errors.New("503"), "find the tenant for the flow's pod: 503"},
	} {
		s := settings()
		s.APIKey, s.TenantID = tc.key, tc.tenant
		made, err := kubernetesrun.Renderer{Settings: s, Tenant: func(context.Context) (string, error) { return "looked up", tc.err }}.Render(t.Context(), run(""))
		got := ""
		switch {
		case addressee(err) == "nobody":
			got = err.Error()
		case err != nil:
			t.Errorf("%s: %v is somebody's fault", name, err)
		default:
			for _, v := range made.Job.Spec.Template.Spec.Containers[0].Env {
				if v.Name == "PREFECT__CLOUD__TENANT_ID" {
					got = v.Value
				}
			}
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestSameInputSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := run("")
		r.ID = rapid.StringMatching(`[0-9a-f-]{1,36}`).Draw(t, "id")
		r.Attempt = prefect.Attempt(fmt.Sprintf("v%d", rapid.IntRange(1, 1000).Draw(t, "version")))
		prefix := rapid.StringMatching(`[a-z][a-z0-9-]{0,60}`).Draw(t, "prefix")
		template := inline("metadata: {name: \"" + prefix + "\"}\nspec: {template: {spec: {}}}")
		a, errA := kubernetesrun.Render(r, settings(), template)
		b, errB := kubernetesrun.Render(r, settings(), template)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatal(diff)
		}
		if problems := validation.IsDNS1123Subdomain(a.Name); len(a.Name) > 57 || len(problems) > 0 {
			t.Fatalf("name %q: %v", a.Name, problems)
		}
		if problems := validation.IsValidLabelValue(a.Labels[job.LabelAttempt]); len(problems) > 0 {
			t.Fatal(problems)
		}
	})
}

func TestNamesTellAttemptsApart(t *testing.T) {
	seen := map[string]bool{}
	for _, attempt := range []prefect.Attempt{"v1", "v2", "retry-t-v1"} {
		for n := range 3 {
			name, identifier := job.Name("prefix", runID, attempt, n)
			if seen[name] || !strings.HasSuffix(name, "-"+identifier) || len(identifier) != 8 {
				t.Errorf("Name(%s, %d) = %s, %s", attempt, n, name, identifier)
			}
			seen[name] = true
		}
	}
}

func TestWithNameKeepsEverythingElse(t *testing.T) {
	j, err := kubernetesrun.Render(run(""), settings(), kubernetesrun.Template{})
	if err != nil {
		t.Fatal(err)
	}
	renamed := kubernetesrun.Marks().WithName(j, runID, "v1", 1)
	name, identifier := job.Name("", runID, "v1", 1)
	want := j.DeepCopy()
	want.Name, want.Labels[kubernetesrun.LabelIdentifier], want.Spec.Template.Labels[kubernetesrun.LabelIdentifier] = name, identifier, identifier
	if diff := cmp.Diff(want, renamed); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever an author writes, rendering answers with a Job or with an error for the author.
func FuzzRender(f *testing.F) {
	f.Add(`{"type":"KubernetesRun","env":{"A":"b"}}`, `{"type":"Docker"}`, "spec: {template: {spec: {}}}", "1.4.1")
	f.Add(`{"type":"KubernetesRun","job_template":"a: b"}`, `null`, "---\n---\n", "0.12")
	f.Fuzz(func(t *testing.T, runConfig, storage, template, core string) {
		r := of(run(runConfig), storage, core)
		j, err := kubernetesrun.Render(r, settings(), inline(template))
		var author *prefect.AuthorError
		if (j == nil) != (err != nil) || err != nil && !errors.As(err, &author) {
			t.Fatalf("Render = %v, %v", j, err)
		}
	})
}
