package admission

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"golang.org/x/sync/singleflight"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// acceptedFor lets a burst of runs with an author's mistake ask once a second.
	acceptedFor = time.Second
	refusedFor  = 10 * time.Second
	// maxAnswers bounds the memory. Usually there is one answer for each flow.
	maxAnswers = 256
)

// RefusedError is Kubernetes' refusal of the Job of any run that brings nothing of its
// own. It fails no run: runs wait until the operator has fixed the Job template, a
// setting or a policy.
type RefusedError struct{ Err error }

// Error says what to fix.
func (e *RefusedError) Error() string {
	what := "fix the setting behind the named field, or with Prefect 1 the Job template (JOB_TEMPLATE, --job-template)"
	if isDenial(e.Err) {
		what = "an admission webhook or policy wants other Jobs: have the settings, or with Prefect 1 the Job template (JOB_TEMPLATE, --job-template), meet it, or exempt the namespace"
	}
	return fmt.Sprintf("Kubernetes refuses the Job of any run that brings nothing of its own: %s: %s; runs it refuses wait", jobs.WordsOf(e.Err), what)
}

// Unwrap is Kubernetes' answer.
func (e *RefusedError) Unwrap() error { return e.Err }

// Lasting reports whether no such Job can ever work. What a policy wants may change without us.
func (e *RefusedError) Lasting() bool { return apierrors.IsInvalid(e.Err) && !isDenial(e.Err) }

// Trial asks Kubernetes about Jobs by dry runs. When Kubernetes refuses a run's Job, a
// dry run of the neutral Job tells who has to act: if Kubernetes refuses that one too,
// the operator, else the author.
type Trial struct {
	renderer Renderer
	jobs     Jobs
	marks    job.Marks
	flights  singleflight.Group

	mu      sync.Mutex
	answers map[[sha256.Size]byte]judgement // by the anonymous Job
	// refuses is the last answer about the neutral Job, by whether it was for runs with a
	// template of their own.
	refuses map[bool]bool
	// barred: the last answer about any Job said that a permission or the namespace is
	// missing.
	barred bool
}

// judgement is Kubernetes' answer about a Job; refused is nil if it accepts the Job.
type judgement struct {
	refused *RefusedError
	asked   time.Time
}

// Jobs tries to create a Job in a dry run.
type Jobs interface {
	Try(ctx context.Context, j *batchv1.Job) error
}

// Renderer makes Jobs, as in launcher.Renderer.
type Renderer interface {
	Render(ctx context.Context, run prefect.FlowRun) (job.Rendering, error)
	Neutral(ownTemplate bool) prefect.FlowRun
}

// NewTrial returns a trial that has asked nothing yet. Jobs that differ only by their run,
// as the marks tell it, get one answer.
func NewTrial(r Renderer, j Jobs, m job.Marks) *Trial {
	return &Trial{renderer: r, jobs: j, marks: m, answers: map[[sha256.Size]byte]judgement{}, refuses: map[bool]bool{}}
}

// Blame finds out who has to act after Kubernetes refused a run's Job: the operator if it
// returns a refusal, else the author; with an error nobody can tell. A run with its own
// template has nothing of the launcher's template, so a mistake in that does not count.
func (t *Trial) Blame(ctx context.Context, ownTemplate bool) (*RefusedError, error) {
	refused, err := t.Neutral(ctx, false)
	if err != nil || refused == nil || !ownTemplate {
		return refused, err
	}
	return t.Neutral(ctx, true)
}

// Wary reports whether Kubernetes lately refused the neutral Job, or barred us from
// creating any.
func (t *Trial) Wary(ownTemplate bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refuses[ownTemplate] || t.barred
}

// Heard applies Kubernetes' answer about any Job, from a dry run or not.
func (t *Trial) Heard(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.barred = err != nil && AddresseeOf(err) == Operator
}

// Neutral asks about the Job of a neutral run, as the renderer makes it now.
func (t *Trial) Neutral(ctx context.Context, ownTemplate bool) (*RefusedError, error) {
	made, err := t.renderer.Render(ctx, t.renderer.Neutral(ownTemplate))
	if err != nil {
		return nil, fmt.Errorf("render a trial Job: %w", err)
	}
	refused, err := t.Ask(ctx, made.Job)
	if err == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.refuses[ownTemplate] = refused != nil
	}
	return refused, err
}

// Ask returns an answer about a Job, which may be some seconds old. Calls about equal
// Jobs at the same time share one question.
func (t *Trial) Ask(ctx context.Context, j *batchv1.Job) (*RefusedError, error) {
	text, err := json.Marshal(t.marks.Anonymous(j))
	if err != nil {
		return nil, fmt.Errorf("tell Jobs apart: %w", err)
	}
	key := sha256.Sum256(text)
	if last, ok := t.known(key); ok {
		return last.refused, nil
	}
	refused, err, _ := t.flights.Do(string(key[:]), func() (any, error) {
		last := judgement{asked: time.Now()}
		err := t.jobs.Try(ctx, j)
		t.Heard(err)
		switch {
		case err == nil, AddresseeOf(err) == NameExists:
		case AddresseeOf(err) == Author:
			last.refused = &RefusedError{err}
		default:
			return last.refused, fmt.Errorf("try a Job: %w", err)
		}
		t.keep(key, last)
		return last.refused, nil
	})
	return refused.(*RefusedError), err
}

func (t *Trial) known(key [sha256.Size]byte) (judgement, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, ok := t.answers[key]
	return last, ok && last.counts(time.Now())
}

func (a judgement) counts(now time.Time) bool {
	if a.refused == nil {
		return claims.Age(a.asked, now) < acceptedFor
	}
	return claims.Age(a.asked, now) < refusedFor
}

// keep makes room by forgetting expired answers, or all if none has expired.
func (t *Trial) keep(key [sha256.Size]byte, last judgement) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.answers) >= maxAnswers {
		for k, a := range t.answers {
			if !a.counts(last.asked) {
				delete(t.answers, k)
			}
		}
	}
	if len(t.answers) >= maxAnswers {
		clear(t.answers)
	}
	t.answers[key] = last
}
