//go:build conformance

package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/e2e/python"
	"github.com/prefect-keda/prefect-keda/job/workpool"
	model "github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

// poolCase is what the real worker and we make a Job of.
type poolCase struct {
	Name           string            `json:"-"`
	FlowRun        json.RawMessage   `json:"flow_run"`
	Flow           json.RawMessage   `json:"flow"`
	Deployment     json.RawMessage   `json:"deployment,omitempty"`
	WorkPool       json.RawMessage   `json:"work_pool"`
	BlockDocuments []blockDocument   `json:"block_documents"`
	Variables      map[string]any    `json:"variables"`
	Environ        map[string]string `json:"environ"`
}

type blockDocument struct {
	ID   string          `json:"id"`
	Slug string          `json:"block_type_slug"`
	Name string          `json:"name"`
	Data json.RawMessage `json:"data"`
}

// poolJob is what came of a case on both sides.
type poolJob struct {
	poolCase
	theirs          *batchv1.Job
	theirsNamespace string
	theirErr        string
	// unfit is why Kubernetes cannot take their Job as it is meant.
	unfit   string
	ours    *batchv1.Job
	oursErr error
}

// TestRenderingIsTheWorkers has the real worker of prefect-kubernetes and us render the same
// cases, written down and generated, and compares the Jobs.
func TestRenderingIsTheWorkers(t *testing.T) {
	cases := writtenCases(t)
	for _, seed := range seeds(t, 400) {
		cases = append(cases, generatedCase(seed))
	}
	var all []poolJob
	for some := range slices.Chunk(cases, 1000) { // each within the time of one process
		all = append(all, renderPools(t, some)...)
	}
	seen, counts := map[string]int{}, map[string]int{}
	for _, r := range all {
		for _, intended := range poolIntentions() {
			if intended.level(&r) {
				seen[intended.why]++
			}
		}
		switch difference := r.compare(); {
		case difference != "":
			counts["different"]++
			text, _ := json.Marshal(r.poolCase)
			t.Errorf("%s: %s\n%s", r.Name, difference, text)
		case r.ours != nil:
			counts["the same Job"]++
		default:
			counts["refused by both"]++
		}
	}
	tell(t, poolIntentions(), seen, counts, len(cases))
	if counts["the same Job"] < len(cases)/2 {
		t.Error("most cases are refused: they say little about Jobs")
	}
}

// Our copy of the default template has the worker's configuration and defaults.
func TestDefaultTemplateIsTheWorkers(t *testing.T) {
	type template struct {
		Configuration any `json:"job_configuration"`
		Variables     struct {
			Properties map[string]struct{ Default any }
		}
	}
	var theirs, ours template
	own, err := os.ReadFile("../../job/workpool/default-template.json")
	if err == nil {
		err = errors.Join(json.Unmarshal(own, &ours), json.Unmarshal([]byte(python3(t, new(bytes.Buffer), "-m", "render_work_pools", "--default-template")), &theirs))
	}
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(theirs.Variables.Properties, func(_ string, of struct{ Default any }) bool { return of.Default == nil })
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("-worker's +ours:\n%s", diff)
	}
}

