// A model checker of the core promise: no run is lost, and none is executed twice.
//
// Two launchers act on one run. Each call they make is a gate at which the other may go
// first. At any call, for as many faults as the scenario allows, the caller may die before
// or after it took effect, the answer may be lost, the call may be refused, the server may
// apply it late, or the launcher may be stopped for seconds, or for so long that a third
// one finishes its work, the pod runs, and the Job is deleted. It may be stopped between
// calls, too: while it renders, and before it reckons with deadlines. It is the real code
// that runs, in virtual time; only the order is ours.
//
// Here are the scenarios, the steps of an execution and the invariants. The engine that
// plays every execution is in interleave_engine_test.go, what launchers see of Prefect and
// Kubernetes in interleave_world_test.go, and the replay of each execution in the protocol
// as it is written down in interleave_replay_test.go.

package launcher

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble/resolve"
)

func TestEveryInterleavingOfTwoLaunchers(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			explore(t, s.execute)
		})
	}
}

// scenario is one run and what may happen to it.
type scenario struct {
	name   string
	setup  func() (*memory, *store)
	blind  bool
	faults int
	// apart has each of the two in a cluster of its own, with namespaces of one name.
	apart bool
	// living has pods run, for some seconds each, and launchers pause for longer.
	living bool
	// prefixes are the names of the three launchers' templates.
	prefixes []string
	// slow: the server may apply claims late.
	slow bool
	// orphan is a pod that lives on without its Job until something ends it.
	orphan bool
	// unlike: it makes a difference which of the two goes first.
	unlike bool
	// refused: Kubernetes takes no Job of the first launcher, and the second comes
	// when that gives up.
	refused bool
	// restarted: the run fails the first time, and its author starts it again.
	restarted bool
	// want is what Jobs were created, whatever happened; where it is left out, any
	// one.
	want []string
	// ends are the states the run may end in before its pod runs.
	ends []string
	// beyond the protocol that is written down: retries of tasks, authors' mistakes, and
	// pods without their Jobs.
	beyond bool
}

func scenarios() []scenario {
	long := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // the bubble's beginning
	return []scenario{
		{
			name: "due run, one API process", faults: 2,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "due run, API replicas, a watch that tells nothing", faults: 2, blind: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "running run with a due retry", beyond: true, faults: 2,
			setup: func() (*memory, *store) {
				return newMemory(run("r").retrying("t", 4, long)).replicated(), emptyStore()
			},
			want: []string{"r retry-t-v4"}, ends: []string{"Running"},
		},
		{
			name: "claim of a dead launcher", faults: 2, blind: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(2).claimedBy("dead", "v1", "prefect-job-x", long.Add(-time.Minute))).replicated(), emptyStore()
			},
			want: []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "rescheduled run whose Job still waits, a watch that tells nothing", faults: 2, blind: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(3).due(long)).replicated(), storeWith(run("r"))
			},
			want: []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "due run, two clusters, one API process", faults: 2, apart: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "due run, API replicas, launchers that pause while the pod runs", faults: 2, blind: true, living: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Success"},
		},
		{
			name: "a claim given back by one launcher and repaired by the other", faults: 1, living: true, refused: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)), emptyStore() },
			ends:  []string{"Success"},
		},
		{
			name: "running run with a due retry, two clusters", beyond: true, faults: 2, apart: true, unlike: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").retrying("t", 4, long).lastFrom("cluster 1")).replicated(), emptyStore()
			},
			want: []string{"r retry-t-v4"}, ends: []string{"Running"},
		},
		{
			name: "due run, API replicas, unequal templates", faults: 2, blind: true, prefixes: []string{"a", "b", "c"},
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "claim of a dead launcher, unequal templates", beyond: true, faults: 1, blind: true, prefixes: []string{"a", "b", "c"},
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(2).claimedBy("dead", "v1", "d-01234567", long.Add(-time.Minute))).replicated(), emptyStore()
			},
			want: []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "running run with a due retry, unequal templates", beyond: true, faults: 1, blind: true, prefixes: []string{"a", "b", "c"},
			setup: func() (*memory, *store) {
				r := run("r").retrying("t", 4, long).lastFrom("cluster 0")
				r.LastClaim.Job = "d-01234567"
				return newMemory(r).replicated(), emptyStore()
			},
			want: []string{"r retry-t-v4"}, ends: []string{"Running"},
		},
		{
			name: "due run, API replicas of which any may be slow", faults: 2, blind: true, living: true, slow: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Success"},
		},
		{
			name: "due run that is started again, API replicas of which any may be slow", faults: 1, blind: true, living: true, slow: true, restarted: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			ends:  []string{"Success"},
		},
		{
			name: "due run, API replicas of which any may be slow, unequal templates", faults: 1, blind: true, slow: true, prefixes: []string{"a", "b", "c"},
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).replicated(), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "run started again while a pod lives whose Job is gone", beyond: true, faults: 1, blind: true, orphan: true, unlike: true,
			setup: func() (*memory, *store) { return newMemory(run("r").version(5).due(long)).replicated(), emptyStore() },
			want:  []string{"r v5"}, ends: []string{"Submitted"},
		},
		{
			name: "due retry while a pod lives whose Job is gone", beyond: true, blind: true, orphan: true, unlike: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(3).retrying("t", 4, long)).replicated(), emptyStore()
			},
			want: []string{"r retry-t-v4"}, ends: []string{"Running"},
		},
		{
			name: "claim of a dead launcher while a pod lives whose Job is gone", beyond: true, faults: 1, blind: true, orphan: true, unlike: true,
			setup: func() (*memory, *store) {
				return newMemory(run("r").version(2).claimedBy("dead", "v1", "prefect-job-x", long.Add(-time.Minute))).replicated(), emptyStore()
			},
			want: []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "due run, claims arbitrated, unequal templates", faults: 2, prefixes: []string{"a", "b", "c"},
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).arbitrating(), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "due run, two clusters, claims arbitrated", faults: 2, apart: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).arbitrating(), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Submitted"},
		},
		{
			name: "due run, claims arbitrated, and late", faults: 1, blind: true, living: true, slow: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).arbitrating(), emptyStore() },
			want:  []string{"r v1"}, ends: []string{"Success"},
		},
		{
			name: "due run that is started again, claims arbitrated, and late", faults: 1, blind: true, living: true, slow: true, restarted: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).arbitrating(), emptyStore() },
			ends:  []string{"Success"},
		},
		{
			name: "a claim given back by one launcher and repaired by the other, claims arbitrated", faults: 1, living: true, refused: true,
			setup: func() (*memory, *store) { return newMemory(run("r").due(long)).arbitrating(), emptyStore() },
			ends:  []string{"Success"},
		},
		{
			name: "a run its author got wrong", beyond: true, faults: 2,
			setup: func() (*memory, *store) {
				wrong := run("r").due(long)
				wrong.runConfig("wrong")
				return newMemory(wrong).replicated(), emptyStore()
			},
			ends: []string{"Failed"},
		},
	}
}

