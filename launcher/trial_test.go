package launcher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/job"
)

// The agent, and we, failed every due run when the operator's template made Jobs
// that Kubernetes refuses, as did policies that refuse every Job.
func TestWhatKubernetesRefusesOfTheOperatorsFailsNoRun(t *testing.T) {
	const pod = "spec: {template: {spec: {containers: [{name: flow}]}}}"
	for _, tc := range []struct {
		name, template string
		policy         func(*batchv1.Job) error // lifted when the template is mended
		// own is what becomes of a run with its own template that is well, and wrong of
		// one that is not.
		own, wrong string
		words      string
	}{
		{"restart policy", "spec: {template: {spec: {restartPolicy: Always, containers: [{name: flow}]}}}", nil, "Submitted", "Failed", "spec.template.spec.restartPolicy: Unsupported value"},
		{"label", "metadata: {labels: {team: a b/c}}\n" + pod, nil, "Submitted", "Failed", `metadata.labels[team]: Invalid value`},
		{"name", "metadata: {name: My Job}\n" + pod, nil, "Submitted", "Failed", "metadata.name: Invalid value"},
		{"container", "spec: {template: {spec: {containers: [{image: a}]}}}", nil, "Submitted", "Failed", "spec.template.spec.containers[0].name: Required value"},
		{"a webhook against all", pod, func(*batchv1.Job) error { return denied("no Jobs here") }, "Scheduled", "Scheduled", "no Jobs here: an admission webhook or policy wants other Jobs"},
		{"a policy against all", pod, func(j *batchv1.Job) error {
			return apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, j.Name, field.ErrorList{
				field.Forbidden(field.NewPath("ValidatingAdmissionPolicy"), "'p' with binding 'b' denied request: no Jobs here"),
			})
		}, "Scheduled", "Scheduled", "an admission webhook or policy wants other Jobs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory()
				var waiting []string
				for i := range 20 {
					id := fmt.Sprintf("r%02d", i)
					waiting = append(waiting, id)
					m.set(realRun(id, `{"type":"KubernetesRun"}`))
				}
				m.set(realRun("retried", `{"type":"KubernetesRun"}`).retrying("t", 3, time.Time{}))
				m.set(realRun("claimed", `{"type":"KubernetesRun"}`).claimedBy("other", "v1", "prefect-job-0", time.Now().Add(-time.Hour)))
				m.set(realRun("own", ownTemplate))
				m.set(realRun("wrong", `{"type":"KubernetesRun","job_template":{"spec":{"template":{"spec":{"containers":[{}]}}}}}`))
				p := &page{text: tc.template}
				var mended atomic.Bool
				b := startRendering(t, m, p, func(j *batchv1.Job, _ bool) error {
					if tc.policy != nil && !mended.Load() {
						if err := tc.policy(j); err != nil {
							return err
						}
					}
					return valid(j)
				})

				time.Sleep(2 * time.Minute)
				synctest.Wait()
				want := map[string]string{"own": tc.own, "wrong": tc.wrong, "retried": "Running", "claimed": "Scheduled"}
				for _, id := range waiting {
					want[id] = "Scheduled"
				}
				if diff := cmp.Diff(want, m.states(append(waiting, "own", "wrong", "retried", "claimed")...)); diff != "" {
					t.Errorf("states after two minutes (-want +got):\n%s", diff)
				}
				if n := b.logs.count("level=ERROR"); n != 1 || !strings.Contains(b.logs.String(), tc.words) || strings.Contains(b.logs.String(), "level=WARN") {
					t.Errorf("%d errors are logged, want one, with %q, and no warning:\n%s", n, tc.words, b.logs)
				}
				if n := m.count("claim"); n > 10 {
					t.Errorf("%d claims by a launcher that does four things at once, where waiting takes none:\n%s", n, b.logs)
				}
				if n := dryRuns(b.client); n > 60 {
					t.Errorf("%d dry runs in two minutes", n)
				}

				mended.Store(true)
				p.set(wellTemplate)
				if err := b.leave(); err != nil {
					t.Error(err)
				}
				jobs := map[string]int{"own": 1, "retried": 1, "claimed": 1}
				for _, id := range waiting {
					jobs[id] = 1
				}
				if diff := cmp.Diff(jobs, jobsByRun(t, b.client)); diff != "" {
					t.Errorf("Jobs by run, once it is mended (-want +got):\n%s", diff)
				}
				if got := m.get("wrong").State; got.Name != "Failed" || !strings.Contains(got.Message, "spec.template.spec.containers[0].name: Required value") {
					t.Errorf("the author's mistake: %+v", got)
				}
				if n := b.logs.count(`msg="upstream answers again" upstream=job_template`); n != 1 {
					t.Errorf("said to be well %d times:\n%s", n, b.logs)
				}
			})
		})
	}
}

