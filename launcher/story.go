package launcher

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// storyPods of a Job are told about; the state's message names them all.
	storyPods = 3
)

// story is what the run's author is to read: what happened in the cluster, what
// became of the pods, and what they wrote last; what of it cannot be had is said.
// It returns the note that remembers it as well, leaves out what the present note
// remembers, and may add to the finding's message.
func (l *Launcher) story(ctx context.Context, p *patient) (lines []prefect.LogEntry, after trouble.Note) {
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
	events, missing := l.eventsOf(ctx, about)
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
			line(prefect.Debug, "The Job's pods could not be read: "+wordsOf(p.missing), now)
		}
		if missing != nil {
			line(prefect.Debug, "Events could not be read: "+wordsOf(missing), now)
		}
		switch {
		case p.finding.Kind == trouble.Over: // the events say so
		case !p.finding.Final:
			line(prefect.Warning, p.finding.Message, now)
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
		if text := l.lastWords(ctx, pod, p.finding); text != "" {
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

// eventsOf are those of several objects, as far as they can be had.
func (l *Launcher) eventsOf(ctx context.Context, objects []types.UID) (all []corev1.Event, err error) {
	for _, uid := range objects {
		failed := l.bounded(ctx, func(ctx context.Context) error {
			events, err := l.jobs.events(ctx, uid)
			all = append(all, events...)
			return err
		})
		if failed != nil {
			l.log.DebugContext(ctx, "telling the story without events", "err", failed)
			err = failed
		}
	}
	return all, err
}

// endedBadly is the container of a pod that did: the one in trouble, or else the
// flow's, or else the first. In a crash loop, or where it is started again beside
// the flow, that may have been the last time.
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

// lastWords of the container that ended badly.
func (l *Launcher) lastWords(ctx context.Context, pod *corev1.Pod, f trouble.Finding) string {
	container, previous := endedBadly(pod, f)
	if container == "" || l.LogLines <= 0 {
		return ""
	}
	text := ""
	err := l.bounded(ctx, func(ctx context.Context) (err error) {
		text, err = l.jobs.lastLines(ctx, pod.Name, container, previous, l.LogLines)
		return err
	})
	if err != nil {
		l.log.DebugContext(ctx, "telling the story without the container's log", "pod", pod.Name, "err", err)
		return fmt.Sprintf("The log of container '%s' of pod %s could not be read: %s", container, pod.Name, wordsOf(err))
	}
	text = strings.ToValidUTF8(strings.TrimRight(text, "\n"), "?")
	if text == "" {
		return ""
	}
	return fmt.Sprintf("The last lines of container '%s' of pod %s:\n%s", container, pod.Name, text)
}

// tell writes lines at once: what was told is noted on the Job next.
func (l *Launcher) tell(ctx context.Context, lines []prefect.LogEntry) error {
	if len(lines) == 0 {
		return nil
	}
	err := l.bounded(ctx, func(ctx context.Context) error { return l.backend.Log(ctx, lines) })
	if err != nil {
		l.metrics.linesDropped.Add(float64(len(lines)))
	}
	return err
}
