package launcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// bench is a launcher at work in a bubble of its own time.
type bench struct {
	*Launcher
	t      *testing.T
	m      *memory
	client *fake.Clientset
	logs   *logBuffer
	began  time.Time
	cancel context.CancelFunc
	ended  chan error
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// start runs a launcher; change may alter its options or the fake cluster first.
func start(t *testing.T, m *memory, change ...func(*Options, *fake.Clientset)) *bench {
	t.Helper()
	return startWith(t, m, fake.NewClientset(), change...)
}

// startWith starts one in a cluster that others may be in.
func startWith(t *testing.T, m *memory, client *fake.Clientset, change ...func(*Options, *fake.Clientset)) *bench {
	t.Helper()
	b := &bench{t: t, m: m, client: client, logs: &logBuffer{}, began: time.Now(), ended: make(chan error, 1)}
	o := options("me")
	o.Logger = slog.New(slog.NewTextHandler(b.logs, nil))
	for _, c := range change {
		c(&o, b.client)
	}
	b.Launcher = mustNew(t, o, m, b.client)
	ctx, cancel := context.WithCancel(t.Context())
	b.cancel = cancel
	go func() { b.ended <- b.Run(ctx) }()
	return b
}

// leave waits for the launcher to end by itself.
func (b *bench) leave() error {
	defer b.cancel()
	select {
	case err := <-b.ended:
		return err
	case <-time.After(6 * time.Hour):
		b.cancel()
		return errors.Join(errors.New("it does not leave by itself"), <-b.ended)
	}
}

// stop ends it as SIGTERM does.
func (b *bench) stop() {
	b.t.Helper()
	b.cancel()
	if err := <-b.ended; err != nil {
		b.t.Errorf("Run: %v", err)
	}
}

func (b *bench) jobs() []batchv1.Job {
	b.t.Helper()
	list, err := b.client.BatchV1().Jobs("flows").List(b.t.Context(), metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return list.Items
}

// refusing makes creating Jobs fail as of says.
func refusing(client *fake.Clientset, of func(run string) error) {
	client.PrependReactor("create", "jobs", func(a clienttesting.Action) (bool, runtime.Object, error) {
		j := a.(clienttesting.CreateAction).GetObject().(*batchv1.Job)
		err := of(j.Labels[job.LabelFlowRunID])
		return err != nil, nil, err
	})
}

var jobsResource = schema.GroupResource{Group: "batch", Resource: "jobs"}

func quota() error {
	return apierrors.NewForbidden(jobsResource, "j", errors.New("exceeded quota: jobs, requested: count/jobs.batch=1, used: count/jobs.batch=5, limited: count/jobs.batch=5"))
}

func TestIdleLauncherLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, newMemory())
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if took := time.Since(b.began); took < time.Minute || took > time.Minute+2*time.Second {
			t.Errorf("left after %s, want the idle timeout of 1m", took)
		}
		if got := b.m.count("announce"); got != 1 && got != 2 {
			t.Errorf("announced %d times in a minute, want at the start and once a minute", got)
		}
		if !strings.Contains(b.logs.String(), `reason=idle`) {
			t.Errorf("the last line does not say why it left:\n%s", b.logs)
		}
	})
}

func TestLauncherStaysWhileSomethingIsDue(t *testing.T) {
	for name, runs := range map[string][]*runBuilder{
		"ahead":                       {run("r").due(time.Date(2000, 1, 1, 0, 0, 59, 0, time.UTC))},
		"claimed, its pod yet to run": {run("r")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t, newMemory(runs...))
				if err := b.leave(); err != nil {
					t.Error(err)
				}
				if len(b.jobs()) != 1 {
					t.Errorf("%d Jobs, want 1\n%s", len(b.jobs()), b.logs)
				}
			})
		})
	}
}

func TestScheduledRunsAreLaunchedOnTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		want := map[string]time.Duration{}
		for i := range 40 {
			after := time.Duration(i)*777*time.Millisecond + 123*time.Microsecond
			id := fmt.Sprintf("r%02d", i)
			m.set(run(id).due(time.Now().Add(after)))
			want[id] = after
		}
		got := map[string]time.Duration{}
		var mu sync.Mutex
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.Concurrency = 1 // what is ahead must not occupy it
			began := time.Now()
			refusing(client, func(run string) error {
				mu.Lock()
				defer mu.Unlock()
				got[run] = time.Since(began)
				return nil
			})
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		// The first is due before Jobs are known.
		for _, id := range []string{"r00"} {
			if got[id] > time.Second {
				t.Errorf("%s was launched at %s", id, got[id])
			}
			delete(got, id)
			delete(want, id)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("when launched, by run (-want +got):\n%s", diff)
		}
	})
}

// With no lookahead a run is launched at the first look after its time.
func TestNoLookahead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now().Add(30 * time.Second)))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.Lookahead = 0 })
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if b.Lookahead != 0 || len(b.jobs()) != 0 {
			t.Errorf("looks %s ahead and has %d Jobs before the run is due", b.Lookahead, len(b.jobs()))
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs once the run is due, want 1", len(b.jobs()))
		}
		b.stop()
	})
}

func TestPrefectAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now().Add(30 * time.Second)))
		began := time.Now()
		m.fault = func(op, _ string, _ bool) error {
			if time.Since(began) < time.Hour && op != "announce" {
				return errors.New("connection refused")
			}
			return nil
		}
		b := start(t, m)
		time.Sleep(time.Hour)
		synctest.Wait()
		if asked := m.count("due"); asked < 360 || asked > 480 {
			t.Errorf("asked %d times in an hour of failures, want about every 8 to 10 s", asked)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs 10 s after Prefect came back, want 1", len(b.jobs()))
		}
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		for text, want := range map[string]int{`msg="upstream fails; trying on" upstream=prefect `: 1, `msg="upstream answers again" upstream=prefect `: 1} {
			if got := b.logs.count(text); got != want {
				t.Errorf("%q is logged %d times, want %d", text, got, want)
			}
		}
	})
}

// Prefect's wish is one for all we ask of it, not one for each run.
func TestPrefectIsLeftAloneWhenItAsksForIt(t *testing.T) {
	for _, first := range []string{"claim", "due", "claimed", "read"} {
		t.Run(first, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory()
				m.slow(100 * time.Millisecond)
				m.lag = 20 * time.Millisecond
				for i := range 50 {
					r := run(fmt.Sprintf("r%02d", i)).due(time.Now())
					if first == "read" { // as it is right before its tasks are claimed
						r = r.retrying("t", 4, time.Now())
					}
					m.set(r)
				}
				began, refused := time.Now(), 0
				m.fault = func(op, _ string, _ bool) error {
					if op == "announce" || time.Since(began) > 10*time.Minute || refused == 0 && op != first {
						return nil
					}
					if first == "claimed" && op == "due" && time.Since(began) < time.Second {
						return nil // and is told after the refusal
					}
					refused++
					return throttled(time.Minute)
				}
				b := start(t, m)
				time.Sleep(50 * time.Second)
				synctest.Wait()
				m.mu.Lock()
				atOnce := refused
				m.mu.Unlock()
				if atOnce < 1 || atOnce > 16+int(questions) {
					t.Errorf("refused %d times at first, want no more than were under way", atOnce)
				}
				time.Sleep(9 * time.Minute)
				synctest.Wait()
				m.mu.Lock()
				again := refused - atOnce
				m.mu.Unlock()
				if again < 8 || again > 9*int(questions) {
					t.Errorf("refused %d times in 9 minutes, want one look a minute", again)
				}
				time.Sleep(90 * time.Second)
				synctest.Wait()
				if n := len(b.jobs()); n != 50 {
					t.Errorf("%d Jobs after the last wish was over, want 50\n%s", n, b.logs)
				}
				if n := b.logs.count("left alone"); n < 9 || n > 10 {
					t.Errorf("%d lines say why nothing happens, want one a pause", n)
				}
				b.stop()
			})
		})
	}
}

func TestKeyIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.fault = func(string, string, bool) error { return fmt.Errorf("read: %w", prefect.ErrAuth) }
		b := start(t, m)
		err := b.leave()
		if !errors.Is(err, prefect.ErrAuth) || !strings.Contains(err.Error(), "PREFECT__CLOUD__API_KEY") {
			t.Errorf("Run: %v, want one that says which setting to check", err)
		}
	})
	t.Run("later", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			m := newMemory()
			began := time.Now()
			m.fault = func(string, string, bool) error {
				if since := time.Since(began); since > 30*time.Second && since < 10*time.Minute {
					return fmt.Errorf("read: %w", prefect.ErrAuth)
				}
				return nil
			}
			b := start(t, m)
			if err := b.leave(); err != nil {
				t.Errorf("Run: %v; once under way a refused key is for the log", err)
			}
			if b.logs.count("level=ERROR") != 4 {
				t.Errorf("want one ERROR line for each of the three questions and one for the agent:\n%s", b.logs)
			}
		})
	})
}

func TestAgentThatCannotRegisterIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		began := time.Now()
		m.fault = func(op, _ string, _ bool) error {
			if op == "announce" && time.Since(began) < 5*time.Minute {
				return errors.New("no agents today")
			}
			return nil
		}
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.IdleTimeout = 10 * time.Minute })
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		for text, want := range map[string]int{
			`level=WARN msg="upstream fails; trying on" upstream=prefect_agent err="no agents today"`: 1,
			`level=INFO msg="upstream answers again" upstream=prefect_agent failures=5`:               1,
		} {
			if got := b.logs.count(text); got != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, got, want, b.logs)
			}
		}
	})
}

func TestWatchIsForbidden(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, newMemory(), func(_ *Options, client *fake.Clientset) {
			client.PrependReactor("list", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(jobsResource, "", errors.New("no"))
			})
		})
		err := b.leave()
		if err == nil || !strings.Contains(err.Error(), "the launcher's Role in namespace flows must allow get, list, watch and create on jobs") {
			t.Errorf("Run: %v, want one that says what to allow", err)
		}
	})
}

func TestAuthorsErrorFailsOneRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		wrong := run("wrong")
		wrong.RunConfig = []byte("wrong")
		m := newMemory(run("a"), wrong, run("b"))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.Concurrency = 1 })
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(map[string]int{"a": 1, "b": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
		want := prefect.State{Type: prefect.Failed, Message: "cpu_limit: write 500m or 2"}
		if diff := cmp.Diff(want, m.get("wrong").State); diff != "" {
			t.Errorf("state (-want +got):\n%s", diff)
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
		own.RunConfig = []byte(`{"type": "KubernetesRun", "job_template": {}}`)
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
		if diff := cmp.Diff(prefect.Scheduled, m.get("r000").State.Type); diff != "" {
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
			`level=ERROR msg="upstream fails; trying on" upstream=job_template err="it is a Pod: mend it, or set JOB_TEMPLATE (--job-template) to another; runs without a template of their own wait"`: 1,
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
				if s.Type != prefect.Failed || !strings.Contains(s.Message, tc.want) {
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

func TestRunsOnHoldHideNoYoungerOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		for i := range 300 {
			r := run(fmt.Sprintf("r%03d", i)).due(time.Now().Add(-time.Hour))
			r.RunConfig = []byte("away")
			m.set(r)
		}
		m.set(run("good").due(time.Now().Add(-time.Minute)))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 5 * time.Second })
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"good": 1}, jobsByRun(t, b.client)); diff != "" || m.count("due") > 2 {
			t.Errorf("after %d looks Jobs by run (-want +got):\n%s", m.count("due"), diff)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		// 5, 10, 20, 40 and then 60 s, seen at the next look.
		if tries := counter(t, b.metrics.actions.WithLabelValues("launch", "error")) / 300; tries < 10 || tries > 14 {
			t.Errorf("%v tries a run in 10 minutes in which its template is away", tries)
		}
		for i := range 300 {
			r := m.get(fmt.Sprintf("r%03d", i))
			r.RunConfig = nil
			m.set(&runBuilder{r})
		}
		time.Sleep(maxHold + 6*time.Second)
		synctest.Wait()
		if n := len(b.jobs()); n != 301 {
			t.Errorf("%d Jobs a minute after the template is there again, want 301", n)
		}
		b.stop()
	})
}

// Cloud hands out 25 runs at a time; a burst must not wait for an interval each.
func TestTheNextLookFollowsAtOnceWhenThereIsMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.queue = 25
		m.slow(10 * time.Millisecond)
		for i := range 200 {
			m.set(run(fmt.Sprintf("r%03d", i)).due(time.Now()))
		}
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 20 * time.Second })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(b.jobs()); n != 200 {
			t.Errorf("%d Jobs within half an interval, want 200", n)
		}
		if n := m.count("due"); n < 8 || n > 10 {
			t.Errorf("%d looks for 200 runs of which 25 are handed out at once", n)
		}
		b.stop()
	})
}

func TestAllDueTasksOfARunAreClaimed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := run("r")
		for i, task := range []string{"c", "a", "b"} {
			r = r.retrying(task, 4, time.Now().Add(-time.Duration(i)*time.Minute))
		}
		m := newMemory(r)
		b := start(t, m)
		time.Sleep(2 * time.Second)
		b.stop()
		if left := m.get("r").DueTasks; len(left) > 0 {
			t.Errorf("not claimed: %v; a look brings the first task only", left)
		}
		var attempts []string
		for _, j := range b.jobs() {
			attempts = append(attempts, j.Labels[job.LabelAttempt])
		}
		if diff := cmp.Diff([]string{"retry-b-v4"}, attempts); diff != "" {
			t.Errorf("Jobs by attempt (-want +got):\n%s", diff)
		}
	})
}

// A slow server takes more time for all of a mapped task's retries than a claim may
// be old. Each batch has its own read and its own bound.
func TestRetriesOfAMappedTaskAreClaimedBatchByBatch(t *testing.T) {
	mapped := func(n int) *memory {
		r := run("r")
		for i := range n {
			r = r.retrying(fmt.Sprintf("t-%04d", i), 4, time.Now().Add(-time.Minute))
		}
		m := newMemory(r)
		m.latency = 800 * time.Millisecond
		return m
	}
	for name, tc := range map[string]struct {
		lost         int // the answer to this claim, which is carried out
		refused      int // this claim
		away         int // the API takes no claims from this one on
		stopped      int // at this read the launcher is stopped
		left, claims int
	}{
		"all are won":                {claims: 12},
		"the answer to one is lost":  {lost: 5, claims: 12},
		"one is refused, as Cloud's": {refused: 5, left: 800, claims: 5},
		"none is taken any more":     {away: 5, left: 800, claims: 5},
		"the launcher is stopped":    {stopped: 3, left: 900, claims: 3},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, claims := mapped(1200), 0
				var read time.Time
				reads, stop := 0, make(chan struct{})
				m.fault = func(op, _ string, written bool) error {
					switch {
					case op == "read":
						read = time.Now()
						if reads++; reads == tc.stopped {
							close(stop)
						}
					case op == "claim" && !written:
						claims++
						if since := time.Since(read); since > claimWithin {
							t.Errorf("claim %d is sent %s after the read", claims, since)
						}
						switch {
						case claims == tc.refused:
							return throttled(time.Hour)
						case tc.away > 0 && claims >= tc.away:
							return errLost
						}
					case op == "claim" && claims == tc.lost:
						return errLost
					}
					return nil
				}
				b := start(t, m)
				select {
				case <-stop:
				case <-time.After(time.Minute):
				}
				b.stop()
				if left := m.get("r").DueTasks; len(left) != tc.left || claims != tc.claims {
					t.Errorf("%d tasks are not claimed after %d claims, want %d after %d", len(left), claims, tc.left, tc.claims)
				}
				if jobs := b.jobs(); len(jobs) != 1 {
					t.Errorf("%d Jobs, want 1", len(jobs))
				}
			})
		})
	}
}

func TestQuotaForAWhileHoldsUpNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("big"), run("big too"))
		began := time.Now()
		tries := 0
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.Concurrency = 1
			refusing(client, func(run string) error {
				if strings.HasPrefix(run, "big") && time.Since(began) < 2*time.Minute {
					tries++
					return quota()
				}
				return nil
			})
		})
		time.Sleep(5 * time.Second)
		m.set(run("small").due(time.Now()))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"small": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run while the quota is full (-want +got):\n%s", diff)
		}
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(map[string]int{"small": 1, "big": 1, "big too": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
		if tries < 20 || tries > 60 {
			t.Errorf("%d tries for two runs in 2 minutes, want about every 8 to 10 s", tries)
		}
		lines := m.linesOf("big")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "WARNING Kubernetes does not take the Job of this run yet") || !strings.Contains(lines[0], "exceeded quota: jobs") {
			t.Errorf("log %q, want one warning with the quota and one line of success", lines)
		}
	})
}

func TestQuotaForGoodHandsTheRunBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.RetryFor = 30 * time.Second
			refusing(client, func(string) error { return quota() })
		})
		time.Sleep(45 * time.Second)
		synctest.Wait()
		s := m.get("r").State
		if s.Type != prefect.Scheduled || !s.StartTime.After(time.Now()) || !strings.Contains(s.Message, "exceeded quota") {
			t.Errorf("state %+v, want Scheduled for later with the reason", s)
		}
		b.stop()
	})
}

func TestOperatorsErrorHandsTheRunBackAndSaysWhatToChange(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"permission": {
			apierrors.NewForbidden(jobsResource, "j", errors.New(`User "x" cannot create resource "jobs"`)),
			"the launcher's Role in namespace flows must allow get, list, watch and create on jobs",
		},
		"no namespace": {
			apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "flows"),
			"the namespace flows does not exist: create it, or set another one for Jobs",
		},
		"namespace goes": {
			&apierrors.StatusError{ErrStatus: metav1.Status{
				Code: 403, Reason: metav1.StatusReasonForbidden, Message: "being terminated",
				Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}},
			}},
			"the namespace flows is being deleted: create it again, or set another one for Jobs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory(run("r"))
				b := start(t, m, func(_ *Options, client *fake.Clientset) {
					refusing(client, func(string) error { return tc.err })
				})
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if s := m.get("r").State; s.Type != prefect.Scheduled || !strings.Contains(s.Message, tc.want) {
					t.Errorf("state %+v, want Scheduled with %q", s, tc.want)
				}
				if !strings.Contains(b.logs.String(), tc.want) {
					t.Errorf("the launcher's log does not say %q:\n%s", tc.want, b.logs)
				}
				b.stop()
			})
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		var tries []time.Duration
		b := start(t, m, func(_ *Options, client *fake.Clientset) {
			began := time.Now()
			refusing(client, func(string) error {
				tries = append(tries, time.Since(began).Round(time.Second))
				if len(tries) == 1 {
					return apierrors.NewTooManyRequests("slow down", 40)
				}
				return nil
			})
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if len(tries) != 2 || tries[1]-tries[0] != 40*time.Second {
			t.Errorf("tries at %v, want the second 40 s after the first", tries)
		}
	})
}

func TestNameTakenByAnotherRunsJob(t *testing.T) {
	bubble(t, func(t *testing.T) {
		name, _ := job.Name("prefect-job", "r", "v1", 0)
		next, _ := job.Name("prefect-job", "r", "v1", 1)
		b := start(t, newMemory(run("r")), func(_ *Options, client *fake.Clientset) {
			other := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "flows", Labels: map[string]string{job.LabelFlowRunID: "other"}}}
			if err := client.Tracker().Add(other); err != nil {
				t.Fatal(err)
			}
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		got := map[string]string{}
		for _, j := range b.jobs() {
			got[j.Name] = j.Labels[job.LabelFlowRunID]
		}
		if diff := cmp.Diff(map[string]string{name: "other", next: "r"}, got); diff != "" {
			t.Errorf("Jobs (-want +got):\n%s", diff)
		}
	})
}

func TestDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.slow(300 * time.Millisecond)
		for i := range 60 {
			m.set(run(fmt.Sprintf("due%02d", i)))
		}
		m.set(run("ahead").due(time.Now().Add(8 * time.Second)))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.Concurrency = 4 })
		time.Sleep(2 * time.Second)
		began := time.Now()
		b.stop()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("draining took %s", took)
		}
		created := jobsByRun(t, b.client)
		if len(created) == 0 || len(created) == 60 {
			t.Fatalf("%d Jobs: the launcher was not stopped in the midst of it", len(created))
		}
		for id, r := range m.runs {
			want := prefect.Scheduled
			if created[id] == 1 {
				want = prefect.Submitted
			}
			if r.State.Type != want {
				t.Errorf("%s with %d Jobs is %s", id, created[id], r.State.Type)
			}
		}
		if got := len(m.logs); got != len(created) {
			t.Errorf("%d log lines for %d Jobs", got, len(created))
		}
	})
}

func TestDrainHandsBackWhatKubernetesWillNotTake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("a"), run("b"))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			refusing(client, func(string) error { return quota() })
		})
		time.Sleep(20 * time.Second)
		b.stop()
		for _, id := range []string{"a", "b"} {
			if s := m.get(id).State; s.Type != prefect.Scheduled || s.StartTime.After(time.Now()) {
				t.Errorf("%s: state %+v, want Scheduled and due for the next launcher", id, s)
			}
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.DrainTimeout = 3 * time.Second
			refusing(client, func(string) error {
				m.slow(time.Hour) // from now on Prefect does not answer
				return apierrors.NewBadRequest("the run must be failed")
			})
		})
		time.Sleep(2 * time.Second)
		began := time.Now()
		b.stop()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("draining took %s, want the drain timeout of 3s", took)
		}
		if !strings.Contains(b.logs.String(), "left=1") {
			t.Errorf("the last line does not say that a claim was left:\n%s", b.logs)
		}
	})
}

func TestMaxPolls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("now"), run("soon").due(time.Now().Add(9*time.Second)))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.MaxPolls = 3 })
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if m.count("due") != 3 {
			t.Errorf("asked %d times, want 3", m.count("due"))
		}
		if diff := cmp.Diff(map[string]int{"now": 1, "soon": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
	})
}

func TestPokeLooksAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 50 * time.Second })
		time.Sleep(time.Second)
		m.set(run("r").due(time.Now()))
		b.Poke()
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs right after the poke, want 1", len(b.jobs()))
		}
		b.stop()
	})
}

// Anybody may poke, as often as he likes: Prefect is asked once a second, and the
// last poke is heard as the first one is.
// Whoever pokes knows of what the look under way was too early for.
func TestPokeDuringALookIsHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.slow(2 * time.Second)
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 20 * time.Second })
		time.Sleep(time.Second) // into the first looks
		b.Poke()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if due, claimed := m.count("due"), m.count("claimed"); due != 2 || claimed != 2 {
			t.Errorf("%d looks at what is due and %d at the claims, want a second one each", due, claimed)
		}
		b.stop()
	})
}

func TestPokesAreHeardOnceASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 50 * time.Second })
		time.Sleep(time.Second)
		before := m.count("due")
		for range 95 {
			b.Poke()
			time.Sleep(100 * time.Millisecond)
		}
		if n := m.count("due") - before; n != 10 {
			t.Errorf("Prefect was asked %d times in 9.5 s of poking, want 10", n)
		}
		m.set(run("r").due(time.Now()))
		b.Poke()
		synctest.Wait()
		b.Poke()
		time.Sleep(time.Second)
		synctest.Wait()
		if n, looks := len(b.jobs()), m.count("due")-before; n != 1 || looks != 11 {
			t.Errorf("%d Jobs and %d looks a second after the last poke, want 1 and 11", n, looks)
		}
		b.stop()
	})
}

func TestHeartbeatsWhileAPodWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now()))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.IdleTimeout = 24 * time.Hour })
		time.Sleep(time.Hour)
		synctest.Wait()
		// Every 3 minutes, seen at the next reading of the claims.
		if beats := m.count("heartbeat"); beats < 18 || beats > 20 {
			t.Errorf("%d heartbeats in an hour, want about one in 3 minutes", beats)
		}
		if err := m.setState(t.Context(), "pod", "r", prefect.State{Type: prefect.Running}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		before := m.count("heartbeat")
		time.Sleep(time.Hour)
		synctest.Wait()
		if m.count("heartbeat") != before {
			t.Errorf("%d heartbeats for a run whose pod runs", m.count("heartbeat")-before)
		}
		b.stop()
	})
}

