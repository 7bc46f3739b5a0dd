package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestAuthorsErrorFailsOneRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wrong := run("wrong")
		wrong.runConfig("wrong")
		m := newMemory(run("a"), wrong, run("b"))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.Concurrency = 1 })
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(map[string]int{"a": 1, "b": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
		want := prefect.State{Phase: prefect.Finished, Name: "Failed", Message: "cpu_limit: write 500m or 2"}
		if diff := cmp.Diff(want, m.get("wrong").State); diff != "" {
			t.Errorf("state (-want +got):\n%s", diff)
		}
		if m.failed["wrong"] != prefect.ByAuthor {
			t.Error("that is not said to be its author's fault")
		}
		if diff := cmp.Diff([]string{"ERROR cpu_limit: write 500m or 2"}, m.linesOf("wrong")); diff != "" {
			t.Errorf("its log (-want +got):\n%s", diff)
		}
		name, _ := job.Name("prefect-job", "a", "v1", 0)
		if diff := cmp.Diff([]string{"INFO Submitted for execution: Job " + name}, m.linesOf("a")); diff != "" {
			t.Errorf("another's log (-want +got):\n%s", diff)
		}
	})
}

// One bad roll-out of the operator's template used to fail a whole backlog: every
// run without a template of its own was claimed to be set Failed.
func TestOperatorsTemplateFailsNoRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const backlog = 150 // more than one look brings
		m := newMemory()
		for i := range backlog {
			m.set(run(fmt.Sprintf("r%03d", i)).due(time.Now().Add(-time.Hour)))
		}
		own := run("own").due(time.Now())
		own.runConfig(`{"type": "KubernetesRun", "job_template": {}}`)
		m.set(own)
		repaired := run("repaired").claimedBy("other", "v1", "prefect-job-repaired", time.Now().Add(-time.Hour))
		m.set(repaired)

		b := &bench{t: t, m: m, client: fake.NewClientset(), logs: &logBuffer{}, began: time.Now(), ended: make(chan error, 1)}
		o := options("me")
		o.Concurrency = 2
		o.Logger = slog.New(slog.NewTextHandler(b.logs, nil))
		b.Launcher = mustNew(t, o, m, b.client)
		b.renderer = mendable{wrong: func() error {
			if time.Since(b.began) < time.Minute {
				return errors.New("it is a Pod")
			}
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		b.cancel = cancel
		go func() { b.ended <- b.Run(ctx) }()

		time.Sleep(50 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"own": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run while the template is wrong (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff("Scheduled", m.get("r000").State.Name); diff != "" {
			t.Errorf("the state of a run that waits (-want +got):\n%s", diff)
		}
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if got := len(b.jobs()); got != backlog+2 {
			t.Errorf("%d Jobs once the template is mended, want %d", got, backlog+2)
		}
		if n := b.logs.count("level=ERROR") + b.logs.count("level=WARN"); n != 1 {
			t.Errorf("%d complaints, want one:\n%s", n, b.logs)
		}
		for text, want := range map[string]int{
			`level=ERROR msg="upstream is failing, retrying" upstream=job_template err="it is a Pod: mend it, or set JOB_TEMPLATE (--job-template) to another; runs without a template of their own wait"`: 1,
			`msg="upstream answers again" upstream=job_template`: 1,
		} {
			if got := b.logs.count(text); got != want {
				t.Errorf("%q is logged %d times, want %d", text, got, want)
			}
		}
	})
}

func TestInvalidJobFailsItsRunWithTheServersWords(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  *runBuilder
		err  error
		want string
	}{
		{
			"invalid", run("r"),
			apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "j", nil),
			`Job.batch "j" is invalid`,
		},
		{
			"denied by a webhook", run("r"),
			apierrors.NewForbidden(jobsResource, "j", errors.New(`admission webhook "policy" denied the request: no team label`)),
			`denied the request: no team label`,
		},
		{
			"of a retried run", run("r").retrying("t", 3, time.Time{}),
			apierrors.NewBadRequest("strict decoding error"), "strict decoding error",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(tc.run, run("other"))
				b := start(t, m, func(_ *Options, client *fake.Clientset) {
					refusing(client, func(run string) error {
						if run == "r" {
							return tc.err
						}
						return nil
					})
				})
				if err := b.leave(); err != nil {
					t.Error(err)
				}
				s := m.get("r").State
				if s.Name != "Failed" || !strings.Contains(s.Message, tc.want) {
					t.Errorf("state %+v, want Failed with %q", s, tc.want)
				}
				lines := m.linesOf("r")
				if len(lines) != 1 || !strings.HasPrefix(lines[0], "ERROR ") || !strings.Contains(lines[0], tc.want) || !strings.Contains(lines[0], "prefect.io/flow_run_id: r") {
					t.Errorf("log %q, want one ERROR with the words and the Job", lines)
				}
				if diff := cmp.Diff(map[string]int{"other": 1}, jobsByRun(t, b.client)); diff != "" {
					t.Errorf("Jobs by run (-want +got):\n%s", diff)
				}
			})
		})
	}
}