// execute plays one execution.
func (s scenario) execute(t *testing.T, c *chooser) {
	x := s.begin(t, c)
	x.walk.play()
	x.cleanUp()
	x.createdAsWanted("after a third launcher cleaned up")
	x.endedAsWanted()
	x.runAndForget()
	final := x.m.get("r").State.Name
	x.walk.thaw()
	x.actors.Wait()
	x.createdAsWanted("after those who were frozen went on")
	x.executedOnce()
	x.stayed(final)
}

// execution is one execution of a scenario.
type execution struct {
	scenario
	walk         *walk
	t            *testing.T
	m            *memory
	clusters     []*store
	actors, pods sync.WaitGroup
	replay       *replay
}

// begin has launchers A and B, and whoever else acts, come to their first gates.
func (s scenario) begin(t *testing.T, c *chooser) *execution {
	m, st := s.setup()
	x := &execution{scenario: s, walk: newWalk(c, s.faults), t: t, m: m, clusters: []*store{st}}
	x.walk.alike, x.walk.slow = !s.unlike, s.slow
	if s.living && !s.slow { // there the server pauses
		x.walk.verdicts = append(x.walk.verdicts, pause)
	}
	if s.apart {
		x.clusters = append(x.clusters, emptyStore())
	}
	if s.living {
		for _, st := range x.clusters {
			st.start = func(j *batchv1.Job) {
				restart := s.restarted && len(st.created) == 1
				x.pods.Go(func() { x.live(st, j, restart) })
			}
		}
	}
	x.replay = follow(x)
	for i, name := range []string{"A", "B"} {
		l, y := x.launcher(name, i, x.walk.gates)
		after := time.Duration(0)
		if s.refused && i == 0 {
			y.refusal = apierrors.NewTooManyRequests("slow down", 20)
		} else if s.refused {
			after = 20 * time.Second
		}
		x.actors.Go(func() {
			time.Sleep(after)
			passOnce(t.Context(), l, y)
		})
	}
	if s.orphan {
		st.pods = []*corev1.Pod{podOf("r", corev1.PodStatus{Phase: corev1.PodRunning})}
		x.actors.Go(func() {
			y := &eyes{gates: x.walk.gates}
			y.wait(&gate{actor: "pod", op: "ends", write: true, free: []verdict{proceed}})
			st.endPods()
		})
	}
	return x
}

