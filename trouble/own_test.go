package trouble_test

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// The Jobs of a worker beside us are its own business, whatever is wrong with them.
func TestJobsOfOthersAreNotJudged(t *testing.T) {
	cancelled := prefect.JobRun{Phase: prefect.Cancelled, StateAt: noon}
	for name, tc := range map[string]struct {
		job   string
		found func(r trouble.Rules, j *batchv1.Job) bool
	}{
		"failed": {active, func(r trouble.Rules, j *batchv1.Job) bool {
			_, found := trouble.Judge(j, []*corev1.Pod{aPod(t, "p", oomKilled)}, r)
			return found
		}},
		"cancelled": {active, func(r trouble.Rules, j *batchv1.Job) bool {
			_, found := trouble.JudgeEnding(j, cancelled, r)
			return found
		}},
		"waits": {active, func(r trouble.Rules, j *batchv1.Job) bool {
			_, found := trouble.Waits(j, []*corev1.Pod{aPod(t, "p", unschedulable)}, r)
			return found
		}},
		"has no time to live": {`status: {succeeded: 1, conditions: [{type: Complete, status: "True"}]}`, func(r trouble.Rules, j *batchv1.Job) bool {
			_, found := trouble.Chore(j, nil, r)
			return found
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, is := range []struct {
				own, ours, want bool
			}{{false, false, true}, {true, true, true}, {true, false, false}} {
				j := aJob(t, tc.job)
				delete(j.Labels, job.LabelAttempt)
				if is.ours {
					j.Labels[job.LabelAttempt] = "s1"
				}
				got := tc.found(trouble.Rules{Grace: time.Minute, OwnJobs: is.own}, j)
				if got != is.want {
					t.Errorf("judging only own Jobs %v, of a launcher %v: found %v", is.own, is.ours, got)
				}
			}
		})
	}
}
