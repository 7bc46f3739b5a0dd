package explain

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// submitted is of a run whose Job is there, or will be.
func (f Facts) submitted() string {
	c, j := f.LastClaim(), f.job()
	by := "It was submitted " + f.when(f.Run.StateAt)
	if c != nil {
		by = fmt.Sprintf("It was launched %s by %s", f.when(f.Run.StateAt), c.Launcher)
	}
	switch {
	case f.Elsewhere:
		return fmt.Sprintf("%s into namespace %s of another cluster: ask there.", by, c.Namespace)
	case j != nil:
		return f.withJob(by, j)
	case c == nil:
		return by + " by somebody else, " + f.another() + " perhaps, and has no Job here: only who submitted it goes on with it" + f.lazarus()
	case !f.looked(c.Namespace):
		return fmt.Sprintf("%s, and whether its Job %s is in namespace %s could not be read.", by, c.Job, c.Namespace)
	case f.Run.HasJob:
		return fmt.Sprintf("%s; its Job %s was deleted: a launcher ends the run within minutes.", by, c.Job)
	case len(f.Pods) > 0:
		return fmt.Sprintf("%s; its Job %s was deleted, and is created again once its pod %s has ended.", by, c.Job, f.Pods[len(f.Pods)-1].Name)
	case f.At.Sub(f.Run.StateAt) < f.ClaimGrace:
		return fmt.Sprintf("%s, who is about to create its Job %s.", by, c.Job)
	}
	why := ""
	if f.At.Sub(f.Run.StateAt) > 2*f.ClaimGrace {
		why = " unless a quota of Jobs or a permission is in the way, which its log and the run's say"
	}
	return fmt.Sprintf("%s, and its Job %s is not there: the next launcher creates it%s. %s", by, c.Job, why, f.starts(f.Run.StateAt))
}

// another is what else launches runs of that Prefect.
func (f Facts) another() string {
	if f.Run.Place.Pool != "" {
		return "a worker"
	}
	return "an agent"
}

// lazarus is what Prefect itself does with runs that nobody goes on with.
func (f Facts) lazarus() string {
	if f.Run.Place.Pool != "" {
		return "; nobody else does."
	}
	return ", or Prefect puts it back after ten minutes."
}

func (f Facts) withJob(by string, j *batchv1.Job) string {
	wrong, found := f.judged(j)
	p := f.running()
	switch {
	case found && wrong.Kind != trouble.Sidecar:
		return f.hindered(j, wrong)
	case p != nil && f.Run.State.Phase == prefect.Claimed:
		return fmt.Sprintf("%s; its pod %s runs since %s and has not told Prefect yet: see kubectl -n %s logs %s.", by, p.Name, f.clock(trouble.FlowBegan(p)), p.Namespace, p.Name)
	case p != nil:
		return fmt.Sprintf("It runs since %s: pod %s of Job %s, on node %s.", f.clock(trouble.FlowBegan(p)), p.Name, j.Name, p.Spec.NodeName)
	case j.Spec.Suspend != nil && *j.Spec.Suspend:
		return fmt.Sprintf("%s; its Job %s is suspended: whatever queues Jobs here lets it wait.", by, j.Name)
	case trouble.Finished(j):
		return fmt.Sprintf("%s; its Job %s has ended.", by, j.Name)
	}
	if own := trouble.PodsOf(j, f.Pods); len(own) > 0 {
		p := own[len(own)-1]
		return fmt.Sprintf("%s; its pod %s of Job %s is starting: %s%s.", by, p.Name, j.Name, standing(p), before(" on node ", p.Spec.NodeName))
	}
	return fmt.Sprintf("%s; Kubernetes is about to create the pod of its Job %s.", by, j.Name)
}

// hindered says what a Job waits for, and for how long it will.
func (f Facts) hindered(j *batchv1.Job, wrong trouble.Finding) string {
	since := wrong.From.Add(-f.Rules.Grace)
	if since.Before(j.CreationTimestamp.Time) {
		since = j.CreationTimestamp.Time
	}
	why := plain(strings.TrimPrefix(wrong.Message, "Kubernetes Error: "))
	pod := ""
	if len(wrong.Pods) > 0 {
		pod = wrong.Pods[0]
	}
	waits := func(what, detail string) string {
		return fmt.Sprintf("It has waited %s for %s%s. %s", short(f.At.Sub(since)), what, before(": ", detail), f.limit(since))
	}
	switch wrong.Kind {
	case trouble.Unschedulable:
		_, detail, _ := strings.Cut(why, "cannot be scheduled: ")
		return waits("a node", detail)
	case trouble.NoPods:
		return waits("its pod, which Kubernetes does not create", f.lastEvent(j.Name))
	case trouble.Unstarted:
		return waits("its pod "+pod+" to start, which has a node", f.lastEvent(pod))
	case trouble.ImagePull, trouble.Container, trouble.CrashLoop:
		said := fmt.Sprintf("Its pod %s cannot start for %s: %s", pod, short(f.At.Sub(since)), why)
		if wrong.From.After(f.At) {
			return fmt.Sprintf("%s. If that lasts, the run is failed at %s (PREFECT_KEDA_POD_GRACE).", said, f.clock(wrong.From))
		}
		return said + ". A launcher is about to fail the run."
	case trouble.Failed:
		return "Its pod, or its Job, has failed, and a launcher is about to tell the run: " + cmp.Or(why, j.Name) + "."
	}
	return fmt.Sprintf("A launcher is about to see to its Job %s: %s.", j.Name, cmp.Or(why, string(wrong.Kind)))
}

// limit says when waiting ends by itself.
func (f Facts) limit(since time.Time) string {
	if f.Rules.PendingFor <= 0 {
		return "It waits for ever; PREFECT_KEDA_PENDING_TIMEOUT would end that."
	}
	return fmt.Sprintf("It is failed at %s if that lasts (PREFECT_KEDA_PENDING_TIMEOUT).", f.clock(since.Add(f.Rules.PendingFor)))
}
