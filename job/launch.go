package job

import (
	"encoding/json"
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// AnnotationLaunch of a Job holds its Launch.
const AnnotationLaunch = ownPrefix + "launch"

const (
	// maxNames bounds the name of a run and of its flow, which people choose.
	maxNames = 120
	// maxLaunch bounds the annotation's value, ours and what anybody else wrote.
	maxLaunch = 4 << 10
)

// Launch is the note of the launcher that created a Job: when its run was due, when it was
// claimed and where it waited. It is for people, who see it on the scaler's page, and
// nothing depends on it.
type Launch struct {
	// Due is when the run was due, zero if it always was. Claimed is zero for a run whose
	// Job comes first. Created is when the Job was sent to Kubernetes, whose own time has no
	// fractions of a second.
	Due     time.Time `json:"due,omitzero"`
	Claimed time.Time `json:"claimed,omitzero"`
	Created time.Time `json:"created,omitzero"`
	// Run and Flow are names.
	Run  string `json:"run,omitempty"`
	Flow string `json:"flow,omitempty"`
	// Pool and Queue, or Labels, are the run's place.
	Pool   string   `json:"pool,omitempty"`
	Queue  string   `json:"queue,omitempty"`
	Labels []string `json:"labels,omitempty"`
}

// LaunchOf is the launch of a run that was claimed, and whose Job is created now.
func LaunchOf(run prefect.FlowRun, claimed, now time.Time) Launch {
	at := func(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
	return Launch{
		Due: at(run.Due), Claimed: at(claimed), Created: at(now),
		Run: Shortened(run.Name, maxNames), Flow: Shortened(run.FlowName, maxNames),
		Pool: run.Place.Pool, Queue: run.Place.Queue, Labels: run.Place.Labels,
	}
}

// Place is where the run waited.
func (l Launch) Place() prefect.Place {
	return prefect.Place{Labels: l.Labels, Pool: l.Pool, Queue: l.Queue}
}

// On is the Job with the note. The Job itself stays as it was rendered. A note that would be
// too long is left out.
func (l Launch) On(j *batchv1.Job) *batchv1.Job {
	text, err := json.Marshal(l)
	if err != nil || len(text) > maxLaunch {
		return j
	}
	noted := *j
	noted.Annotations = merged(maps.Clone(j.Annotations), map[string]string{AnnotationLaunch: string(text)})
	return &noted
}

// NotedLaunch reads the note of a Job. It takes an unreadable one for none.
func NotedLaunch(j *batchv1.Job) (l Launch, ok bool) {
	text := j.Annotations[AnnotationLaunch]
	if text == "" || len(text) > maxLaunch {
		return Launch{}, false
	}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return Launch{}, false
	}
	l.Run, l.Flow = Shortened(l.Run, maxNames), Shortened(l.Flow, maxNames)
	return l, true
}