// A launcher that is woken for a heartbeat sends it at once, again soon if it was
// lost, and does not stay for it.
func TestWokenLauncherBeatsAndLeaves(t *testing.T) {
	for name, lost := range map[string]int{"at once": 0, "the first one is lost": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				began, ago := time.Now(), time.Now().Add(-8*time.Minute)
				m := newMemory(
					run("waits").version(2).claimedBy("gone", "v1", "prefect-job-waits", ago),
					run("waits-2").version(2).claimedBy("gone", "v1", "prefect-job-waits-2", ago),
					run("seen-to").version(2).claimedBy("gone", "v1", "prefect-job-seen-to", ago).beaten(began.Add(-time.Minute)),
				)
				var sent []string
				m.fault = func(op, id string, _ bool) error {
					if op != "heartbeat" {
						return nil
					}
					sent = append(sent, fmt.Sprintf("%s after %s", id, time.Since(began).Round(10*time.Second)))
					if len(sent) <= lost {
						return errLost
					}
					return nil
				}
				client := fake.NewClientset()
				for _, id := range []string{"waits", "waits-2", "seen-to"} {
					add(t, client, jobOfRun(id))
				}
				// One worker, so that the heartbeats come one after another.
				b := startWith(t, m, client, func(o *Options, _ *fake.Clientset) { o.IdleTimeout, o.Concurrency = 40*time.Second, 1 })
				if err := b.leave(); err != nil {
					t.Fatal(err)
				}
				want := []string{"waits after 0s", "waits-2 after 0s"}
				if lost > 0 {
					want = append(want, "waits after 30s")
				}
				if diff := cmp.Diff(want, sent); diff != "" {
					t.Errorf("heartbeats (-want +got):\n%s", diff)
				}
				if stayed := time.Since(began); stayed > time.Minute {
					t.Errorf("stayed for %s", stayed)
				}
			})
		})
	}
}

func TestClaimOfADeadLauncherIsRepaired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		name, _ := job.Name("prefect-job", "r", "v1", 0)
		m := newMemory(run("r").version(2).claimedBy("dead", "v1", name, time.Now()))
		b := start(t, m)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if len(b.jobs()) != 0 {
			t.Error("repaired before the grace was over")
		}
		time.Sleep(7 * time.Second)
		synctest.Wait()
		if jobs := b.jobs(); len(jobs) != 1 || jobs[0].Name != name {
			t.Errorf("Jobs %v, want %s", jobs, name)
		}
		b.stop()
	})
}

func TestRunThatComesBackIsAdopted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		m.replicated()
		b := start(t, m)
		time.Sleep(2 * time.Second)
		// Lazarus, because the pod waits for long.
		if err := m.setState(t.Context(), "lazarus", "r", prefect.State{Type: prefect.Scheduled, StartTime: time.Now()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		name, _ := job.Name("prefect-job", "r", "v1", 0)
		got := m.get("r")
		want := &prefect.Claim{Launcher: "me", Namespace: "flows", NamespaceUID: "here", Job: name, Attempt: "v3"}
		if diff := cmp.Diff(want, got.Claim); diff != "" {
			t.Errorf("claim (-want +got):\n%s", diff)
		}
		b.stop()
		if diff := cmp.Diff(map[string]int{"r": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
	})
}

func TestManyClaimsDoNotDelayWhatIsDue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.claimsLag = 20 * time.Second
		b := start(t, m)
		time.Sleep(3 * time.Second)
		m.set(run("r").due(time.Now()))
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs a poll interval after the run was due, want 1", len(b.jobs()))
		}
		b.stop()
	})
}

// A look may be overtaken by what we did while its answer was under way.
func TestAnswerOlderThanOurActionsIsNotActedUpon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now().Add(500 * time.Millisecond)))
		m.replicated().lag = 700 * time.Millisecond
		// Looks begin at 0, and again within 0.8 to 1.0 s at the latest; poked, one begins
		// right before the launch and answers after it.
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.PollInterval = 100 * time.Millisecond })
		time.Sleep(20 * time.Second)
		b.stop()
		if diff := cmp.Diff([]string{"claim r Submitted"}, m.writes); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
	})
}

func TestRefusedClaimIsNotNowAndNotNever(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now()))
		m.locks["r"] = time.Now() // submitted and rescheduled within the server's 30 s
		b := start(t, m)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs after the lock was gone, want 1", len(b.jobs()))
		}
		if claims := m.count("claim"); claims > 9 {
			t.Errorf("claimed %d times in 30 s, want about every 5 s", claims)
		}
		b.stop()
	})
}

func TestLostLogLineIsNoMatter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		m.fault = func(op, _ string, _ bool) error {
			if op == "log" {
				return errors.New("no logs today")
			}
			return nil
		}
		b := start(t, m)
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if len(b.jobs()) != 1 || m.get("r").State.Type != prefect.Submitted {
			t.Errorf("%d Jobs, state %s", len(b.jobs()), m.get("r").State.Type)
		}
		if got := counter(t, b.metrics.linesDropped); got != 1 {
			t.Errorf("%v lines counted as dropped, want 1", got)
		}
	})
}

