package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Verdict says why the run does or does not start, and what would change that.
func (f Facts) Verdict() string {
	switch f.Run.State.Phase {
	case prefect.Finished, prefect.Cancelled:
		return f.finished()
	case prefect.Waiting, prefect.Held:
		return f.scheduled()
	case prefect.Claimed:
		return f.submitted()
	case prefect.Cancelling:
		return f.cancelling()
	case prefect.Running:
		return f.runs()
	default:
		return fmt.Sprintf("It is %s and not scheduled: launchers take only what is.", f.Run.State.Name)
	}
}

func (f Facts) finished() string {
	said := fmt.Sprintf("It ended as %s %s%s", f.Run.State.Name, f.when(f.Run.StateAt), before(": ", f.message()))
	if p := f.running(); p != nil {
		said += fmt.Sprintf(". Its pod %s goes on all the same", p.Name)
	}
	return said + "."
}

// scheduled is for a run that no launcher has taken.
func (f Facts) scheduled() string {
	due := f.Run.Due
	switch {
	case f.Run.State.Phase == prefect.Held:
		return fmt.Sprintf("It is %s until somebody resumes it.", f.Run.State.Name)
	case f.HeldBack != "":
		return fmt.Sprintf("It is %s %s, and Prefect holds it back: %s. It starts when that is over; nothing here has to be changed for it.", f.Run.State.Name, f.since(f.Run.StateAt), plain(f.HeldBack))
	case due.After(f.At):
		return f.ahead(due)
	case f.Run.State.Limited && f.message() != "":
		return fmt.Sprintf("It is %s %s, by Prefect: %s.", f.Run.State.Name, f.since(f.Run.StateAt), f.message())
	}
	if due.IsZero() {
		due = f.Run.StateAt
	}
	return fmt.Sprintf("It is due %s%s. %s", f.since(due), f.putBack(), f.starts(due))
}

func (f Facts) ahead(due time.Time) string {
	said := fmt.Sprintf("It is %s for %s (in %s)%s", f.Run.State.Name, f.clock(due), short(due.Sub(f.At)), f.putBack())
	all := f.serving()
	switch {
	case !f.Asked:
		return said + ". " + f.unasked()
	case len(all) == 0:
		return said + ", and will not start then. " + f.nobody()
	}
	lead := slices.MaxFunc(all, func(a, b Served) int { return cmp.Compare(a.WarmUpLead, b.WarmUpLead) }).WarmUpLead
	if lead == 0 {
		return said + "; a launcher is woken then."
	}
	return fmt.Sprintf("%s; a launcher is woken at %s.", said, f.clock(due.Add(-lead)))
}

// putBack says why a claimed run waits again.
func (f Facts) putBack() string {
	if len(f.Past) < 2 || f.Past[1].Phase != prefect.Claimed || f.message() == "" {
		return ""
	}
	return fmt.Sprintf(", having been put back at %s: %s", f.clock(f.Run.StateAt), f.message())
}

// starts is for a run that is due, or whose retry is.
func (f Facts) starts(due time.Time) string {
	if f.Run.Fault != nil {
		return "The first launcher that takes it fails it: " + plain(f.Run.Fault.Message) + "."
	}
	all := f.serving()
	switch {
	case !f.Asked:
		return f.unasked()
	case len(all) == 0:
		return "It does not start here. " + f.nobody()
	}
	s := all[max(slices.IndexFunc(all, func(s Served) bool { return s.Active }), 0)]
	switch {
	case s.Refused != "":
		return fmt.Sprintf("It does not start: the scaler refuses the trigger of %s: %s. Fix its metadata: kubectl -n %s edit scaledobject %s.", s, plain(s.Refused), s.Namespace, s.Name)
	case s.Paused:
		return fmt.Sprintf("It does not start: %s is paused. Remove the annotations autoscaling.keda.sh/paused... from it.", s)
	case s.Err != "":
		return fmt.Sprintf("It does not start: the scaler answers KEDA with an error about %s: %s.", s, plain(s.Err))
	case !s.Listens && f.At.Sub(s.LastAsked) > forgotten:
		return fmt.Sprintf("It does not start: KEDA has not asked about %s for %s. Check that KEDA runs and that the ScaledObject is not paused.", s, short(f.At.Sub(s.LastAsked)))
	case !s.Active:
		return fmt.Sprintf("No launcher is woken for it by %s: %s.", s, plain(s.Reason))
	}
	if s.NotReady != "" && f.At.Sub(due) > settles {
		return fmt.Sprintf("It does not start: KEDA says that %s is not Ready: %s. Its events say more.", s, plain(s.NotReady))
	}
	why := f.launchers(s, due)
	if why == "" && s.Untaken != "" {
		why = ". The scaler says: " + plain(s.Untaken)
	}
	return fmt.Sprintf("It starts as soon as a launcher takes it: %s wants one%s.", s, why)
}

// settles is enough time for KEDA to handle a ScaledObject that was just applied.
const settles = 15 * time.Second

// forgotten is far more than KEDA's pause between two questions.
const forgotten = 2 * time.Minute

