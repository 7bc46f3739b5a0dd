package resolve

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// storyPods bounds the pods in a story; the state's message names them all.
const storyPods = 3

// story collects the events, the pods' ends and their last lines for the run's author, and
// says what could not be read. It leaves out the parts that the note remembers, returns the
// note that remembers the rest, and may add to the finding's message.
func (r *Resolver) story(ctx context.Context, p *patient) (lines []prefect.LogEntry, after trouble.Note) {
	pods := slices.DeleteFunc(slices.Clone(p.pods), func(pod *corev1.Pod) bool { return !slices.Contains(p.finding.Pods, pod.Name) })
	pods = pods[:min(len(pods), storyPods)]
	about := []types.UID{}
	for _, pod := range pods {
		about = append(about, pod.UID)
	}
	if len(pods) == 0 || p.finding.Kind == trouble.Over && p.note.Told == trouble.NoPods {
		about = append(about, p.job.UID)
	}
	after = p.note
	isNews := func(of types.UID) bool { return !p.finding.Final || !p.note.KnowsStory(p.finding.Kind, of) }
	line := func(level prefect.LogLevel, text string, at time.Time) {
		lines = append(lines, prefect.LogEntry{FlowRunID: p.run.ID, Name: infraLogger, Level: level, Message: text, Time: at})
	}
	events, missing := r.eventsOf(ctx, p.job.Namespace, about)
	last := ""
	for _, e := range events {
		if e.Type == corev1.EventTypeWarning || p.finding.Kind == trouble.Unstarted {
			last = e.Message
		}
		if !after.Knows(e) {
			after = after.With(e)
			line(prefect.Debug, trouble.EventLine(e), trouble.EventTime(e))
		}
	}
	if slices.Contains([]trouble.Kind{trouble.NoPods, trouble.Unstarted}, p.finding.Kind) && last != "" {
		p.finding.Message += ": " + last // only the events know why
	}
	now := time.Now()
	if slices.ContainsFunc(about, isNews) {
		if p.missing != nil {
			line(prefect.Debug, "The Job's pods could not be read: "+jobs.WordsOf(p.missing), now)
		}
		if missing != nil {
			line(prefect.Debug, "Events could not be read: "+jobs.WordsOf(missing), now)
		}
		switch {
		case p.finding.Kind == trouble.Over: // the events say so
		case !p.finding.Final:
			line(prefect.Warning, r.withPatience(p.finding), now)
		case p.finding.Kind != trouble.Failed || len(pods) == 0:
			line(prefect.Error, p.finding.Message, now)
		}
	}
	for _, pod := range pods {
		if !isNews(pod.UID) || p.finding.Kind == trouble.Over {
			continue
		}
		if p.finding.Kind == trouble.Failed {
			line(prefect.Error, trouble.PodStory(pod), now)
		}
		if text := r.lastWords(ctx, pod, p.finding); text != "" {
			line(prefect.Info, text, now)
		}
	}
	if p.finding.Final {
		for _, of := range about {
			after = after.WithStory(p.finding.Kind, of)
		}
	}
	return lines, after
}

// withPatience adds to the message how long the run waits for the trouble to pass.
func (r *Resolver) withPatience(f trouble.Finding) string {
	message := strings.TrimRight(f.Message, ".")
	switch {
	case !f.Kind.MayPass():
		return f.Message
	case r.Rules.PendingFor > 0:
		at := f.From.Add(r.Rules.PendingFor - r.Rules.Grace)
		return message + fmt.Sprintf(". The run waits for that to change, and fails if it has not by %s (PREFECT_KEDA_PENDING_TIMEOUT)", at.UTC().Format("2006-01-02 15:04:05 MST"))
	default:
		return message + ". The run waits for that to change, for ever: PREFECT_KEDA_PENDING_TIMEOUT is not set"
	}
}

// eventsOf lists the events of several objects, as far as they can be read.
func (r *Resolver) eventsOf(ctx context.Context, namespace string, objects []types.UID) (all []corev1.Event, err error) {
	for _, uid := range objects {
		failed := claims.Bounded(ctx, func(ctx context.Context) error {
			events, err := r.Jobs.Events(ctx, namespace, uid)
			all = append(all, events...)
			return err
		})
		if failed != nil {
			r.Logger.DebugContext(ctx, "telling the story without events", "err", failed)
			err = failed
		}
	}
	return all, err
}

// endedBadly finds the container of a pod that ended badly: the one in trouble, or the
// flow's, or the first. If the kubelet restarts it, its previous run counts too.
func endedBadly(pod *corev1.Pod, f trouble.Finding) (container string, previous bool) {
	restarts := f.Kind == trouble.CrashLoop || f.Kind == trouble.Sidecar
	meant := cmp.Or(f.Container, trouble.FlowContainer(pod))
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		ended, before := c.State.Terminated, false
		if ended == nil && restarts {
			ended, before = c.LastTerminationState.Terminated, true
		}
		if ended != nil && ended.ExitCode != 0 && (container == "" || c.Name == meant) {
			container, previous = c.Name, before
		}
	}
	return container, previous
}

// lastWords are the last lines of the container that ended badly.
func (r *Resolver) lastWords(ctx context.Context, pod *corev1.Pod, f trouble.Finding) string {
	container, previous := endedBadly(pod, f)
	if container == "" || r.LogLines <= 0 {
		return ""
	}
	text := ""
	err := claims.Bounded(ctx, func(ctx context.Context) (err error) {
		text, err = r.Jobs.LastLines(ctx, pod.Namespace, pod.Name, container, previous, r.LogLines)
		return err
	})
	if err != nil {
		r.Logger.DebugContext(ctx, "telling the story without the container's log", "pod", pod.Name, "err", err)
		return fmt.Sprintf("The log of container '%s' of pod %s could not be read: %s", container, pod.Name, jobs.WordsOf(err))
	}
	text = strings.ToValidUTF8(strings.TrimRight(text, "\n"), "?")
	if text == "" {
		return ""
	}
	return fmt.Sprintf("The last lines of container '%s' of pod %s:\n%s", container, pod.Name, text)
}

// tell writes lines at once, because the note on the Job comes next.
func (r *Resolver) tell(ctx context.Context, lines []prefect.LogEntry) error {
	if len(lines) == 0 {
		return nil
	}
	err := claims.Bounded(ctx, func(ctx context.Context) error { return r.Backend.Log(ctx, lines) })
	if err != nil {
		r.LinesDropped.Add(float64(len(lines)))
	}
	return err
}
