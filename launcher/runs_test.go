package launcher

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// runBuilder makes test runs sentences: run("a").due(at).
type runBuilder struct{ prefect.FlowRun }

func run(id string) *runBuilder {
	b := &runBuilder{prefect.FlowRun{
		ID: id, FlowName: "flow", Recipe: recipe.Recipe{FlowID: "flow"},
		State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"},
	}}
	return b.version(1)
}

// inState is a state with a name of the model's.
func inState(name string) prefect.State {
	s := prefect.State{Name: name}
	switch name {
	case "Scheduled":
		s.Phase = prefect.Waiting
	case "Paused":
		s.Phase = prefect.Held
	case "Submitted":
		s.Phase = prefect.Claimed
	case "Running":
		s.Phase = prefect.Running
	case "Cancelling":
		s.Phase = prefect.Cancelling
	case "Cancelled":
		s.Phase = prefect.Cancelled
	case "Success", "Failed":
		s.Phase = prefect.Finished
	default:
		panic("the model has no state " + name)
	}
	return s
}

// versionOf is how many states were written of a run.
func versionOf(r prefect.FlowRun) int {
	version, err := strconv.Atoi(r.Revision)
	if err != nil {
		panic(err)
	}
	return version
}

// at is a run at a version, with what a backend makes of its state and tasks there.
func at(r prefect.FlowRun, version int) prefect.FlowRun {
	r.Revision, r.Fresh, r.Attempt = strconv.Itoa(version), version <= 1, prefect.Attempt(fmt.Sprintf("v%d", version))
	r.Due, r.JobFirst = time.Time{}, false
	switch tasks := tasksOf(r); {
	case r.State.Phase.IsWaiting():
		r.Due = r.State.StartTime
	case r.State.Phase == prefect.Running && len(tasks) > 0:
		first := slices.MinFunc(tasks, inDueOrder)
		r.Due, r.JobFirst, r.Attempt = first.State.StartTime, true, prefect.Attempt("retry-"+first.ID+"-v"+strconv.Itoa(first.Version))
	}
	return r
}

func inDueOrder(a, b recipe.Task) int {
	return cmp.Or(a.State.StartTime.Compare(b.State.StartTime), cmp.Compare(a.ID, b.ID))
}

func tasksOf(r prefect.FlowRun) []recipe.Task {
	made, _ := recipe.Of(r)
	return made.DueTasks
}

func withTasks(r prefect.FlowRun, tasks []recipe.Task) prefect.FlowRun {
	made, _ := recipe.Of(r)
	made.DueTasks = tasks
	r.Recipe = made
	return r
}

func configOf(r prefect.FlowRun) string {
	made, _ := recipe.Of(r)
	return string(made.RunConfig)
}

func (b *runBuilder) runConfig(text string) *runBuilder {
	made, _ := recipe.Of(b.FlowRun)
	made.RunConfig = []byte(text)
	b.Recipe = made
	return b
}

func (b *runBuilder) due(at time.Time) *runBuilder {
	b.State.StartTime = at
	return b.version(versionOf(b.FlowRun))
}

func (b *runBuilder) readAt(at time.Time) *runBuilder { b.ReadAt = at; return b }
func (b *runBuilder) version(v int) *runBuilder       { b.FlowRun = at(b.FlowRun, v); return b }

func (b *runBuilder) labels(l ...string) *runBuilder {
	b.Place.Labels = l
	return b
}

func (b *runBuilder) retrying(task string, version int, due time.Time) *runBuilder {
	b.State = prefect.State{Phase: prefect.Running, Name: "Running"}
	b.FlowRun = withTasks(b.FlowRun, append(tasksOf(b.FlowRun), recipe.Task{ID: task, Version: version, State: prefect.State{Phase: prefect.Waiting, Name: "Retrying", StartTime: due}}))
	return b.version(versionOf(b.FlowRun))
}

// lastFrom says from which namespace the run was last submitted, by its UID.
func (b *runBuilder) lastFrom(uid string) *runBuilder {
	b.LastClaim = &prefect.Claim{Namespace: "flows", NamespaceUID: uid}
	return b
}

func (b *runBuilder) claimedBy(launcher string, attempt prefect.Attempt, jobName string, at time.Time) *runBuilder {
	b.State = prefect.State{Phase: prefect.Claimed, Name: "Submitted"}
	b.version(versionOf(b.FlowRun))
	b.Claim = &prefect.Claim{Launcher: launcher, Attempt: attempt, Job: jobName, Namespace: "flows"}
	b.StateAt = at
	b.KeepBy = keepBy(b.FlowRun)
	return b
}

// known has Prefect know of the Job of the claim.
func (b *runBuilder) known() *runBuilder { b.HasJob = true; return b }

// beaten gives the run a heartbeat.
func (b *runBuilder) beaten(at time.Time) *runBuilder {
	b.Heartbeat = at
	b.KeepBy = keepBy(b.FlowRun)
	return b
}

// keepFor is how long the model's signs of life are good for.
const keepFor = 3 * time.Minute

// keepBy is by when a claimed run needs a sign of life.
func keepBy(r prefect.FlowRun) time.Time {
	if r.Heartbeat.After(r.StateAt) {
		return r.Heartbeat.Add(keepFor)
	}
	return r.StateAt.Add(keepFor)
}

// since says when the run's state was written.
func (b *runBuilder) since(at time.Time) *runBuilder { b.StateAt = at; return b }

func (b *runBuilder) in(state string) *runBuilder {
	b.State, b.StateAt = inState(state), time.Now()
	b.State.StartTime = b.StateAt.Add(time.Hour)
	if b.State.Phase == prefect.Held {
		b.State.Phase = prefect.Waiting // whoever paused it said for how long
	}
	return b.version(3)
}
