package explain

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Report is the verdict with the facts it is drawn from.
type Report struct {
	Verdict string    `json:"verdict"`
	At      time.Time `json:"at"`
	FlowRun string    `json:"flow_run"`
	Name    string    `json:"name"`
	Flow    string    `json:"flow"`
	State   string    `json:"state"`
	Since   time.Time `json:"state_since,omitzero"`
	Message string    `json:"state_message,omitempty"`
	Due     time.Time `json:"due,omitzero"`
	Labels  []string  `json:"labels"`
	// WorkPool and WorkQueue are where it waits in Prefect 3, in place of labels.
	WorkPool  string `json:"work_pool,omitempty"`
	WorkQueue string `json:"work_queue,omitempty"`
	HeldBack  string `json:"held_back,omitempty"`
	// ServedBy is not known where the scaler could not be asked.
	Asked    bool     `json:"scaler_asked"`
	ServedBy []Server `json:"served_by"`
	Claim    *Claim   `json:"claim,omitempty"`
	History  []Past   `json:"history"`
	Jobs     []Job    `json:"jobs"`
	Pods     []Pod    `json:"pods"`
	Events   []Event  `json:"events"`
	// NotRead is what the facts lack, and why.
	NotRead []string `json:"not_read"`
}

// Server is a ScaledObject that serves the run's place.
type Server struct {
	ScaledObject string    `json:"scaled_object"`
	Labels       []string  `json:"labels"`
	WorkPools    []string  `json:"work_pools,omitempty"`
	WorkQueues   []string  `json:"work_queues,omitempty"`
	Active       bool      `json:"active"`
	Due          int64     `json:"due"`
	Reason       string    `json:"reason,omitempty"`
	LastAsked    time.Time `json:"last_asked"`
}

// serves says what the ScaledObject is for.
func (s Server) serves(ofPools bool) string {
	if !ofPools {
		return "labels " + named(s.Labels)
	}
	serves := "all work pools"
	if len(s.WorkPools) > 0 {
		serves = "work pools " + named(s.WorkPools)
	}
	if len(s.WorkQueues) > 0 {
		serves += ", queues " + named(s.WorkQueues)
	}
	return serves
}

// Claim is what a launcher wrote down.
type Claim struct {
	Launcher  string `json:"launcher"`
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
	Attempt   string `json:"attempt"`
	Elsewhere bool   `json:"another_cluster,omitempty"`
}

// Past is a state of the run.
type Past struct {
	At       time.Time `json:"at"`
	State    string    `json:"state"`
	Message  string    `json:"message,omitempty"`
	Due      time.Time `json:"due,omitzero"`
	Launcher string    `json:"launcher,omitempty"`
}

// Job is one of the run.
type Job struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Attempt   string    `json:"attempt,omitempty"`
	Created   time.Time `json:"created"`
	Status    string    `json:"status"`
	Trouble   string    `json:"trouble,omitempty"`
	// Told is what the run was told of it.
	Told string `json:"told,omitempty"`
}

// Pod is one of the run.
type Pod struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Node      string    `json:"node,omitempty"`
	Created   time.Time `json:"created"`
	Status    string    `json:"status"`
}

