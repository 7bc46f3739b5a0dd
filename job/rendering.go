package job

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Rendering is a run's Job, with facts about its making that its creator needs.
type Rendering struct {
	Job *batchv1.Job
	// Origins says where each of the Job's fields is from.
	Origins Origins
	// OwnTemplate is set if the run brings the template, so that the launcher's has no
	// part in the Job.
	OwnTemplate bool
	// NameVaries is set if launchers may give the Job different names: each of them reads
	// the template with the prefix for itself, and somebody may edit it in between.
	NameVaries bool
	// AuthorsAccount is the Job's service account if the run's author may have chosen it;
	// empty if the launcher or its template did, or the Job names none.
	AuthorsAccount Account
	// Secret holds values of the Job's env that must not be read from the Job; nil if there
	// are none. The Job names it, and has to be its owner, so that both go together.
	Secret *corev1.Secret
	// Warnings tell the author what in the run's Job is not as it was meant. The run goes on.
	Warnings []string
}

// Account is a service account with the words for the field that names it.
type Account struct{ Name, Field string }
