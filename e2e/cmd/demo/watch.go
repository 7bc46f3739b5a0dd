package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/product"
)

// every is how often the cluster is looked at; lines are printed once a second.
const every = 250 * time.Millisecond

// sample is the result of one look at the cluster.
type sample struct {
	at        time.Duration
	due       int
	launchers int
	active    int
	succeeded int
	failed    int
	// wanted is how many launchers there are to be.
	wanted int
	states map[string]int
	// well is how many flow runs ended as they should, and badly a state of one that did not.
	well  int
	badly string
}

// mark is a moment of the show.
type mark struct {
	at   time.Duration
	text string
}

type watcher struct {
	stage   *stage
	began   time.Time
	cancel  context.CancelFunc
	ended   chan struct{}
	printer printer
	// samples and marks may be read after stop, or under mu.
	mu      sync.Mutex
	samples []sample
	marks   []mark
	err     error
}

// watch looks at the cluster until stop.
func (s *stage) watch(ctx context.Context) *watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{stage: s, began: time.Now(), cancel: cancel, ended: make(chan struct{}), printer: printer{out: s.out}}
	if f, ok := s.out.(*os.File); ok {
		w.printer.redraws = term.IsTerminal(int(f.Fd()))
	}
	fmt.Fprintln(s.out, "==> live")
	go func() {
		defer close(w.ended)
		for ctx.Err() == nil {
			look, err := s.look(ctx, w.began)
			w.note(look, err)
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
	}()
	return w
}

func (w *watcher) stop() {
	w.cancel()
	<-w.ended
	w.printer.end()
}

func (w *watcher) note(look sample, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	if err != nil {
		return // one look that fails leaves a gap; the acts have their own patience
	}
	w.samples = append(w.samples, look)
	w.printer.line(look)
}

// begin announces an act; what it is about happens the given time ahead.
func (w *watcher) begin(say, text string, ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marks = append(w.marks, mark{time.Since(w.began) + ahead, text})
	w.printer.say(say)
}

// untilZero waits until so many runs have succeeded in all and nothing is up.
func (w *watcher) untilZero(ctx context.Context, total int) error {
	var last sample
	err := poll(ctx, patience, func(context.Context) (bool, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.samples) == 0 {
			return false, nil
		}
		last = w.samples[len(w.samples)-1]
		return last.atZero(total)
	})
	if err != nil && ctx.Err() == nil {
		return errors.Join(fmt.Errorf("back to zero: %w; last seen: %s", err, last), w.err)
	}
	return err
}

// atZero reports whether so many runs have succeeded in all and nothing is up.
// A run that ended otherwise is an error at once: a flow that fails leaves a Job
// that succeeded.
func (s sample) atZero(total int) (bool, error) {
	if s.failed > 0 {
		return false, errors.New("a flow run's Job failed")
	}
	if s.badly != "" {
		return false, errors.New("a flow run is " + s.badly)
	}
	return s.well == total && s.launchers+s.wanted+s.active == 0, nil
}

// look asks Prefect and Kubernetes once.
func (s *stage) look(ctx context.Context, began time.Time) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	runs, err := s.prefect.runs(ctx)
	if err != nil {
		return sample{}, err
	}
	d, err := s.client.AppsV1().Deployments(product.Namespace).Get(ctx, product.Launcher, metav1.GetOptions{})
	if err != nil {
		return sample{}, err
	}
	jobs, err := s.client.BatchV1().Jobs(product.Flows).List(ctx, metav1.ListOptions{LabelSelector: s.prefect.runLabel()})
	if err != nil {
		return sample{}, err
	}
	look := sample{at: time.Since(began), launchers: int(d.Status.Replicas), wanted: int(*d.Spec.Replicas)}
	look.count(runs, time.Now())
	for i := range jobs.Items {
		switch status := jobs.Items[i].Status; {
		case status.Succeeded > 0:
			look.succeeded++
		case status.Failed > 0:
			look.failed++
		default:
			look.active++
		}
	}
	return look, nil
}

// count counts the due runs, those that have ended, and the runs in each state.
func (s *sample) count(runs []flowRun, now time.Time) {
	s.states = map[string]int{}
	for _, r := range runs {
		s.states[r.state]++
		switch {
		case r.waits && !r.due.After(now):
			s.due++
		case r.well:
			s.well++
		case r.ended:
			s.badly = r.state
		}
	}
}

// String is the line a person reads.
func (s sample) String() string {
	var states []string
	for _, name := range slices.Sorted(maps.Keys(s.states)) {
		states = append(states, fmt.Sprintf("%d %s", s.states[name], name))
	}
	line := fmt.Sprintf("%02d:%02d  due %-3d launchers %d  jobs %3d active %3d done  %s",
		int(s.at.Minutes()), int(s.at.Seconds())%60, s.due, s.launchers, s.active, s.succeeded, strings.Join(states, ", "))
	return strings.TrimRight(line, " ")
}
