//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun/source"
	"github.com/prefect-keda/prefect-keda/location"
	model "github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

const (
	flowRun = "6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001"
	flow    = "0f2bdc1b-6ed1-4d08-9b5c-1d1bdb6a0002"
	key     = "key"
)

// rendered is what came of a case on both sides.
type rendered struct {
	rendering

	Theirs   *batchv1.Job
	TheirErr string
	// Unfit is why Kubernetes cannot take their Job as it is meant.
	Unfit   string
	Ours    *batchv1.Job
	OursErr error
}

// intentions are the differences to the agent that are meant.
func intentions() []intention[rendered] {
	return []intention[rendered]{
		{"what is wrong with the agent's own template is told its operator and fails no run; what is wrong is the same", func(r *rendered) bool {
			template, ok := errors.AsType[*job.TemplateError](r.OursErr)
			if !ok || template.Passing {
				return false
			}
			r.OursErr = template.Err
			return true
		}},
		{"a key that is given twice is an error; the agent took the last", func(r *rendered) bool {
			if r.OursErr == nil || r.TheirErr != "" || !strings.Contains(r.OursErr.Error(), "is given twice") {
				return false
			}
			r.TheirErr = r.OursErr.Error()
			return true
		}},
		{"apiVersion and kind are written even if the template has none; Kubernetes takes them from the address", func(r *rendered) bool {
			if r.Ours == nil || r.Theirs == nil || r.Theirs.TypeMeta == r.Ours.TypeMeta {
				return false
			}
			if r.Theirs.Kind == "" {
				r.Theirs.Kind = "Job"
			}
			if r.Theirs.APIVersion == "" {
				r.Theirs.APIVersion = "batch/v1"
			}
			return true
		}},
		{"an empty metadata.name is none; the agent made a name of it that begins with a dash, which Kubernetes refuses", func(r *rendered) bool {
			if r.Ours == nil || r.Theirs == nil || !strings.HasPrefix(r.Theirs.Name, "-") {
				return false
			}
			r.Theirs.Name = "prefect-job" + r.Theirs.Name
			return true
		}},
		{"an empty image in a template is none; the agent kept it, and Kubernetes refuses it", func(r *rendered) bool {
			if r.Ours == nil || r.Theirs == nil || r.Theirs.Spec.Template.Spec.Containers[0].Image != "" {
				return false
			}
			theirs, ours := &r.Theirs.Spec.Template.Spec.Containers[0], &r.Ours.Spec.Template.Spec.Containers[0]
			for i, v := range theirs.Env {
				if v.Name == "PREFECT__CONTEXT__IMAGE" {
					theirs.Env[i].Value = ours.Image
				}
			}
			theirs.Image = ours.Image
			return true
		}},
		{"a restartPolicy that is null or empty is none; the agent kept it, and Kubernetes refuses it", func(r *rendered) bool {
			if r.Ours == nil || r.Theirs == nil || r.Theirs.Spec.Template.Spec.RestartPolicy != "" {
				return false
			}
			r.Theirs.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
			return true
		}},
		{"a core_version that is no version is an error, as it was for the agent with a packaging newer than the one that is pinned here", func(r *rendered) bool {
			if r.OursErr == nil || !strings.Contains(r.OursErr.Error(), "core_version") {
				return false
			}
			r.TheirErr = "InvalidVersion"
			return true
		}},
		{"Docker storage with an empty name or tag is refused; the agent made an image of it that nobody can pull", func(r *rendered) bool {
			if r.OursErr == nil || r.TheirErr != "" || !strings.HasPrefix(r.OursErr.Error(), "Docker storage is missing") {
				return false
			}
			r.TheirErr = r.OursErr.Error()
			return true
		}},
		{"requests and limits that are null are none; the agent stumbled over them if it had a value for them", func(r *rendered) bool {
			if r.Ours == nil || r.TheirErr != "TypeError: 'NoneType' object does not support item assignment" {
				return false
			}
			r.Theirs, r.TheirErr = r.Ours.DeepCopy(), ""
			return true
		}},
		{"finished Jobs go by a time to live, which has a floor", func(r *rendered) bool {
			if r.Ours == nil || r.Theirs == nil || cmp.Equal(r.Ours.Spec.TTLSecondsAfterFinished, r.Theirs.Spec.TTLSecondsAfterFinished) {
				return false
			}
			ttl := r.Theirs.Spec.TTLSecondsAfterFinished
			r.Theirs.Spec.TTLSecondsAfterFinished = new(int32(600))
			if ttl != nil {
				r.Theirs.Spec.TTLSecondsAfterFinished = new(max(*ttl, job.MinTTLSeconds))
			}
			return true
		}},
		{"a run is one pod, whatever parallelism and completions a template has; with the agent several executed it side by side", func(r *rendered) bool {
			if r.Ours == nil || r.Theirs == nil {
				return false
			}
			levelled := false
			for _, n := range []*int32{r.Theirs.Spec.Parallelism, r.Theirs.Spec.Completions} {
				if n != nil && *n != 1 {
					*n, levelled = 1, true
				}
			}
			return levelled
		}},
		{"what makes more of a template than the Job of one flow run is refused", func(r *rendered) bool {
			if r.OursErr == nil || r.TheirErr != "" || !strings.Contains(r.OursErr.Error(), "what no flow run's Job may have") {
				return false
			}
			r.TheirErr = r.OursErr.Error()
			return true
		}},
		{"an empty SERVICE_ACCOUNT_NAME, as install wrote it, is none (prefect1 §9.1-B7)", func(r *rendered) bool {
			if r.Ours == nil || r.Theirs == nil || r.ServiceAccount == nil || *r.ServiceAccount != "" || r.Theirs.Spec.Template.Spec.ServiceAccountName != "" {
				return false
			}
			r.Theirs.Spec.Template.Spec.ServiceAccountName = r.Ours.Spec.Template.Spec.ServiceAccountName
			return r.Ours.Spec.Template.Spec.ServiceAccountName != ""
		}},
		{"a template file that holds nothing is an error, for it was not meant to; the agent went on without", func(r *rendered) bool {
			if r.OursErr == nil || r.TheirErr != "" || !strings.Contains(r.OursErr.Error(), "is empty: it must hold one Kubernetes Job") {
				return false
			}
			r.TheirErr = r.OursErr.Error()
			return true
		}},
		{"what Kubernetes would refuse, or drop without a word, is an error for the author at once, even if the run config would have replaced it", func(r *rendered) bool {
			if r.OursErr == nil || r.TheirErr != "" {
				return false
			}
			if strings.Contains(r.OursErr.Error(), "which is no quantity") {
				r.Unfit = r.OursErr.Error()
			}
			r.TheirErr = r.Unfit
			return r.Unfit != ""
		}},
	}
}

