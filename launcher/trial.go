package launcher

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

	"github.com/prefect-keda/prefect-keda/job"
)

const (
	// takenFor is how long it counts that Kubernetes would take a Job: a burst of runs
	// that their authors got wrong asks once a second.
	takenFor = time.Second
	// refusedFor is how long it counts that it would not, before somebody asks again.
	refusedFor = 10 * time.Second
	// maxAnswers are remembered: one for each flow, as a rule.
	maxAnswers = 256
)

// RefusedError is Kubernetes' refusal of the Job of any run that brings nothing of its
// own. It is no run's fault, so it fails none: they wait until the operator has
// mended the Job template, a setting or a policy.
type RefusedError struct{ Err error }

// Error says what to mend.
func (e *RefusedError) Error() string {
	what := "mend the Job template (JOB_TEMPLATE, --job-template) or the setting that gives what is named"
	if isDenial(e.Err) {
		what = "an admission webhook or policy wants other Jobs: have the Job template (JOB_TEMPLATE, --job-template) meet it, or exempt the namespace"
	}
	return fmt.Sprintf("Kubernetes refuses the Job of any run that brings nothing of its own: %s: %s; runs it refuses wait", wordsOf(e.Err), what)
}

// Unwrap is Kubernetes' answer.
func (e *RefusedError) Unwrap() error { return e.Err }

// Lasting reports whether no such Job can ever work. What a policy wants may change without us.
func (e *RefusedError) Lasting() bool { return apierrors.IsInvalid(e.Err) && !isDenial(e.Err) }

// Trial asks Kubernetes whether it would take the Job of a run that brings nothing of
// its own. A *RefusedError says that it would not; with any other error nobody knows.
func (l *Launcher) Trial(ctx context.Context) error {
	refused, err := l.trial.neutral(ctx, false)
	if refused != nil {
		return refused
	}
	return err
}

// trial asks Kubernetes about Jobs by dry runs. What it has against the Job of
// nobody's run tells whose a refusal is that came for somebody's.
type trial struct {
	renderer Renderer
	jobs     tries
	flights  singleflight.Group

	mu      sync.Mutex
	answers map[[sha256.Size]byte]judgement // by the Job, without what is the run's
	// refuses is what was last heard of nobody's Job, with the run's own template and
	// without.
	refuses map[bool]bool
	// barred: a permission is missing, or the namespace, as was last heard of any Job.
	barred bool
}

// judgement of Kubernetes to a Job; refused is nil when it would take it.
type judgement struct {
	refused *RefusedError
	asked   time.Time
}

// tries has Kubernetes say what it would to create, which keeps nothing.
type tries interface {
	try(ctx context.Context, j *batchv1.Job) error
}

func newTrial(r Renderer, j tries) *trial {
	return &trial{renderer: r, jobs: j, answers: map[[sha256.Size]byte]judgement{}, refuses: map[bool]bool{}}
}

// blame tells whose fault it is that Kubernetes refused a run's Job: the operator's
// if a refusal is returned, the author's if none is; with an error nobody can tell.
// A run with its own template has nothing of the launcher's, which may be wrong
// without harm to it.
func (t *trial) blame(ctx context.Context, ownTemplate bool) (*RefusedError, error) {
	refused, err := t.neutral(ctx, false)
	if err != nil || refused == nil || !ownTemplate {
		return refused, err
	}
	return t.neutral(ctx, true)
}

// tried is for a run that is not claimed yet. While Kubernetes refuses nobody's Job,
// the run's own is tried first, so that none is claimed to be handed back: what the
// run brings may be all that was missing. A permission it cannot bring.
func (l *Launcher) tried(ctx context.Context, e *errand, j *batchv1.Job) (outcome, bool) {
	own := job.BringsTemplate(e.Run)
	if e.claimed || !l.trial.wary(own) {
		return outcome{}, true
	}
	switch refused, err := l.trial.neutral(ctx, own); {
	case err == nil && refused == nil:
		return outcome{}, true
	case err != nil && addresseeOf(err) == operator:
		return l.barred(ctx, e, err), false
	}
	refused, err := l.trial.ask(ctx, j)
	switch {
	case err != nil:
		return l.tryLater(ctx, e, err, none, retryAfter(err)), false
	case refused != nil:
		return l.tryLater(ctx, e, refused, jobTemplate, 0), false
	}
	return outcome{}, true
}

// wary: Kubernetes has refused nobody's Job, or any, when it was last asked.
func (t *trial) wary(ownTemplate bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refuses[ownTemplate] || t.barred
}

// heard takes note of an answer to any Job, in earnest or not.
func (t *trial) heard(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.barred = err != nil && addresseeOf(err) == operator
}

// neutral asks about nobody's Job, as it is rendered now.
func (t *trial) neutral(ctx context.Context, ownTemplate bool) (*RefusedError, error) {
	j, err := t.renderer.Render(ctx, job.Neutral(ownTemplate))
	if err != nil {
		return nil, fmt.Errorf("render a trial Job: %w", err)
	}
	refused, err := t.ask(ctx, j)
	if err == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.refuses[ownTemplate] = refused != nil
	}
	return refused, err
}

// ask has an answer to a Job, which may be some seconds old. Who comes while another
// asks waits for the same one.
func (t *trial) ask(ctx context.Context, j *batchv1.Job) (*RefusedError, error) {
	text, err := json.Marshal(job.Anonymous(j))
	if err != nil {
		return nil, fmt.Errorf("tell Jobs apart: %w", err)
	}
	key := sha256.Sum256(text)
	if last, ok := t.known(key); ok {
		return last.refused, nil
	}
	refused, err, _ := t.flights.Do(string(key[:]), func() (any, error) {
		last := judgement{asked: time.Now()}
		err := t.jobs.try(ctx, j)
		t.heard(err)
		switch {
		case err == nil, addresseeOf(err) == taken:
		case addresseeOf(err) == author:
			last.refused = &RefusedError{err}
		default:
			return last.refused, fmt.Errorf("try a Job: %w", err)
		}
		t.keep(key, last)
		return last.refused, nil
	})
	return refused.(*RefusedError), err
}

func (t *trial) known(key [sha256.Size]byte) (judgement, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, ok := t.answers[key]
	return last, ok && last.counts(time.Now())
}

func (a judgement) counts(now time.Time) bool {
	if a.refused == nil {
		return age(a.asked, now) < takenFor
	}
	return age(a.asked, now) < refusedFor
}

// keep makes room by forgetting what does not count any more, or all there is.
func (t *trial) keep(key [sha256.Size]byte, last judgement) {
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