// A policy may want what the operator gives to none, and some authors give to theirs.
func TestRunThatBringsWhatIsMissingDoesNotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const limited = `{"type":"KubernetesRun","memory_limit":"1Gi"}`
		m := newMemory(realRun("a", `{"type":"KubernetesRun"}`), realRun("b", limited))
		b := startRendering(t, m, &page{text: wellTemplate}, func(j *batchv1.Job, _ bool) error {
			if j.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().IsZero() {
				return denied("no memory limit")
			}
			return nil
		})
		time.Sleep(20 * time.Second)
		m.set(realRun("c", limited))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff(map[string]string{"a": "Scheduled", "b": "Submitted", "c": "Submitted"}, m.states("a", "b", "c")); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		if n := b.logs.count("level=ERROR") + b.logs.count("answers again"); n != 1 {
			t.Errorf("the operator is told %d times, want once:\n%s", n, b.logs)
		}
		b.stop()
	})
}

// Where a dry run tells nothing, nobody is failed.
func TestNobodyIsBlamedWithoutAProof(t *testing.T) {
	for name, unknown := range map[string]error{
		"the API server is away":  apierrors.NewServiceUnavailable("etcd is away"),
		"a full quota":            quota(),
		"a webhook is away":       apierrors.NewInternalError(errors.New("failed calling webhook")),
		"a webhook with effects":  apierrors.NewBadRequest(`admission webhook "w" does not support dry run`),
		"a permission is missing": apierrors.NewForbidden(jobsResource, "j", errors.New("no")),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(realRun("r", `{"type":"KubernetesRun","env":{"a b":""}}`), realRun("retried", `{"type":"KubernetesRun","env":{"a b":""}}`).retrying("t", 3, time.Time{}))
				var passed atomic.Bool
				b := startRendering(t, m, &page{text: wellTemplate}, func(j *batchv1.Job, dry bool) error {
					if dry && !passed.Load() {
						return unknown
					}
					if slices.ContainsFunc(j.Spec.Template.Spec.Containers[0].Env, func(e corev1.EnvVar) bool { return e.Name == "a b" }) {
						return apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "j", nil)
					}
					return nil
				})
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				if s := m.get("r").State; s.Name != "Submitted" && s.Name != "Scheduled" {
					t.Errorf("state %+v while nobody can tell whose fault it is", s)
				}
				if s := m.get("retried").State; s.Name != "Running" {
					t.Errorf("state of the retried run %+v", s)
				}
				if b.logs.count("level=ERROR") > 0 {
					t.Errorf("the operator is told of a fault that may be none:\n%s", b.logs)
				}
				passed.Store(true)
				if err := b.leave(); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(map[string]string{"r": "Failed", "retried": "Failed"}, m.states("r", "retried")); diff != "" {
					t.Errorf("states once it is known (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A template that is mended between a Job and its refusal leaves the run blameless.
func TestRefusedJobOfATemplateThatWasMended(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(realRun("r", `{"type":"KubernetesRun"}`))
		p := &page{text: "metadata: {name: My Job}\n" + wellTemplate}
		b := startRendering(t, m, p, func(j *batchv1.Job, dry bool) error {
			if !dry {
				p.set(wellTemplate)
			}
			return valid(j)
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if got := m.get("r").State.Name; got != "Submitted" {
			t.Errorf("the run is %s:\n%s", got, b.logs)
		}
		if diff := cmp.Diff(map[string]int{"r": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
	})
}

// A launcher that died with the bad template left a claim under a name that no Job
// can have.
func TestClaimUnderANameThatNoJobCanHave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		name, _ := job.Name("My Job", "r", "v1", 0)
		m := newMemory(realRun("r", `{"type":"KubernetesRun"}`).claimedBy("other", "v1", name, time.Now().Add(-time.Hour)))
		b := startRendering(t, m, &page{text: wellTemplate}, func(j *batchv1.Job, _ bool) error { return valid(j) })
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(map[string]int{"r": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s\n%s", diff, b.logs)
		}
	})
}

// Where launchers' templates differ in the name, the claim's counts, and what the
// author got wrong is still the author's.
func TestAuthorsMistakeUnderAnotherLaunchersName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		name, _ := job.Name("theirs", "r", "v1", 0)
		m := newMemory(realRun("r", `{"type":"KubernetesRun","env":{"a b":""}}`).claimedBy("other", "v1", name, time.Now().Add(-time.Hour)))
		b := startRendering(t, m, &page{text: "metadata: {name: ours}\n" + wellTemplate}, func(j *batchv1.Job, _ bool) error {
			if slices.ContainsFunc(j.Spec.Template.Spec.Containers[0].Env, func(e corev1.EnvVar) bool { return e.Name == "a b" }) {
				return apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, j.Name, nil)
			}
			return nil
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if s := m.get("r").State; s.Name != "Failed" || !strings.Contains(s.Message, name) || m.count("hand back") > 0 {
			t.Errorf("%+v:\n%s", s, b.logs)
		}
	})
}

// A burst of runs that their authors got wrong asks once a second, not once each.
func TestTrialsAreFew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, began := newMemory(), time.Now()
		var ids []string
		for i := range 200 {
			id := fmt.Sprintf("r%03d", i)
			ids = append(ids, id)
			m.set(realRun(id, `{"type":"KubernetesRun","job_template":{"spec":{"template":{"spec":{"containers":[{}]}}}}}`))
		}
		b := startRendering(t, m, &page{text: wellTemplate}, func(j *batchv1.Job, _ bool) error { return valid(j) })
		for slices.ContainsFunc(ids, func(id string) bool { return m.get(id).State.Name != "Failed" }) && time.Since(began) < time.Hour {
			time.Sleep(time.Second)
		}
		most := int(time.Since(began)/time.Second) + 1
		if n := dryRuns(b.client); n == 0 || n > most {
			t.Errorf("%d dry runs in %s", n, time.Since(began))
		}
		b.stop()
	})
}