// seeds of generated cases: the first ones, which are the same each time, so that nobody's
// change fails for another's fault, and as many new ones as PREFECT_KEDA_CORPUS says. The
// new ones are for a search: PREFECT_KEDA_CORPUS=40000 make conformance.
func seeds(t *testing.T, fixed int) (all []uint64) {
	t.Helper()
	for i := range fixed {
		all = append(all, uint64(i))
	}
	more := os.Getenv("PREFECT_KEDA_CORPUS")
	if more == "" {
		return all
	}
	fresh, err := strconv.Atoi(more)
	if err != nil {
		t.Fatalf("PREFECT_KEDA_CORPUS is the number of fresh cases: %v", err)
	}
	first := rand.Uint64N(1<<32) + uint64(fixed)
	t.Logf("fresh seeds from %d", first)
	for i := range fresh {
		all = append(all, first+uint64(i))
	}
	return all
}

// TestRenderingIsTheAgents has the real agent and us render the same corpus, and compares
// the Jobs.
func TestRenderingIsTheAgents(t *testing.T) {
	const fixed = 4000
	var cases []rendering
	for _, seed := range seeds(t, fixed) {
		cases = append(cases, newRendering(seed))
	}

	seen, counts, shown := map[string]int{}, map[string]int{}, 0
	var all []rendered
	for some := range slices.Chunk(cases, 1000) { // each within the time of one process
		all = append(all, render(t, some)...)
	}
	for i, r := range all {
		fitting := r.Theirs != nil && r.Ours != nil
		for _, intended := range intentions() {
			if intended.level(&r) && i < fixed {
				seen[intended.why]++
			}
		}
		difference := r.compare()
		switch {
		case difference != "":
			if shown++; shown <= 10 {
				text, _ := json.MarshalIndent(r.rendering, "", " ")
				t.Errorf("case %d: %s\n%s", i, difference, text)
			}
			counts["different"]++
		case fitting:
			counts["the same Job"]++
		default:
			counts["refused by both"]++
		}
	}
	if shown > 10 {
		t.Errorf("and %d more", shown-10)
	}
	tell(t, intentions(), seen, counts, len(cases))
	if counts["the same Job"] < len(cases)/3 {
		t.Error("most cases are refused: the corpus says little about Jobs")
	}
}