// launchers says what is known about the wanted launchers.
func (f Facts) launchers(s Served, due time.Time) string {
	if !f.Watched {
		return ""
	}
	there := false
	for _, p := range f.Launchers {
		if p.Namespace != s.Namespace || p.DeletionTimestamp != nil {
			continue
		}
		there = true
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running != nil && f.At.Sub(due) > time.Minute && f.At.Sub(c.State.Running.StartedAt.Time) > time.Minute {
				held := ""
				if f.Cloud {
					held = "; or a concurrency limit of Prefect's holds the run back"
				}
				return fmt.Sprintf(", and its pod %s is up since %s: see its log%s", p.Name, f.clock(c.State.Running.StartedAt.Time), held)
			}
			if w := c.State.Waiting; w != nil {
				return fmt.Sprintf(", and its pod %s does not run: %s", p.Name, plain(cmp.Or(w.Message, w.Reason)))
			}
		}
		for _, c := range p.Status.Conditions {
			if c.Type == "PodScheduled" && c.Status == "False" {
				return fmt.Sprintf(", and its pod %s has no node: %s", p.Name, plain(c.Message))
			}
		}
	}
	if !there && f.At.Sub(due) > time.Minute {
		return ", and there is no pod yet: see the events of the ScaledObject and of the Deployment"
	}
	return ""
}

// unasked is the answer if the scaler could not be read.
func (f Facts) unasked() string {
	verdict := "would take"
	if !f.Scope.Takes(f.Run.Place) {
		verdict = "would not take"
	}
	return fmt.Sprintf("It is unknown which ScaledObjects serve %s. A launcher with these settings serves %s and %s it.", f.Run.Place, f.serves(f.Scope), verdict)
}

// serves names a scope, which in Prefect 3 may be of all work pools.
func (f Facts) serves(s prefect.Scope) string {
	if f.Run.Place.Pool != "" && s.Key() == (prefect.Scope{}).Key() {
		return "all work pools"
	}
	return s.String()
}

// maxNamed bounds the ScaledObjects that are named because they do not serve a run.
const maxNamed = 10

// nobody says that none of the scaler's ScaledObjects serves the run, and lists them.
func (f Facts) nobody() string {
	var refused strings.Builder
	for _, r := range f.Refused[:min(len(f.Refused), maxNamed)] {
		fmt.Fprintf(&refused, " It refuses the trigger of %s: %s.", r, plain(r.Err))
	}
	if len(f.Serving) == 0 {
		return "No ScaledObject has asked this scaler lately. Check that one exists and is Ready." + refused.String()
	}
	var others []string
	var scopes []prefect.Scope
	for i, s := range f.Serving {
		if i < maxNamed {
			others = append(others, fmt.Sprintf("%s serves %s", s, f.serves(s.Scope)))
		}
		scopes = append(scopes, s.Scope)
	}
	if more := len(f.Serving) - maxNamed; more > 0 {
		others = append(others, fmt.Sprintf("and %d others serve others", more))
	}
	return fmt.Sprintf("No ScaledObject of this scaler serves %s: %s. (Another installation or an agent may.) %s%s",
		f.Run.Place, strings.Join(others, ", "), f.Run.Place.Rule(scopes), refused.String())
}

func (f Facts) cancelling() string {
	said := "It is being cancelled " + f.since(f.Run.StateAt)
	switch {
	case f.Elsewhere:
		return said + ", in another cluster."
	case f.job() == nil:
		return said + ", and no Job of it is here."
	case f.Rules.CancelGrace <= 0:
		return said + "; its flow has to stop by itself."
	}
	return fmt.Sprintf("%s; its flow stops by itself, or a launcher stops it at %s (PREFECT_KEDA_CANCEL_GRACE).", said, f.clock(f.Run.StateAt.Add(f.Rules.CancelGrace)))
}

// runs is for a run that is Running in Prefect.
func (f Facts) runs() string {
	c, j := f.LastClaim(), f.job()
	said := "It is " + f.Run.State.Name + " " + f.since(f.Run.StateAt)
	p := f.running()
	switch {
	case p == nil && f.Run.JobFirst:
		if due := f.Run.Due; !due.After(f.At) {
			return fmt.Sprintf("%s, and a task's retry is due %s. %s", said, f.since(due), f.starts(due))
		}
		return fmt.Sprintf("%s and waits for a task's retry, due at %s.", said, f.clock(f.Run.Due))
	case f.Elsewhere:
		return fmt.Sprintf("%s, in namespace %s of another cluster: ask there.", said, c.Namespace)
	case j != nil:
		return f.withJob(said, j)
	case c == nil:
		return said + ", and was not launched by a launcher of ours: no Job of it is here."
	case !f.looked(c.Namespace):
		return fmt.Sprintf("%s, and whether its Job %s is in namespace %s could not be read.", said, c.Job, c.Namespace)
	}
	sign := ""
	if !f.Run.Heartbeat.IsZero() {
		sign = fmt.Sprintf(" (the last one was at %s)", f.clock(f.Run.Heartbeat))
	}
	after := "after two minutes without a sign of life" + sign
	if f.Run.Place.Pool != "" {
		after = "within minutes" // runs of Prefect 3 give no sign of life
	}
	return fmt.Sprintf("%s as far as Prefect knows, but its Job %s does not exist: %s a launcher fails it.", said, c.Job, after)
}
