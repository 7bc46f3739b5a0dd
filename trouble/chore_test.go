package trouble_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/trouble"
)

func TestChore(t *testing.T) {
	const (
		complete = "status: {succeeded: 1, conditions: [{type: Complete, status: \"True\"}]}\n"
		limited  = "spec: {ttlSecondsAfterFinished: 600, template: {spec: {containers: []}}}\n"
		told     = `{"told":"unschedulable"}`
	)
	for name, tc := range map[string]struct {
		job, note, pod string
		want           trouble.Finding
	}{
		"runs, and its run was told nothing":   {active, "", running, trouble.Finding{}},
		"runs after it waited for a node":      {active, told, running, trouble.Finding{Kind: trouble.Over, Pods: []string{"p"}}},
		"has run after it waited for a node":   {complete, told, "\n  phase: Succeeded\n", trouble.Finding{Kind: trouble.Over, Pods: []string{"p"}}},
		"waits for a node":                     {active, told, unschedulable, trouble.Finding{}},
		"got its node and pulls its image":     {active, told, waits("ContainerCreating", ""), trouble.Finding{}},
		"Prefect took no lines a moment ago":   {active, `{"told":"no_pods","until":"2026-11-23T12:10:00Z"}`, running, trouble.Finding{Kind: trouble.Over, From: at(600), Pods: []string{"p"}}},
		"has completed and stays":              {complete, "", "", trouble.Finding{Kind: trouble.Lasting}},
		"has completed and goes in time":       {limited + complete, "", "", trouble.Finding{}},
		"has completed and was told to stay":   {complete, `{"done":true}`, "", trouble.Finding{}},
		"is to be removed by a launcher":       {complete, `{"spent":true}`, "", trouble.Finding{}},
		"has failed, which is no chore":        {`status: {failed: 1, conditions: [{type: Failed, status: "True"}]}`, "", "", trouble.Finding{}},
		"the pod waited, of a Job now gone":    {active, told, "\n  phase: Failed\n", trouble.Finding{}},
		"ran before and runs, long since told": {active, `{"events":["a"]}`, running, trouble.Finding{}},
	} {
		t.Run(name, func(t *testing.T) {
			j := aJob(t, tc.job)
			j.Annotations = map[string]string{trouble.Annotation: tc.note}
			var pods, slimmed []*corev1.Pod
			if tc.pod != "" {
				p := aPod(t, "p", tc.pod)
				pods, slimmed = []*corev1.Pod{p}, []*corev1.Pod{trouble.SlimPod(p, kubernetesrun.Marks())}
			}
			for _, judged := range []struct {
				job  *batchv1.Job
				pods []*corev1.Pod
			}{{j, pods}, {trouble.SlimJob(j, kubernetesrun.Marks()), slimmed}} {
				got, found := trouble.Chore(judged.job, judged.pods, trouble.Rules{})
				if d := cmp.Diff(tc.want, got); d != "" || found != (got.Kind != "") || found && !got.Kind.IsChore() {
					t.Errorf("found %v (-want +got):\n%s", found, d)
				}
			}
			if _, found := trouble.Chore(withDeletion(j), pods, trouble.Rules{}); found {
				t.Error("a Job that is being deleted is a chore")
			}
		})
	}
}

func withDeletion(j *batchv1.Job) *batchv1.Job {
	j = j.DeepCopy()
	j.DeletionTimestamp = &j.CreationTimestamp
	return j
}
