//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/admission"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// suspended is a template of Jobs that need no pods, with a beginning and a pod.
func suspended(metadata, pod string) string {
	return metadata + "spec: {suspend: true, template: {spec: " + pod + "}}\n"
}

// If the real API server refuses Jobs of the operator's template, no run fails: the launcher
// says so at start, and runs wait until the template is fixed.
func TestTemplateTheAPIServerRefuses(t *testing.T) {
	const pod = "{containers: [{name: flow}]}"
	plain := map[string]any{"type": "KubernetesRun"}
	for _, tc := range []struct{ name, template, words string }{
		{"restart policy", suspended("", "{restartPolicy: Always, containers: [{name: flow}]}"), "spec.template.spec.restartPolicy"},
		{"label", suspended("metadata: {labels: {team: a b/c}}\n", pod), "metadata.labels"},
		{"name", suspended("metadata: {name: My Job}\n", pod), "metadata.name"},
		{"container without a name", suspended("", "{containers: [{image: a}]}"), "spec.template.spec.containers[0].name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.template = &page{}
			b.template.text.Store(&tc.template)
			err := b.launcher("trying", time.Hour).Trial(t.Context())
			refused, ok := errors.AsType[*admission.RefusedError](err)
			if !ok || !refused.Lasting() || !strings.Contains(err.Error(), tc.words) {
				t.Fatalf("at start: %v, want a refusal for good of %s", err, tc.words)
			}
			runs := b.runs(prefecttest.Order{Count: 3, RunConfig: plain})
			b.start(b.launcher("one", time.Hour))
			b.waitForHandBack(runs)
			well := suspended("", pod)
			b.template.text.Store(&well)
			b.WaitForJobs(runs, 2*time.Minute)
			b.AssertOneJobEach(runs)
		})
	}
}

// waitForHandBack waits until one of the runs was refused and put back.
func (b *bench) waitForHandBack(runs []string) {
	b.t.Helper()
	b.Eventually(time.Minute, "a run is put back, for the operator", func(context.Context) (string, bool) {
		var logs []string
		for _, id := range runs {
			logs = append(logs, b.logOf(id))
		}
		text := strings.Join(logs, "\n")
		return text, strings.Contains(text, "This is for the operator of the launcher: Kubernetes refuses the Job of any run")
	})
	for _, r := range b.prefect.Runs(runs...) {
		if r.State != "Scheduled" && r.State != "Submitted" {
			b.t.Errorf("flow run %s is %s: %s", r.ID, r.State, r.Message)
		}
	}
}

// A template's name that the agent's rule cuts at a dot still makes a valid name.
func TestNameThatIsCutAtADot(t *testing.T) {
	b := newBench(t)
	b.template = &page{}
	text := suspended("metadata: {name: "+strings.Repeat("a", 47)+".b}\n", "{containers: [{name: flow}]}")
	b.template.text.Store(&text)
	if err := b.launcher("trying", time.Hour).Trial(t.Context()); err != nil {
		t.Error(err)
	}
	runs := b.runs(prefecttest.Order{Count: 2, RunConfig: map[string]any{"type": "KubernetesRun"}})
	b.start(b.launcher("one", time.Hour))
	b.WaitForJobs(runs, time.Minute)
	b.AssertOneJobEach(runs)
}

// If a policy refuses every Job, that is not the runs' fault either, and it may pass.
func TestPolicyAgainstAllJobs(t *testing.T) {
	b := newBench(t)
	b.template = &page{}
	text := suspended("", "{containers: [{name: flow}]}")
	b.template.text.Store(&text)
	policies := b.Client.AdmissionregistrationV1()
	here := &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": b.Flows}}
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: b.Namespace},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{NamespaceSelector: here, ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{"batch"}, APIVersions: []string{"v1"}, Resources: []string{"jobs"}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "false", Message: "no Jobs here"}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: b.Namespace},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: b.Namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			MatchResources: &admissionv1.MatchResources{NamespaceSelector: here},
		},
	}
	if _, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lift := func(ctx context.Context) error {
		return errors.Join(
			policies.ValidatingAdmissionPolicyBindings().Delete(ctx, b.Namespace, metav1.DeleteOptions{}),
			policies.ValidatingAdmissionPolicies().Delete(ctx, b.Namespace, metav1.DeleteOptions{}))
	}
	t.Cleanup(func() { _ = lift(context.Background()) }) // it is of the whole cluster
	if _, err := policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	trying := b.launcher("trying", time.Hour)
	b.Eventually(time.Minute, "the policy is in force", func(ctx context.Context) (string, bool) {
		err := trying.Trial(ctx)
		refused, ok := errors.AsType[*admission.RefusedError](err)
		if ok && refused.Lasting() {
			t.Errorf("a policy is taken for a refusal for good: %v", err)
		}
		return fmt.Sprint(err), ok
	})
	runs := append(b.runs(prefecttest.Order{Count: 2, RunConfig: map[string]any{"type": "KubernetesRun"}}), b.runs(prefecttest.Order{})...)
	b.start(b.launcher("one", time.Hour))
	b.waitForHandBack(runs)
	if err := lift(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.WaitForJobs(runs, 2*time.Minute)
	b.AssertOneJobEach(runs)
}

// A Job that is too large for etcd, or for a limit before it, fails its run at once, whatever
// words the real ones use.
func TestJobTooLargeForEtcd(t *testing.T) {
	b := newBench(t)
	b.template = &page{}
	text := suspended("", "{containers: [{name: flow, env: [{name: LONG, value: "+strings.Repeat("x", 900<<10)+"}]}]}")
	b.template.text.Store(&text)
	b.start(b.launcher("one", time.Hour))
	for _, kib := range []int{800, 1300} { // etcd takes 1.5 MiB, and gRPC brings it 2 MiB
		large := b.runs(prefecttest.Order{RunConfig: map[string]any{"type": "KubernetesRun", "env": map[string]any{"LONGER": strings.Repeat("y", kib<<10)}}})
		b.waitForState(large, "Failed")
		message, words := b.prefect.Runs(large[0])[0].Message, fmt.Sprintf("the variable LONGER of the container flow has %d KiB", kib)
		t.Logf("the author reads: %s", message)
		if !strings.Contains(message, "because it is too large") || !strings.Contains(message, words) {
			t.Errorf("the message does not name what is large: %s", message)
		}
	}
	b.AssertOneJobEach(nil)
}