// Event is one of the run's Jobs and pods.
type Event struct {
	At      time.Time `json:"at"`
	Of      string    `json:"of"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Count   int32     `json:"count,omitempty"`
}

// Report is of these facts.
func (f Facts) Report() Report {
	r := Report{
		Verdict: f.Verdict(), At: f.At, FlowRun: f.Run.ID, Name: f.Run.Name, Flow: f.Run.FlowName,
		State: f.Run.State.Name, Since: f.Run.StateAt, Message: f.message(), Due: f.Run.Due, Labels: append([]string{}, f.Run.Place.Labels...),
		WorkPool: f.Run.Place.Pool, WorkQueue: f.Run.Place.Queue, HeldBack: f.HeldBack,
		Asked: f.Asked, ServedBy: []Server{}, History: []Past{}, Jobs: []Job{}, Pods: []Pod{}, Events: []Event{}, NotRead: append([]string{}, f.Unread...),
	}
	for _, s := range f.serving() {
		r.ServedBy = append(r.ServedBy, Server{s.String(), append([]string{}, s.Scope.Labels...), s.Scope.Pools, s.Scope.Queues, s.Active, s.Due, plain(cmp.Or(s.Err, s.Reason)), s.LastAsked})
	}
	if c := f.LastClaim(); c != nil {
		r.Claim = &Claim{c.Launcher, c.Namespace, c.Job, string(c.Attempt), f.Elsewhere}
	}
	for _, s := range slices.Backward(f.Past) {
		past := Past{At: s.At, State: s.Name, Message: plain(s.Message), Due: s.StartTime}
		if s.Claim != nil {
			past.Launcher = s.Claim.Launcher
		}
		r.History = append(r.History, past)
	}
	for _, j := range f.Jobs {
		r.Jobs = append(r.Jobs, f.reportJob(j))
	}
	for _, p := range f.Pods {
		r.Pods = append(r.Pods, Pod{p.Namespace, p.Name, p.Spec.NodeName, p.CreationTimestamp.Time, standing(p)})
	}
	for _, e := range f.Events {
		r.Events = append(r.Events, Event{trouble.EventTime(e), strings.ToLower(e.InvolvedObject.Kind) + " " + e.InvolvedObject.Name, e.Reason, plain(e.Message), e.Count})
	}
	return r
}

func (f Facts) reportJob(j *batchv1.Job) Job {
	told := Job{Namespace: j.Namespace, Name: j.Name, Attempt: j.Labels[job.LabelAttempt], Created: j.CreationTimestamp.Time, Status: jobStanding(j)}
	if wrong, found := f.judged(j); found {
		told.Trouble = string(wrong.Kind)
	}
	switch note := trouble.NoteOf(j); {
	case note.Told != "":
		told.Told = string(note.Told)
	case note.Done || note.Spent:
		told.Told = "its end"
	}
	return told
}

func jobStanding(j *batchv1.Job) string {
	for _, c := range j.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return cmp.Or(plain(string(c.Type)+" "+c.Message), string(c.Type))
		}
	}
	switch {
	case j.DeletionTimestamp != nil:
		return "being deleted"
	case j.Spec.Suspend != nil && *j.Spec.Suspend:
		return "suspended"
	}
	return fmt.Sprintf("%d active, %d succeeded, %d failed", j.Status.Active, j.Status.Succeeded, j.Status.Failed)
}

// Write writes the verdict and, below it, the facts in the order in which a run
// meets them.
func (r Report) Write(w io.Writer) error {
	b := &strings.Builder{}
	f := Facts{At: r.At}
	line := func(title, format string, args ...any) {
		fmt.Fprintf(b, "%-10s  %s\n", title, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(b, "%s\n\n", r.Verdict)
	line("flow run", "%s%s%s", r.FlowRun, before(" ", r.Name), before(" of flow ", r.Flow))
	line("state", "%s %s%s", r.State, f.since(r.Since), before(": ", r.Message))
	if !r.Due.IsZero() {
		line("due", "%s", f.clock(r.Due))
	}
	if r.WorkPool != "" {
		line("work pool", "%s, queue %s", r.WorkPool, r.WorkQueue)
	} else {
		line("labels", "%s", named(r.Labels))
	}
	if r.HeldBack != "" {
		line("held back", "%s", r.HeldBack)
	}
	title := titles("served by")
	for _, s := range r.ServedBy {
		active := "not active"
		if s.Active {
			active = "active"
		}
		line(title(), "scaledobject %s, %s: %s, %d due; %s; last asked about at %s", s.ScaledObject, s.serves(r.WorkPool != ""), active, s.Due, cmp.Or(s.Reason, "no reason given"), f.clock(s.LastAsked))
	}
	if r.Asked && len(r.ServedBy) == 0 {
		line(title(), "no ScaledObject that asked the scaler lately")
	}
	if c := r.Claim; c != nil {
		where := ""
		if c.Elsewhere {
			where = " of another cluster"
		}
		line("claim", "by %s for Job %s in %s%s, attempt %s", c.Launcher, c.Job, c.Namespace, where, c.Attempt)
	}
	title = titles("history")
	for _, s := range r.History {
		due := ""
		if !s.Due.IsZero() {
			due = ", due " + f.clock(s.Due)
		}
		line(title(), "%s  %s%s%s%s", f.clock(s.At), s.State, due, before(" by ", s.Launcher), before(": ", s.Message))
	}
	title = titles("job")
	for _, j := range r.Jobs {
		line(title(), "%s/%s, created %s%s: %s%s%s", j.Namespace, j.Name, f.clock(j.Created), before(", attempt ", j.Attempt), j.Status, before("; trouble: ", j.Trouble), before("; the run was told of ", j.Told))
	}
	title = titles("pod")
	for _, p := range r.Pods {
		line(title(), "%s/%s, created %s%s: %s", p.Namespace, p.Name, f.clock(p.Created), before(", on node ", p.Node), p.Status)
	}
	title = titles("events")
	for _, e := range r.Events {
		times := ""
		if e.Count > 1 {
			times = fmt.Sprintf(" (%d times)", e.Count)
		}
		line(title(), "%s  %s of %s%s: %s", f.clock(e.At), e.Reason, e.Of, times, e.Message)
	}
	title = titles("not read")
	for _, n := range r.NotRead {
		line(title(), "%s", n)
	}
	line("times", "%s, asked at %s", r.At.Format("MST -07:00"), r.At.Format(time.DateTime))
	_, err := io.WriteString(w, b.String())
	return err
}

// titles is the title of a paragraph's first line, and nothing of the others'.
func titles(first string) func() string {
	return func() string {
		now := first
		first = ""
		return now
	}
}

func before(what, text string) string {
	if text == "" {
		return ""
	}
	return what + text
}