func (x *execution) launcher(name string, cluster int, gates chan *gate) (*Launcher, *eyes) {
	cluster %= len(x.clusters)
	y := &eyes{memory: x.m, store: x.clusters[cluster], uid: fmt.Sprint("cluster ", cluster), actor: name, gates: gates, blind: x.blind, replay: x.replay}
	if x.prefixes != nil {
		y.prefix = x.prefixes[name[0]-'A']
	}
	o := Options{Name: name, Namespace: "flows", Marks: kubernetesrun.Marks(), Jitter: halfway}.withDefaults()
	if x.refused {
		o.RetryFor = 10 * time.Second
	}
	return newLauncher(o, y, y, y), y
}

// cleanUp has a third launcher, C, see to what the others left; between its passes the
// API forgets its locks.
func (x *execution) cleanUp() {
	passes := 3
	if x.restarted {
		passes = 6
	}
	for range passes {
		time.Sleep(31 * time.Second)
		for i := range x.clusters {
			third, y := x.launcher("C", i, nil)
			passOnce(x.t.Context(), third, y)
		}
	}
	x.pods.Wait()
}

// runAndForget has the pod do its work, and in the end the Job deleted.
func (x *execution) runAndForget() {
	for _, st := range x.clusters {
		for _, j := range st.unfinished() {
			if x.podBegins(st, j) {
				x.podEnds(st, j, "Success")
			}
		}
	}
	time.Sleep(job.MinTTLSeconds * time.Second)
	x.replay.step(func() {
		for _, st := range x.clusters {
			st.jobs = map[string]*batchv1.Job{}
		}
	}, func() { x.replay.expire() })
}

// createdAsWanted: the Jobs were created that the scenario wants, and none beside a pod
// that lived.
func (x *execution) createdAsWanted(when string) {
	x.t.Helper()
	var created []string
	for _, st := range x.clusters {
		created = append(created, st.created...)
	}
	slices.Sort(created)
	want := x.want
	if x.refused && len(created) == 1 || x.restarted && len(created) == 2 && created[0] != created[1] {
		want = created
	}
	if !slices.Equal(created, want) {
		x.wrong("%s: Jobs created: %q, want %q", when, created, want)
	}
	if beside := x.clusters[0].beside; len(beside) > 0 {
		x.wrong("%s: created beside a pod that lived: %q", when, beside)
	}
}

// endedAsWanted: the run got to a state that the scenario allows.
func (x *execution) endedAsWanted() {
	x.t.Helper()
	if end := x.m.get("r").State.Name; !slices.Contains(x.ends, end) {
		x.wrong("the run ends %s, want one of %v", end, x.ends)
	}
}

// executedOnce: one pod at most executed each scheduling of the run.
func (x *execution) executedOnce() {
	x.t.Helper()
	if runs := strings.Count(strings.Join(x.m.writes, "\n"), "pod r Running"); runs > 1 && !x.restarted || runs > 2 {
		x.wrong("pods executed the run %d times", runs)
	}
}

// stayed: who was frozen has changed nothing.
func (x *execution) stayed(final string) {
	x.t.Helper()
	if end := x.m.get("r").State.Name; end != final {
		x.wrong("a launcher that was frozen set the finished run %s", end)
	}
}

func (x *execution) wrong(format string, args ...any) {
	x.t.Helper()
	tell(x.t, x.walk, x.m, format, args...)
}