// claims of a namespace with our name in another cluster: the Jobs are there, and
// so is whoever sees to them.
func TestAnotherClustersClaimsAreLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		abroad, ours := run("abroad"), run("ours")
		for _, r := range []*runBuilder{abroad, ours} {
			name, _ := job.Name("prefect-job", r.ID, "v1", 0)
			r.version(2).claimedBy("other", "v1", name, time.Now().Add(-time.Minute)).Claim.NamespaceUID = "here"
		}
		abroad.Claim.NamespaceUID = "there"
		silent := run("silent").in(prefect.Running)
		m := newMemory(abroad, ours, silent)
		m.silent = map[string]prefect.Claim{"silent": {Namespace: "flows", NamespaceUID: "there", Job: "job-silent"}}
		b := start(t, m)
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(map[string]int{"ours": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
		if len(m.writes) > 0 || m.count("heartbeat") > 0 {
			t.Errorf("wrote %q and sent %d heartbeats", m.writes, m.count("heartbeat"))
		}
	})
}

func TestNamespaceCannotBeRead(t *testing.T) {
	namespaces := schema.GroupResource{Resource: "namespaces"}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"forbidden": {apierrors.NewForbidden(namespaces, "flows", errors.New("no")), "the launcher's Role in namespace flows must allow get on namespaces"},
		"not there": {apierrors.NewNotFound(namespaces, "flows"), "the namespace flows does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				client := kubernetes(fake.NewClientset(), "flows")
				client.UID = func(context.Context) (string, error) { return "", tc.err }
				l, err := New(options("me"), newMemory(run("r")), template{}, client)
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("Run: %v, want one that says %q", err, tc.want)
				}
			})
		})
	}
	t.Run("Kubernetes away", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			began, m := time.Now(), newMemory(run("r"))
			clientset := fake.NewClientset()
			client := kubernetes(clientset, "flows")
			client.UID = func(context.Context) (string, error) {
				if time.Since(began) < 5*time.Minute {
					return "", errors.New("connection refused")
				}
				return "here", nil
			}
			l, err := New(options("me"), m, template{}, client)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Run(t.Context()); err != nil {
				t.Error(err)
			}
			if r := m.get("r"); r.Claim == nil || r.Claim.NamespaceUID != "here" || len(jobsByRun(t, clientset)) != 1 {
				t.Errorf("claim %+v, Jobs %v", r.Claim, jobsByRun(t, clientset))
			}
		})
	})
}

// The launcher that made the Job remembers it until the watch has told of it, and
// no longer.
func TestJobDeletedByHandBeforeItsPodRanIsCreatedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.IdleTimeout = time.Hour })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		before := b.jobs()
		if len(before) != 1 {
			t.Fatalf("%d Jobs, want 1", len(before))
		}
		if err := b.client.BatchV1().Jobs("flows").Delete(t.Context(), before[0].Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if after := b.jobs(); len(after) != 1 || after[0].Name != before[0].Name {
			t.Errorf("Jobs %v, want %s again", after, before[0].Name)
		}
		b.stop()
	})
}

// The same while its pod lives on, as after a deletion in the background: two pods
// would execute the run at once.
func TestNoJobIsCreatedBesideAPodThatLives(t *testing.T) {
	bubble(t, func(t *testing.T) {
		name, _ := job.Name("prefect-job", "r", "v1", 0)
		m := newMemory(run("r").version(2).claimedBy("other", "v1", name, time.Now().Add(-time.Minute)))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout = time.Hour
			add(t, client, podOf("r", corev1.PodStatus{Phase: corev1.PodRunning}))
		})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if jobs := b.jobs(); len(jobs) > 0 {
			t.Errorf("created %s beside the pod", jobs[0].Name)
		}
		if err := b.client.CoreV1().Pods("flows").Delete(t.Context(), "pod-r", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if jobs := b.jobs(); len(jobs) != 1 || jobs[0].Name != name {
			t.Errorf("Jobs %v after the pod was gone, want %s", jobs, name)
		}
		b.stop()
	})
}

// sidecarLives is a pod whose flow is over and whose other container is not.
func sidecarLives() *corev1.Pod {
	p := podOf("r", corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "flow", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}},
		{Name: "proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
	}})
	p.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "flow"}, {Name: "proxy"}}}
	return p
}

func TestJobThatASidecarKeepsIsNotAdopted(t *testing.T) {
	for name, again := range map[string]func() *runBuilder{
		"restarted":             func() *runBuilder { return run("r").version(5).due(time.Now()) },
		"a task's retry is due": func() *runBuilder { return run("r").version(5).retrying("t", 4, time.Now()) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t, newMemory(again()), func(_ *Options, client *fake.Clientset) { add(t, client, jobOfRun("r"), sidecarLives()) })
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if diff := cmp.Diff(map[string]int{"r": 2}, jobsByRun(t, b.client)); diff != "" {
					t.Errorf("Jobs by run (-want +got):\n%s", diff)
				}
				b.stop()
			})
		})
	}
}

