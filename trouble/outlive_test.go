package trouble_test

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

func TestJudgeEnding(t *testing.T) {
	all := rules()
	all.CancelGrace, all.FinishedGrace = 10*time.Minute, 5*time.Minute
	for name, tc := range map[string]struct {
		phase prefect.Phase
		job   string
		note  string
		rules trouble.Rules
		kind  trouble.Kind // none: nothing
		want  time.Time
		// unbegun: no pod has begun the run
		unbegun bool
	}{
		"cancelled, still there":               {prefect.Cancelled, active, "", all, trouble.Cancelled, at(60), false},
		"cancelled, has ended":                 {prefect.Cancelled, `status: {conditions: [{type: Complete, status: "True"}]}`, "", all, "", time.Time{}, false},
		"cancelled, was seen to":               {prefect.Cancelled, active, `{"done":true}`, all, "", time.Time{}, false},
		"cancelled, is to go":                  {prefect.Cancelled, active, `{"spent":true}`, all, "", time.Time{}, false},
		"cancelled, somebody sees to it":       {prefect.Cancelled, active, `{"until":"2026-11-23T12:05:00Z"}`, all, trouble.Cancelled, at(300), false},
		"cancelling, still there":              {prefect.Cancelling, active, "", all, trouble.Cancelling, at(600), false},
		"cancelling, and may as long as it is": {prefect.Cancelling, active, "", rules(), "", time.Time{}, false},
		"finished, still there":                {prefect.Finished, active, "", all, trouble.Outlived, at(300), false},
		"finished, and may outlive its run":    {prefect.Finished, active, "", rules(), "", time.Time{}, false},
		"running":                              {prefect.Running, active, "", all, "", time.Time{}, false},
		"submitted":                            {prefect.Claimed, active, "", all, "", time.Time{}, false},
		"cancelling, and never began":          {prefect.Cancelling, active, "", rules(), trouble.Cancelling, at(0), true},
		"cancelling, never began, has ended":   {prefect.Cancelling, `status: {conditions: [{type: Complete, status: "True"}]}`, "", all, "", time.Time{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			j := aJob(t, tc.job)
			j.Annotations = map[string]string{trouble.Annotation: tc.note}
			f, found := trouble.JudgeEnding(j, prefect.JobRun{Phase: tc.phase, StateAt: noon, NeverBegan: tc.unbegun}, tc.rules)
			if found != (tc.kind != "") || f.Kind != tc.kind || !f.From.Equal(tc.want) || f.Final != found {
				t.Errorf("%v %+v, want %q from %s", found, f, tc.kind, tc.want)
			}
			if f, found := trouble.JudgeEnding(j, prefect.JobRun{Phase: tc.phase}, tc.rules); found {
				t.Errorf("found %+v of a run of which nobody knows since when", f)
			}
		})
	}
}

// sidecarLives is a pod with a flow in that status beside a sidecar.
func sidecarLives(flow string) string {
	return "\n  phase: Running\n  containerStatuses: [" + container("flow", flow) + ", " + container("proxy", up) + "]\n"
}

func TestNothingLeft(t *testing.T) {
	complete := `status: {succeeded: 1, conditions: [{type: Complete, status: "True"}]}`
	succeeded := "\n  phase: Succeeded\n"
	for name, tc := range map[string]struct {
		jobs []string
		note string
		pods map[string]string
		want bool
	}{
		"neither Jobs nor pods":              {nil, "", nil, true},
		"a pod without its Job":              {nil, "", map[string]string{"p": running}, false},
		"what is left of a pod":              {nil, "", map[string]string{"p": oomKilled}, true},
		"an active Job":                      {[]string{active}, "", nil, false},
		"a Job that has ended well":          {[]string{complete}, "", map[string]string{"p": succeeded}, true},
		"one has, another is active":         {[]string{complete, active}, "", nil, false},
		"one that has a failed pod":          {[]string{complete}, "", map[string]string{"p": oomKilled}, false},
		"one that has, and was seen to":      {[]string{complete}, `{"done":true}`, map[string]string{"p": oomKilled}, true},
		"it has ended and a pod goes on":     {[]string{complete}, "", map[string]string{"p": running}, false},
		"its flow has, a sidecar goes on":    {[]string{active}, "", map[string]string{"p": sidecarLives(endedWell)}, true},
		"its flow runs, as a sidecar does":   {[]string{active}, "", map[string]string{"p": sidecarLives(up)}, false},
		"its flow failed, a sidecar goes on": {[]string{active}, "", map[string]string{"p": sidecarLives(endedBadly)}, false},
		"no Job, and only a sidecar goes on": {nil, "", map[string]string{"p": sidecarLives(endedBadly)}, true},
		"a failed Job nobody has seen yet":   {[]string{`status: {failed: 1, conditions: [{type: Failed, status: "True"}]}`}, "", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			var jobs []*batchv1.Job
			for _, status := range tc.jobs {
				j := aJob(t, status)
				j.Annotations = map[string]string{trouble.Annotation: tc.note}
				jobs = append(jobs, j)
			}
			var pods []*corev1.Pod
			for name, status := range tc.pods {
				pods = append(pods, aPod(t, name, status))
			}
			if got := trouble.NothingLeft(jobs, pods, rules()); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}
