package job

import (
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// LabelAttempt is on every Job that a launcher made, and on its pods, whatever the backend.
const LabelAttempt = ownPrefix + "attempt"

// Marks are the names of the labels by which the Jobs of one kind of backend are known.
// Each kind has its own, so that Jobs of two can live in one namespace.
type Marks struct {
	// Run is the label with the flow run's id. Jobs of the Prefect's own agent or worker have
	// it too.
	Run string
	// Identifier is the label with the identifier in the Job's name; empty where Jobs have
	// no such label.
	Identifier string
}

// RunOf is the id of the flow run that a Job or a pod is for; empty if it is for none.
func (m Marks) RunOf(o metav1.Object) string { return o.GetLabels()[m.Run] }

// Selector selects the Jobs and pods of a flow run.
func (m Marks) Selector(runID string) string { return m.Run + "=" + runID }

// Identify gives a Job, whose name is the prefix, the name of the attempt, and Job and
// pods the labels that tell the run, with more of the renderer's.
func (m Marks) Identify(j *batchv1.Job, runID string, attempt prefect.Attempt, more map[string]string, from Origins) {
	name, identifier := Name(j.Name, runID, attempt, 0)
	j.Name = name
	from["metadata.name"] = "the template's name if it has one, and the attempt at the flow run"
	labels := map[string]string{m.Run: runID, LabelAttempt: AttemptLabel(attempt)}
	if m.Identifier != "" {
		labels[m.Identifier] = identifier
	}
	maps.Copy(labels, more)
	j.Labels = merged(j.Labels, labels)
	j.Spec.Template.Labels = merged(j.Spec.Template.Labels, labels)
	for name := range labels {
		from["metadata.labels."+name], from["spec.template.metadata.labels."+name] = "the flow run", "the flow run"
	}
}

func merged(into, from map[string]string) map[string]string {
	if into == nil {
		into = make(map[string]string, len(from))
	}
	maps.Copy(into, from)
	return into
}

// WithName renames a rendered Job for try n, when the name of try n-1 belongs to
// another run's Job.
func (m Marks) WithName(j *batchv1.Job, runID string, attempt prefect.Attempt, n int) *batchv1.Job {
	j = j.DeepCopy()
	name, identifier := Name(PrefixOf(j.Name), runID, attempt, n)
	j.Name = name
	if m.Identifier != "" {
		j.Labels[m.Identifier] = identifier
		j.Spec.Template.Labels[m.Identifier] = identifier
	}
	return j
}

// Anonymous is a Job without what tells its run from other runs of the flow.
func (m Marks) Anonymous(j *batchv1.Job) *batchv1.Job {
	j = j.DeepCopy()
	j.Name = PrefixOf(j.Name)
	for _, label := range []string{m.Identifier, m.Run, LabelAttempt} {
		delete(j.Labels, label)
		delete(j.Spec.Template.Labels, label)
	}
	for i := range j.Spec.Template.Spec.Containers {
		env := j.Spec.Template.Spec.Containers[i].Env
		for k := range env {
			if TellsRun(env[k]) {
				env[k].Value = ""
			}
		}
	}
	return j
}

// TellsRun reports whether the variable tells a container its flow run, and so is the one
// of the flow's container. Every Prefect has a name of this form for it, and no other.
func TellsRun(v corev1.EnvVar) bool {
	return strings.HasPrefix(v.Name, "PREFECT__") && strings.HasSuffix(v.Name, "FLOW_RUN_ID")
}
