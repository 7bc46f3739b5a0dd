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
	for name, found := range map[string]func(r trouble.Rules, mark func(*batchv1.Job)) bool{
		"failed": func(r trouble.Rules, mark func(*batchv1.Job)) bool {
			j := aJob(t, active)
			mark(j)
			_, found := trouble.Judge(j, []*corev1.Pod{aPod(t, "p", oomKilled)}, r)
			return found
		},
		"cancelled": func(r trouble.Rules, mark func(*batchv1.Job)) bool {
			j := aJob(t, active)
			mark(j)
			_, found := trouble.JudgeEnding(j, cancelled, r)
			return found
		},
		"waits": func(r trouble.Rules, mark func(*batchv1.Job)) bool {
			j := aJob(t, active)
			mark(j)
			_, found := trouble.Waits(j, []*corev1.Pod{aPod(t, "p", unschedulable)}, r)
			return found
		},
		"has no time to live": func(r trouble.Rules, mark func(*batchv1.Job)) bool {
			j := aJob(t, `status: {succeeded: 1, conditions: [{type: Complete, status: "True"}]}`)
			mark(j)
			_, found := trouble.Chore(j, nil, r)
			return found
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, is := range []struct {
				own, ours, want bool
			}{{false, false, true}, {true, true, true}, {true, false, false}} {
				got := found(trouble.Rules{Grace: time.Minute, OwnJobs: is.own}, func(j *batchv1.Job) {
					delete(j.Labels, job.LabelAttempt)
					if is.ours {
						j.Labels[job.LabelAttempt] = "s1"
					}
				})
				if got != is.want {
					t.Errorf("judging only own Jobs %v, of a launcher %v: found %v", is.own, is.ours, got)
				}
			}
		})
	}
}