// Started again in the seconds between the run's end and its Job's, the run is
// claimed with a Job whose pod will not take it.
func TestClaimWithAJobThatEndedIsRepairedUnderItsOwnName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").version(5).due(time.Now()))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout = time.Hour
			add(t, client, jobOfRun("r"))
		})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if c := m.get("r").Claim; c == nil || c.Job != "job-r" {
			t.Fatalf("claim %+v, want one that adopted job-r", c)
		}
		ended := jobOfRun("r", complete)
		if _, err := b.client.BatchV1().Jobs("flows").Update(t.Context(), ended, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		name, _ := job.Name("prefect-job", "r", "v5", 0)
		got := map[string]string{}
		for _, j := range b.jobs() {
			got[j.Name] = j.Labels[job.LabelAttempt]
		}
		if diff := cmp.Diff(map[string]string{"job-r": "v1", name: "v5"}, got); diff != "" {
			t.Errorf("attempts by Job (-want +got):\n%s", diff)
		}
		b.stop()
	})
}

func TestRunIsHandedBackWhileKubernetesHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		clientset := fake.NewClientset()
		refusing(clientset, func(string) error { return quota() })
		client := kubernetes(clientset, "flows")
		client.Jobs = hanging{client.Jobs.(fakeJobs)}
		o := options("me")
		o.RetryFor = 30 * time.Second
		l, err := New(o, m, template{}, client)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if s := m.get("r").State; s.Type != prefect.Scheduled {
			t.Errorf("state %+v, want Scheduled", s)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// hanging does not answer when it is asked for the Jobs of one run.
type hanging struct{ fakeJobs }

func (h hanging) List(ctx context.Context, o metav1.ListOptions) (*batchv1.JobList, error) {
	if !strings.Contains(o.LabelSelector, "=") {
		return h.fakeJobs.List(ctx, o)
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// From the claim of its tasks on nothing keeps Prefect from rescheduling a run
// that gave no sign of life while its task waited.
func TestRelaunchedRunGivesASignOfLifeBeforeItsTasksAreClaimed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
		m := newMemory(run("r").retrying("t", 4, time.Now()))
		m.fault = func(op, _ string, written bool) error {
			if op == "heartbeat" || op == "claim" && !written {
				note(op)
			}
			return nil
		}
		b := start(t, m, func(_ *Options, client *fake.Clientset) {
			refusing(client, func(string) error { note("create"); return nil })
		})
		time.Sleep(5 * time.Second)
		b.stop()
		if diff := cmp.Diff([]string{"create", "heartbeat", "claim"}, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

// Claims that wait for a quota keep launchers neither from the Jobs in trouble that
// fill it nor, where they are another's, from what is due.
func TestClaimsThatWaitHoldUpNothingElse(t *testing.T) {
	waiting := func(by string, n int) []*runBuilder {
		var runs []*runBuilder
		for i := range n {
			id := fmt.Sprintf("waits-%02d", i)
			name, _ := job.Name("prefect-job", id, "v1", 0)
			runs = append(runs, run(id).version(2).claimedBy(by, "v1", name, time.Now().Add(-time.Minute)))
		}
		return runs
	}
	full := func(run string) error {
		if strings.HasPrefix(run, "waits") {
			return quota()
		}
		return nil
	}
	t.Run("Jobs in trouble", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			m := newMemory(run("stuck").in(prefect.Submitted))
			for i := range 64 {
				m.set(run(fmt.Sprintf("waits-%02d", i)).due(time.Now()))
			}
			b := start(t, m, func(_ *Options, client *fake.Clientset) {
				refusing(client, func(run string) error {
					if full(run) == nil {
						return nil
					}
					return apierrors.NewTooManyRequests("slow down", 3600)
				})
			})
			time.Sleep(2 * time.Minute)
			add(t, b.client, jobOfRun("stuck"), podOf("stuck", cannotPull()))
			time.Sleep(time.Minute + 31*time.Second)
			synctest.Wait()
			if s := m.get("stuck").State.Type; s != prefect.Failed {
				t.Errorf("the run whose image cannot be pulled is %s, want Failed", s)
			}
			b.stop()
		})
	})
	t.Run("due runs", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			m := newMemory(waiting("other", 64)...)
			var mu sync.Mutex
			tried := map[string]bool{}
			b := start(t, m, func(_ *Options, client *fake.Clientset) {
				refusing(client, func(run string) error {
					mu.Lock()
					defer mu.Unlock()
					tried[run] = true
					return full(run)
				})
			})
			time.Sleep(30 * time.Second)
			m.set(run("small").due(time.Now()))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if diff := cmp.Diff(map[string]int{"small": 1}, jobsByRun(t, b.client)); diff != "" {
				t.Errorf("Jobs by run (-want +got):\n%s", diff)
			}
			if delete(tried, "small"); len(tried) != maxRepairs*b.Concurrency {
				t.Errorf("of another's claims %d are tried, want %d at once", len(tried), maxRepairs*b.Concurrency)
			}
			b.stop()
		})
	})
}
