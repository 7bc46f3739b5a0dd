package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	typedbatchv1 "k8s.io/client-go/kubernetes/typed/batch/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// The watch may tell of a Job of our own late. Until we forget that Job, it is not gone.
func TestOwnJobThatTheWatchHasNotToldOfIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		for _, resource := range []string{"jobs", "pods"} {
			client.PrependWatchReactor(resource, func(clienttesting.Action) (bool, watch.Interface, error) { return true, watch.NewFake(), nil })
		}
		c := New("flows", nil, func(string) Client { return clientOf(client) }, kubernetesrun.Marks(), slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Watch(ctx)
		synctest.Wait()
		silent := prefect.Supervision{Silent: []prefect.JobRun{{ID: "r", Phase: prefect.Running, Claim: prefect.Claim{Job: "job-r"}}}}
		gone := []Troubled{{trouble.Finding{Kind: trouble.JobGone, Final: true}, "", "job-r", "r"}}
		if d := cmp.Diff(gone, c.Troubled(trouble.Rules{}, silent)); d != "" {
			t.Errorf("before it is created (-want +got):\n%s", d)
		}
		if err := c.Create(t.Context(), jobOfRun("r"), nil); err != nil {
			t.Fatal(err)
		}
		if got := c.Troubled(trouble.Rules{}, silent); len(got) > 0 {
			t.Errorf("in trouble once it is created: %+v", got)
		}
		time.Sleep(RecentFor + time.Second)
		if d := cmp.Diff(gone, c.Troubled(trouble.Rules{}, silent)); d != "" {
			t.Errorf("when the watch has not told for long (-want +got):\n%s", d)
		}
	})
}

// Only one of two launchers that read a Job takes its case, because the API server accepts
// a patch only for the version and the uid that it names.
func TestNotesAreForTheJobThatWasRead(t *testing.T) {
	note := trouble.Note{By: "me"}
	for name, tc := range map[string]struct {
		write   func(*Cluster, *batchv1.Job) error
		changed bool // the Job may have, since it was read
	}{
		"taking a case":       {func(c *Cluster, j *batchv1.Job) error { return c.Note(t.Context(), j, note) }, false},
		"giving time to live": {func(c *Cluster, j *batchv1.Job) error { return c.Limit(t.Context(), j, 600) }, false},
		"leaving a case": {func(c *Cluster, j *batchv1.Job) error {
			return c.Release(t.Context(), j, note, Ending{Stop: true})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			for what, change := range map[string]func(*batchv1.Job){
				"as it was": func(*batchv1.Job) {},
				"changed":   func(j *batchv1.Job) { j.ResourceVersion = "8" },
				"recreated": func(j *batchv1.Job) { j.UID = "another" },
			} {
				read := jobOfRun("r", func(j *batchv1.Job) { j.ResourceVersion = "7" })
				there := read.DeepCopy()
				change(there)
				client, patched := fake.NewClientset(), false
				client.PrependReactor("patch", "jobs", func(a clienttesting.Action) (bool, runtime.Object, error) {
					var body struct{ Metadata metav1.ObjectMeta }
					if err := json.Unmarshal(a.(clienttesting.PatchAction).GetPatch(), &body); err != nil {
						t.Fatal(err)
					}
					if m := body.Metadata; m.ResourceVersion != "" && m.ResourceVersion != there.ResourceVersion || m.UID != "" && m.UID != there.UID {
						return true, nil, apierrors.NewConflict(batchv1.Resource("jobs"), there.Name, errors.New("it has changed"))
					}
					patched = true
					return true, there, nil
				})
				c := New("flows", nil, func(string) Client { return clientOf(client) }, kubernetesrun.Marks(), slog.New(slog.DiscardHandler))
				err := tc.write(c, read)
				want := what == "as it was" || what == "changed" && tc.changed
				if patched != want || want != (err == nil) || !want && !apierrors.IsConflict(err) {
					t.Errorf("%s: written %v (%v), want %v", what, patched, err, want)
				}
			}
		})
	}
}

// A Job of our own is known before the watch tells of it. It is forgotten when the watch
// has told, or has not told for too long.
func TestOwnJobsAreKnownUntilTheWatchTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		c := New("flows", nil, func(string) Client { return clientOf(client) }, kubernetesrun.Marks(), slog.New(slog.DiscardHandler))
		names := func() []string {
			var all []string
			for _, j := range c.Known("r").Jobs {
				all = append(all, j.Name)
			}
			return all
		}
		want := func(when string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, names()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		if err := c.Create(t.Context(), jobOfRun("r"), nil); err != nil {
			t.Fatal(err)
		}
		want("before the watch begins", "job-r")
		time.Sleep(RecentFor + time.Second)
		want("after a minute in which the watch told nothing")

		go c.Watch(t.Context())
		synctest.Wait()
		want("when the watch has told", "job-r")
		if len(c.recent) > 0 {
			t.Errorf("remembers %v besides", c.recent)
		}
		if err := client.BatchV1().Jobs("flows").Delete(t.Context(), "job-r", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want("when it was deleted")
	})
}

// fakeJobs and fakePods report, as the fake Clientset does, that they cannot stream lists.
type (
	fakeJobs struct{ typedbatchv1.JobInterface }
	fakePods struct{ typedcorev1.PodInterface }
)

func (fakeJobs) IsWatchListSemanticsUnSupported() bool { return true }
func (fakePods) IsWatchListSemanticsUnSupported() bool { return true }

func clientOf(client *fake.Clientset) Client {
	return Client{
		Jobs: fakeJobs{client.BatchV1().Jobs("flows")}, Pods: fakePods{client.CoreV1().Pods("flows")}, Events: client.CoreV1().Events("flows"),
		UID: func(ctx context.Context) (string, error) { return "here", ctx.Err() },
	}
}

// jobOfRun is a Job of the run's first attempt.
func jobOfRun(id string, change ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: "job-" + id, Namespace: "flows", UID: types.UID("uid of job-" + id),
			Labels: map[string]string{kubernetesrun.LabelFlowRunID: id, job.LabelAttempt: "v1"},
		},
		Status: batchv1.JobStatus{Active: 1},
	}
	for _, c := range change {
		c(j)
	}
	return j
}