func TestTrialAtStart(t *testing.T) {
	for _, tc := range []struct {
		name    string
		err     error
		refused bool
		lasting bool
		want    string
	}{
		{"taken", nil, false, false, ""},
		{"there already", apierrors.NewAlreadyExists(jobsResource, "j"), false, false, ""},
		{"invalid", apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "j", nil), true, true, `Kubernetes refuses the Job of any run that brings nothing of its own: Job.batch "j" is invalid: fix the setting behind the named field, or with Prefect 1 the Job template (JOB_TEMPLATE, --job-template); runs it refuses wait`},
		{"denied", denied("no"), true, false, `Kubernetes refuses the Job of any run that brings nothing of its own: jobs.batch "j" is forbidden: admission webhook "policy" denied the request: no: an admission webhook or policy wants other Jobs: have the settings, or with Prefect 1 the Job template (JOB_TEMPLATE, --job-template), meet it, or exempt the namespace; runs it refuses wait`},
		{"denied as invalid", apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "j", field.ErrorList{field.Forbidden(field.NewPath("x"), "denied request: no")}), true, false, ""},
		{"bad", apierrors.NewBadRequest("no"), true, false, ""},
		{"quota", quota(), false, false, "create Job"},
		{"away", apierrors.NewServiceUnavailable("no"), false, false, "create Job"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := fake.NewClientset()
			refusing(client, func(string) error { return tc.err })
			err := mustNew(t, options("me"), newMemory(), client).Trial(t.Context())
			refused, ok := errors.AsType[*admission.RefusedError](err)
			if ok != tc.refused || ok && refused.Lasting() != tc.lasting || (err != nil) != (tc.refused || tc.want != "") {
				t.Errorf("%v: refused %v, want %v", err, ok, tc.refused)
			}
			if ok && tc.want != "" && err.Error() != tc.want || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
}
