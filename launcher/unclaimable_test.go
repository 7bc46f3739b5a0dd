package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// What is too large to be claimed is its author's to mend, unless its Job is there
// already, whose pod needs no claim.
func TestAuthorOfWhatIsTooLargeToBeClaimedIsTold(t *testing.T) {
	carrying := func(r *runBuilder) *runBuilder {
		state := &r.State
		if tasks := tasksOf(r.FlowRun); len(tasks) > 0 {
			state = &tasks[0].State
		}
		state.Opaque = json.RawMessage(strings.Repeat("x", maxOpaque+1))
		return r
	}
	long := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		run    *runBuilder
		job    *runBuilder // the attempt that there is a Job of
		ended  bool
		writes []string
		jobs   int
	}{
		"a scheduled run":              {run: carrying(run("r").due(long)), writes: []string{"claim r Submitted", "fail r Failed"}},
		"a scheduled run with its Job": {run: carrying(run("r").version(3).due(long)), job: run("r"), jobs: 1},
		"a retry":                      {run: carrying(run("r").retrying("t", 4, long)), jobs: 1},
		"a retry whose Job has ended":  {run: carrying(run("r").retrying("t", 4, long)), job: run("r").retrying("t", 4, long), ended: true, writes: []string{"fail r Failed"}, jobs: 1},
		"one that is not too large":    {run: run("r").due(long), writes: []string{"claim r Submitted"}, jobs: 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.run)
				b := start(t, m, func(_ *Options, client *fake.Clientset) {
					if tc.job == nil {
						return
					}
					made, err := template{}.Render(t.Context(), tc.job.FlowRun)
					if err != nil {
						t.Fatal(err)
					}
					j := made.Job
					if j.Namespace = "flows"; tc.ended {
						complete(j)
					}
					add(t, client, j)
				})
				time.Sleep(2 * time.Minute)
				b.stop()
				if diff := cmp.Diff(tc.writes, m.writes); diff != "" {
					t.Errorf("writes (-want +got):\n%s\n%s", diff, b.logs)
				}
				if jobs := b.jobs(); len(jobs) != tc.jobs {
					t.Errorf("%d Jobs, want %d", len(jobs), tc.jobs)
				}
				if told := m.get("r").State.Name == "Failed"; told && !strings.Contains(strings.Join(m.linesOf("r"), "\n"), errTooLarge.Message) {
					t.Errorf("the author reads %q", m.linesOf("r"))
				}
			})
		})
	}
}

// neverClaimed is an API for which every claim is too large.
type neverClaimed struct{ *memory }

func (n neverClaimed) Claim(ctx context.Context, run prefect.FlowRun, _ prefect.Claim) (prefect.ClaimResult, error) {
	return prefect.ClaimResult{}, errors.Join(n.begin(ctx, "claim", run.ID), errTooLarge)
}

func TestClaimThatIsTooLargeWithoutTheStateIsNotSentForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		l := mustNew(t, options("me"), neverClaimed{m}, fake.NewClientset())
		ctx, cancel := context.WithTimeout(t.Context(), claims.HandBackDelay)
		defer cancel()
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
		if claims := m.count("claim"); claims != 2 {
			t.Errorf("%d claims before it is looked at again, want one with the state and one without", claims)
		}
	})
}