// tell fails the execution with all that happened in it.
func tell(t *testing.T, w *walk, m *memory, format string, args ...any) {
	t.Helper()
	t.Errorf("%s\n%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace, "\n"), strings.Join(m.writes, "\n"))
}

// The same for a Job in trouble: of two launchers one tells the run's story and
// fails it, and whoever dies or is stopped on the way leaves it to the next. Only
// a death between telling and noting so may have something told again.
func TestStoryIsToldOnceInEveryInterleaving(t *testing.T) {
	for faults := range 2 {
		t.Run(fmt.Sprint(faults, " faults"), func(t *testing.T) {
			t.Parallel()
			explore(t, func(t *testing.T, c *chooser) { resolveInTurn(t, c, faults) })
		})
	}
}

func resolveInTurn(t *testing.T, c *chooser, faults int) {
	m, st := newMemory(run("r").in("Running")), emptyStore()
	st.jobs["job-r"], st.pods = jobOfRun("r"), []*corev1.Pod{podOf("r", oomKilled())}
	w := newWalk(c, faults)
	w.alike = true
	var actors sync.WaitGroup
	launcher := func(name string, gates chan *gate) (*Launcher, *eyes) {
		y := &eyes{memory: m, store: st, actor: name, gates: gates}
		return newLauncher(Options{Name: name, Namespace: "flows", Marks: kubernetesrun.Marks(), Jitter: halfway, DeleteFinished: true}.withDefaults(), y, y, y), y
	}
	for _, name := range []string{"A", "B"} {
		l, y := launcher(name, w.gates)
		actors.Go(func() { passOnce(t.Context(), l, y) })
	}
	w.play()
	third, y := launcher("C", nil)
	for range 3 {
		time.Sleep(resolve.LeaseFor + time.Second)
		passOnce(t.Context(), third, y)
	}
	wrong := func(format string, args ...any) {
		t.Helper()
		tell(t, w, m, format, args...)
	}
	if end := m.get("r").State.Name; end != "Failed" || len(st.jobs) > 0 {
		wrong("the run ends %s with %d Jobs", end, len(st.jobs))
	}
	// Somebody has the run started again, and only then the frozen go on.
	_ = m.setState(t.Context(), "person", "r", prefect.State{Phase: prefect.Waiting, Name: "Scheduled"})
	w.thaw()
	actors.Wait()
	if end := m.get("r").State.Name; end != "Scheduled" {
		wrong("a launcher that was frozen set the run %s that was started again", end)
	}
	// A story that Prefect refuses does not keep the run from being failed; one told
	// by a launcher that could not note so any more is told again.
	least, most := 1, 1
	if faults > 0 {
		most = 2
	}
	if strings.Contains(strings.Join(w.trace, "\n"), " log refused") {
		least = 0
	}
	if stories := len(m.infraLines("r")); stories < least || stories > most {
		wrong("the story was told %d times, want %d to %d", stories, least, most)
	}
}

// A run whose pod was rejected is handed back by one of two launchers, and whatever
// becomes of them it is launched once more, with another Job or with the one it has if
// that may yet take it; who was stopped on the way takes nothing from its pod then.
func TestRunIsHandedBackOnceInEveryInterleaving(t *testing.T) {
	for faults := range 2 {
		t.Run(fmt.Sprint(faults, " faults"), func(t *testing.T) {
			t.Parallel()
			explore(t, func(t *testing.T, c *chooser) { handBackInTurn(t, c, faults) })
		})
	}
}

func handBackInTurn(t *testing.T, c *chooser, faults int) {
	m, st := newMemory(run("r").version(2).claimedBy("gone", "v1", "job-r", time.Now().Add(-time.Minute))).replicated(), emptyStore()
	st.jobs["job-r"], st.pods = jobOfRun("r"), []*corev1.Pod{podOf("r", rejected())}
	w := newWalk(c, faults)
	w.alike = true
	var actors sync.WaitGroup
	launcher := func(name string, gates chan *gate) (*Launcher, *eyes) {
		y := &eyes{memory: m, store: st, actor: name, gates: gates}
		return newLauncher(Options{Name: name, Namespace: "flows", Marks: kubernetesrun.Marks(), Jitter: halfway, DeleteFinished: true}.withDefaults(), y, template{}, y), y
	}
	for _, name := range []string{"A", "B"} {
		l, y := launcher(name, w.gates)
		actors.Go(func() { passOnce(t.Context(), l, y) })
	}
	w.play()
	third, y := launcher("C", nil)
	for range 4 {
		time.Sleep(resolve.LeaseFor + time.Second)
		passOnce(t.Context(), third, y)
	}
	check := func(when string, state string) {
		t.Helper()
		r, want := m.get("r"), "r v3"
		if st.jobs["job-r"] != nil {
			want = "" // nobody came to stop it, so Kubernetes may make another pod of it
		}
		if created := strings.Join(st.created, ", "); r.State.Name != state || r.HandedBack != 1 || created != want {
			tell(t, w, m, "%s the run is %s, was handed back %d times, and got the Jobs %q", when, r.State.Name, r.HandedBack, created)
		}
	}
	check("in the end", "Submitted")
	_ = m.setState(t.Context(), "pod", "r", prefect.State{Phase: prefect.Running, Name: "Running"}, func(r *prefect.FlowRun) { r.HandedBack = 1 })
	w.thaw()
	actors.Wait()
	check("after those who were frozen went on", "Running")
}