// writtenCases are the base with each of the patches.
func writtenCases(t *testing.T) []poolCase {
	t.Helper()
	text, err := os.ReadFile("testdata/workpools.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Base  map[string]any
		Cases []struct {
			Name  string
			Patch map[string]any
		}
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	cases := make([]poolCase, 0, len(file.Cases))
	for _, c := range file.Cases {
		made := poolCase{Name: c.Name}
		merged := strings.ReplaceAll(string(marshal(t, patched(file.Base, c.Patch))), `"\u003cnull\u003e"`, "null")
		if err := json.Unmarshal([]byte(merged), &made); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		cases = append(cases, made)
	}
	return cases
}

func patched(base any, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	fields, _ := base.(map[string]any)
	fields = maps.Clone(fields)
	if fields == nil {
		fields = map[string]any{}
	}
	for name, change := range changes {
		if change == nil {
			delete(fields, name)
		} else {
			fields[name] = patched(fields[name], change)
		}
	}
	return fields
}

const poolRun, poolAPI = "6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001", "http://prefect:4200/api"

// renderPools asks both sides.
func renderPools(t *testing.T, cases []poolCase) []poolJob {
	t.Helper()
	var questions bytes.Buffer
	all := make([]poolJob, len(cases))
	for i, c := range cases {
		questions.Write(append(marshal(t, c), '\n'))
		all[i] = poolJob{poolCase: c}
		all[i].ours, all[i].oursErr = c.render(t)
	}
	i := 0
	for line := range strings.Lines(python3(t, &questions, "-m", "render_work_pools")) {
		var answer struct {
			Job                    json.RawMessage
			Namespace, Error, Type string
		}
		if err := json.Unmarshal([]byte(line), &answer); err != nil || i == len(all) {
			t.Fatalf("answer %d of the worker: %v\n%s", i, err, line)
		}
		if r := &all[i]; answer.Type != "" {
			r.theirErr = answer.Type + ": " + answer.Error
		} else {
			r.theirsNamespace = answer.Namespace
			r.theirs, r.unfit = loose(answer.Job)
		}
		i++
	}
	if i != len(all) {
		t.Fatalf("the worker answered %d of %d cases", i, len(all))
	}
	return all
}

func (c poolCase) render(t *testing.T) (*batchv1.Job, error) {
	t.Helper()
	bundle := recipe.Bundle{
		Inputs:         recipe.Inputs{FlowRun: c.FlowRun, Flow: c.Flow, Deployment: c.Deployment, WorkPool: c.WorkPool, ServerVersion: "3.9.1"},
		BlockDocuments: map[string]json.RawMessage{}, Variables: map[string]json.RawMessage{},
	}
	for _, b := range c.BlockDocuments {
		bundle.BlockDocuments[b.ID], bundle.BlockDocuments[b.Slug+"/"+b.Name] = b.Data, b.Data
	}
	for name, v := range c.Variables {
		bundle.Variables[name] = marshal(t, v)
	}
	made, err := workpool.Renderer{
		Settings: workpool.Settings{
			Namespace: "default", Namespaces: []string{"flows"}, WorkerName: "prefect-keda", APIURL: poolAPI,
			DefaultImage: "prefecthq/prefect:3.9.1-python3.11", TemplateEnv: c.Environ, TemplateSecrets: workpool.Inline,
		},
		Source: workpool.FromBundle(bundle),
	}.Render(t.Context(), model.FlowRun{ID: poolRun, Attempt: "s1", Recipe: recipe.Run{Row: c.FlowRun}})
	return made.Job, err
}

// python3 runs a module of e2e/python with Prefect 3, and returns what it printed.
func python3(t *testing.T, stdin *bytes.Buffer, args ...string) string {
	t.Helper()
	python := interpreterOf(t, python.Prefect3())
	modules, err := filepath.Abs("../python")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), python, args...)
	cmd.Env = []string{
		"PATH=" + filepath.Dir(python) + ":" + os.Getenv("PATH"), "HOME=" + home, "PYTHONPATH=" + modules,
		"PREFECT_HOME=" + home, "PREFECT_API_URL=" + poolAPI, "DO_NOT_TRACK=1",
	}
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, problems.String())
	}
	return out.String()
}

// loose is a Job as Kubernetes reads it, and why it does not take it.
func loose(text []byte) (j *batchv1.Job, unfit string) {
	j = &batchv1.Job{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, j); err != nil {
		return j, err.Error()
	}
	return j, ""
}

// compare says how the two differ after all that is meant.
func (r *poolJob) compare() string {
	_, authors := errors.AsType[*model.AuthorError](r.oursErr)
	switch {
	case r.oursErr != nil && !authors:
		return "our error is not the author's: " + r.oursErr.Error()
	case r.oursErr != nil && r.theirErr == "":
		return "only we refuse it: " + r.oursErr.Error()
	case r.oursErr == nil && r.theirErr != "":
		return "only they refuse it: " + r.theirErr
	case r.oursErr != nil:
		return ""
	}
	if r.ours.Namespace != r.theirsNamespace {
		return fmt.Sprintf("our namespace is %q, theirs %q", r.ours.Namespace, r.theirsNamespace)
	}
	r.ours.Namespace, r.theirs.Namespace = "", ""
	return cmp.Diff(r.theirs, r.ours, cmp.Comparer(func(a, b corev1.EnvVar) bool {
		return a.Name == b.Name && a.Value == b.Value && cmp.Equal(a.ValueFrom, b.ValueFrom)
	}))
}

// flowContainers are the containers that run the flow.
func (r *poolJob) flowContainers() (theirs, ours *corev1.Container) {
	find := func(j *batchv1.Job) *corev1.Container {
		all := j.Spec.Template.Spec.Containers
		return &all[slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == workpool.Container })]
	}
	return find(r.theirs), find(r.ours)
}