// render asks both sides.
func render(t *testing.T, cases []rendering) []rendered {
	t.Helper()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(web.Close)
	// Whoever has a key and no tenant asks for it.
	api := prefecttest.New(prefecttest.Options{Key: key})
	url := api.Start(t)
	tenant := map[string]func(context.Context) (string, error){}
	for _, backend := range []prefect1.Backend{prefect1.Server, prefect1.Cloud} {
		client, err := prefect1.New(prefect1.Options{API: url, Backend: backend, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		tenant[string(backend)] = client.TenantID
	}
	var questions bytes.Buffer
	all := make([]rendered, 0, len(cases))
	for i, c := range cases {
		apiURL := url
		if c.Slash {
			apiURL += "/"
		}
		settings := kubernetesrun.Settings{
			Namespace: "flows", ImagePullSecrets: c.ImagePullSecrets, Labels: c.Labels, LoggingLevel: c.LoggingLevel, SendFlowRunLogs: c.SendLogs,
			Backend: c.Backend, API: apiURL, DeleteFinishedJobs: true, TTLSeconds: 600,
		}
		agent := map[string]any{
			"namespace": "flows", "image_pull_secrets": c.ImagePullSecrets, "labels": c.Labels,
			"env_vars": ordered(c.Env), "no_cloud_logs": !c.SendLogs, "job_template_path": nil,
		}
		config := map[string]any{"cloud.api": apiURL, "backend": c.Backend, "logging.level": c.LoggingLevel}
		environ := map[string]string{}
		if c.ServiceAccount != nil {
			environ["SERVICE_ACCOUNT_NAME"] = *c.ServiceAccount
			settings.ServiceAccountName = *c.ServiceAccount
		}
		for _, v := range c.Env {
			settings.Env = append(settings.Env, kubernetesrun.EnvVar{Name: v[0], Value: v[1]})
		}
		if c.Key {
			config["cloud.api_key"], settings.APIKey = key, key
			if c.Tenant {
				config["cloud.tenant_id"], settings.TenantID = api.Tenant(), api.Tenant()
			}
		}
		// place is where a text can be read, and how that is written.
		place := func(name, text string) string {
			if c.Web {
				file(name, text)
				return web.URL + "/" + name + "?signature=x"
			}
			return file([]string{"", "100%20 ", "50% ", "a+b=c,"}[i/4%4]+name, text)
		}
		if c.Template != "" {
			at := place(fmt.Sprintf("agent-%d.yaml", i), c.Template)
			settings.JobTemplate, agent["job_template_path"] = location.Location(at), at
		}
		if k, ok := c.RunConfig.(map[string]any); ok && c.ByPath != "" {
			k["job_template_path"] = place(fmt.Sprintf("run-%d.yaml", i), c.ByPath)
			if !c.Web {
				k["job_template_path"] = []string{"", "file://", "local://host", "agent:"}[i%4] + k["job_template_path"].(string)
			}
		}
		made := recipe.Recipe{RunConfig: marshal(t, c.RunConfig), FlowID: flow, Storage: marshal(t, c.Storage)}
		made.CoreVersion, _ = c.Core.(string)
		run := model.FlowRun{ID: flowRun, Attempt: "v1", State: model.State{Phase: model.Waiting}, Recipe: made}
		questions.Write(append(marshal(t, map[string]any{"environ": environ, "agent": agent, "config": config, "run": map[string]any{
			"id": flowRun, "run_config": made.RunConfig, "flow": map[string]any{"id": flow, "core_version": c.Core, "storage": made.Storage},
		}}), '\n'))
		r := rendered{rendering: c}
		ours, err := kubernetesrun.Renderer{Settings: settings, Source: source.New(nil), Tenant: tenant[c.Backend]}.Render(t.Context(), run)
		r.Ours, r.OursErr = ours.Job, err
		all = append(all, r)
	}

	out := prefectWith(t, &questions, url, []string{kubeconfig(t, url)}, "-m", "render_jobs")
	i := 0
	for line := range strings.Lines(out) {
		var answer struct {
			Job         json.RawMessage
			Error, Type string
		}
		if !strings.HasPrefix(line, "{") {
			continue // a warning
		}
		if err := json.Unmarshal([]byte(line), &answer); err != nil || i == len(all) {
			t.Fatalf("answer %d of the agent: %v\n%s", i, err, line)
		}
		if answer.Type != "" {
			all[i].TheirErr = answer.Type + ": " + answer.Error
		} else {
			all[i].Theirs, all[i].Unfit = typed(answer.Job)
		}
		i++
	}
	if i != len(all) {
		t.Fatalf("the agent answered %d of %d cases:\n%s", i, len(all), out[max(0, len(out)-2000):])
	}
	return all
}

func marshal(t *testing.T, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ordered is an object with its fields in this order.
func ordered(pairs [][2]string) json.RawMessage {
	var members []string
	for _, p := range pairs {
		members = append(members, fmt.Sprintf("%q:%q", p[0], p[1]))
	}
	return json.RawMessage("{" + strings.Join(members, ",") + "}")
}

// typed is a Job as Kubernetes reads it, and why that is not what was meant.
func typed(text []byte) (j *batchv1.Job, unfit string) {
	j = &batchv1.Job{}
	strict, err := kjson.UnmarshalStrict(text, j)
	if err := errors.Join(append(strict, err)...); err != nil {
		return j, err.Error()
	}
	if j.Namespace != "" && j.Namespace != "flows" {
		return j, "the namespace is another than the one it is created in"
	}
	if (j.Kind != "" && j.Kind != "Job") || (j.APIVersion != "" && j.APIVersion != "batch/v1") {
		return j, "it is no Job"
	}
	return j, ""
}

// kept are the beginnings of errors whose text is the agent's.
var kept = regexp.MustCompile("^[A-Za-z]+: (Flow run .* has a `run_config`|\\{'[a-z_]+': [[{]|Cannot provide both|Invalid image_pull_policy|Docker storage is missing)") //nolint:gochecknoglobals // compiled once

// compare says how the two differ after all that is meant.
func (r *rendered) compare() string {
	addressed := new(model.AuthorError)
	switch {
	case r.OursErr != nil && !errors.As(r.OursErr, &addressed):
		return "our error is not the author's: " + r.OursErr.Error()
	case r.OursErr != nil && r.TheirErr == "":
		return "only we refuse it: " + r.OursErr.Error()
	case r.OursErr == nil && r.TheirErr != "":
		return "only they refuse it: " + r.TheirErr
	case r.OursErr != nil:
		if _, text, _ := strings.Cut(r.TheirErr, ": "); kept.MatchString(r.TheirErr) && text != addressed.Message {
			return fmt.Sprintf("they say %s\nwe say   %s", text, addressed.Message)
		}
		return ""
	}
	for _, j := range []*batchv1.Job{r.Theirs, r.Ours} {
		// Made up by the agent, derived from the run by us.
		id := j.Labels[kubernetesrun.LabelIdentifier]
		if !regexp.MustCompile("^[0-9a-f]{8}$").MatchString(id) || !strings.HasSuffix(j.Name, "-"+id) || j.Spec.Template.Labels[kubernetesrun.LabelIdentifier] != id {
			return fmt.Sprintf("the identifier %q does not go with the name %q", id, j.Name)
		}
		j.Name = strings.TrimSuffix(j.Name, id)
		for _, labels := range []map[string]string{j.Labels, j.Spec.Template.Labels} {
			delete(labels, kubernetesrun.LabelIdentifier)
			delete(labels, job.LabelAttempt)
		}
	}
	text := func(j *batchv1.Job) string {
		b, err := json.MarshalIndent(j, "", " ")
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	if d := cmp.Diff(text(r.Theirs), text(r.Ours)); d != "" {
		return "(-theirs +ours)\n" + d
	}
	return ""
}
