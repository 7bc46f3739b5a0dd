// The interleavings' tie to the protocol as it is written down (claim-protocol §7): what
// happens in an execution is replayed in package claims/model, move by move. Whatever the
// real launchers write must be a move that the model allows them by what they know, and
// after each move the model's run and Jobs must be the world's.

package launcher

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/claims/model"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// replay is an execution as the model has it. A nil one follows nothing.
type replay struct {
	mu    sync.Mutex
	x     *execution
	world model.World
	state model.State
	at    time.Time // of the last step
	// attempts in the order in which the run was scheduled.
	attempts []prefect.Attempt
	// moves so far, for who reads a failure.
	moves []string
	// late are the claims on their way to a slow server, by their launchers.
	late map[string]model.Claim
	// over: it has failed, and follows no further.
	over bool
}

// bounds are the real ones in milliseconds. Pods and persons are as quick as they like.
func bounds() model.Bounds {
	ms := func(d time.Duration) int32 { return int32(d.Milliseconds()) }
	return model.Bounds{
		SendWithin: ms(claims.SendWithin), CreateWithin: ms(claims.CreateWithin), HandBackDelay: ms(claims.HandBackDelay), RivalsSettle: ms(claims.RivalsSettle),
		TTL: job.MinTTLSeconds * 1000, Lock: 30_000,
	}
}

// follow begins the replay of an execution that the model has words for.
func follow(x *execution) *replay {
	if x.beyond {
		return nil
	}
	r := &replay{x: x, at: time.Now(), late: map[string]model.Claim{}}
	r.world = model.World{Bounds: bounds(), Server: model.OneProcess, Late: x.slow, Unheard: 2, Reschedules: 100}
	switch {
	case x.m.arbitrates:
		r.world.Server = model.Arbitrates
	case x.m.locks == nil:
		r.world.Server = model.Replicas
	}
	for i := range 2 + len(x.clusters) { // A, B, and C in each cluster
		place := model.Place{Cluster: int8((i % 2) % len(x.clusters))}
		if x.prefixes != nil {
			place.Name = int8(min(i, 2))
		}
		r.world.Launchers = append(r.world.Launchers, place)
	}
	r.world.Without = []model.Rule{model.HandsBackAlone} // an assumption, which nobody keeps to here
	r.state = r.world.Begin()
	now := r.seen()
	r.state.Run, r.state.Jobs = now.Run, now.Jobs
	r.state.Run.Fresh = x.m.get("r").Fresh
	return r
}

// number is how often the run had been scheduled at that attempt.
func (r *replay) number(a prefect.Attempt) int8 {
	i := slices.Index(r.attempts, a)
	if i < 0 {
		i = len(r.attempts)
		r.attempts = append(r.attempts, a)
	}
	return int8(i + 1)
}

// seen is the part of the state that can be seen in Prefect and in the clusters.
func (r *replay) seen() (s model.State) {
	run := r.x.m.get("r")
	r.x.m.mu.Lock()
	past := slices.Clone(r.x.m.past["r"])
	r.x.m.mu.Unlock()
	s.Run.Attempt = 1
	for _, st := range r.x.clusters {
		st.mu.Lock()
		for _, j := range st.jobs {
			r.number(prefect.Attempt(j.Labels[job.LabelAttempt]))
		}
		st.mu.Unlock()
	}
	if run.Claim != nil {
		s.Run.Claim = model.Claim{Attempt: r.number(run.Claim.Attempt), Cluster: r.clusterOf(run.Claim.NamespaceUID), Name: r.nameOf(run.Claim.Job)}
	}
	for _, p := range past {
		switch {
		case p.state.Phase.IsWaiting():
			s.Run.Phase, s.Run.Attempt = model.Scheduled, r.number(prefect.Attempt(fmt.Sprint("v", p.version)))
		case p.state.Phase == prefect.Running:
			s.Run.Phase = model.Running
		case p.state.Phase.IsFinished():
			s.Run.Phase = model.Ended
		}
	}
	for c, st := range r.x.clusters {
		st.mu.Lock()
		for _, j := range st.jobs {
			phase := model.Waits
			if len(j.Status.Conditions) > 0 {
				phase = model.Finished
			} else if st.running[j.Name] {
				phase = model.Runs
			}
			s.Jobs[c][r.number(prefect.Attempt(j.Labels[job.LabelAttempt]))-1][r.nameOf(j.Name)].Phase = phase
		}
		st.mu.Unlock()
	}
	return s
}

func (r *replay) clusterOf(uid string) (c int8) {
	_, _ = fmt.Sscanf(uid, "cluster %d", &c)
	return c
}

func (r *replay) nameOf(name string) int8 {
	return int8(max(0, slices.Index(r.x.prefixes, job.PrefixOf(name))))
}

// launcher is the model's number of a launcher.
func (r *replay) launcher(y *eyes) int8 {
	n := strings.Index("AB", y.actor)
	if n < 0 {
		n = 2 + int(r.clusterOf(y.uid))
	}
	return int8(n)
}

func (r *replay) of(y *eyes) *model.Launcher { return &r.state.Launchers[r.launcher(y)] }

// step is something that happens in the world, and then in the model.
func (r *replay) step(happens func(), then func()) {
	if r == nil {
		happens()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	happens()
	if r.over {
		return
	}
	if by := time.Since(r.at); by > 0 {
		r.may(model.Move{Action: model.Pass, By: int32(by.Milliseconds())})
		r.at = time.Now()
	}
	then()
	r.compare()
}

// may makes a move if the model allows it. One that only reads adds to what a launcher
// knows, or does not.
func (r *replay) may(m model.Move) bool {
	next, ok := r.world.Apply(r.state, m)
	if ok {
		r.moves = append(r.moves, r.world.Describe(m, &r.state, &next))
		r.state = next
	}
	return ok
}

// must makes a move that the model has to allow.
func (r *replay) must(m model.Move) {
	if !r.over && !r.may(m) {
		r.wrong("the protocol does not allow it: %s, as things are", r.world.Describe(m, &r.state, &r.state))
	}
}

func (r *replay) wrong(format string, args ...any) {
	r.over = true
	r.x.wrong("%s\nby the model:\n%s\n%+v", fmt.Sprintf(format, args...), strings.Join(r.moves, "\n"), r.state.Launchers[:len(r.world.Launchers)])
}

// compare has the model and the world agree on the run and its Jobs.
func (r *replay) compare() {
	if r.over {
		return
	}
	have, want := r.state, r.seen()
	if have.Run.Phase != want.Run.Phase || have.Run.Claim != want.Run.Claim || want.Run.Phase == model.Scheduled && have.Run.Attempt != want.Run.Attempt {
		r.wrong("the run is %v with %+v, attempt %d; by the model it is %v with %+v, attempt %d", want.Run.Phase, want.Run.Claim, want.Run.Attempt, have.Run.Phase, have.Run.Claim, have.Run.Attempt)
		return
	}
	for c := range have.Jobs {
		for a := range have.Jobs[c] {
			for n, j := range have.Jobs[c][a] {
				if is := want.Jobs[c][a][n].Phase; is != j.Phase {
					r.wrong("the Job of attempt %d in cluster %d is %v, by the model %v", a+1, c, is, j.Phase)
				}
			}
		}
	}
}

// begins: a launcher begins a pass and knows nothing.
func (r *replay) begins(y *eyes) {
	r.step(func() {}, func() { r.may(model.Move{Action: model.GiveUp, Launcher: r.launcher(y)}) })
}

// read: a launcher has read the run. Its own claim there is the answer to it.
func (r *replay) read(y *eyes, run prefect.FlowRun) {
	who := r.launcher(y)
	switch l := r.of(y); {
	case l.Step == model.Asked && run.Claim != nil && run.Claim.Launcher == y.actor && r.number(run.Claim.Attempt) == l.Attempt:
		r.may(model.Move{Action: model.Hear, Launcher: who})
	case run.State.Phase.IsWaiting():
		r.may(model.Move{Action: model.Read, Launcher: who})
	}
}

// lists: a launcher lists the run's Jobs.
func (r *replay) lists(y *eyes) {
	who := r.launcher(y)
	if l := r.of(y); l.Step == model.Saw || l.Step == model.Holds && !l.Clear {
		r.may(model.Move{Action: model.List, Launcher: who})
		return
	}
	r.may(model.Move{Action: model.Look, Launcher: who})
}

// asks: a claim is on its way.
func (r *replay) asks(y *eyes, c prefect.Claim) {
	r.must(model.Move{Action: model.Ask, Launcher: r.launcher(y)})
	l := r.of(y)
	if l.Attempt != r.number(c.Attempt) && !r.over {
		r.wrong("launcher %s claims attempt %s", y.actor, c.Attempt)
	}
	r.late[y.actor] = model.Claim{Attempt: l.Attempt, Cluster: r.world.Launchers[r.launcher(y)].Cluster, Name: l.Name}
}

// serves: the server applies the claim, or refuses it.
func (r *replay) serves(y *eyes, a prefect.ClaimResult) {
	who, want := r.launcher(y), model.Refused
	switch {
	case a.Reason == revived:
		want = model.Revived
	case a.Answer == prefect.Won:
		want = model.Won
	}
	if r.may(model.Move{Action: model.Serve, Launcher: who}) {
		if got := r.of(y).Answer; got != want {
			r.wrong("the claim was answered %v (%s), by the model %v", a.Answer, a.Reason, got)
		}
		return
	}
	i := slices.Index(r.state.Unheard[:], r.late[y.actor])
	if i < 0 {
		r.wrong("the server applies a claim of launcher %s that is not under way", y.actor)
		return
	}
	r.must(model.Move{Action: model.ServeUnheard, Unheard: int8(i)})
}

// checks: a launcher reads the run with its history.
func (r *replay) checks(y *eyes) {
	r.may(model.Move{Action: model.Check, Launcher: r.launcher(y)})
}

func (r *replay) hears(y *eyes) { r.may(model.Move{Action: model.Hear, Launcher: r.launcher(y)}) }

// writes: a launcher has created a Job, or set a state. It was not sent if it failed.
func (r *replay) writes(y *eyes, a model.Action, failed error) {
	if failed == nil {
		r.must(model.Move{Action: a, Launcher: r.launcher(y)})
	}
}

// expire: all finished Jobs are deleted.
func (r *replay) expire() {
	for c := range r.state.Jobs {
		for a := range r.state.Jobs[c] {
			for n, j := range r.state.Jobs[c][a] {
				if j.Phase != model.Gone {
					r.must(model.Move{Action: model.JobExpires, Cluster: int8(c), Attempt: int8(a + 1), Name: int8(n)})
				}
			}
		}
	}
}

// ofJob is a move of a Job's.
func (r *replay) ofJob(a model.Action, st *store, j *batchv1.Job) model.Move {
	return model.Move{Action: a, Cluster: int8(slices.Index(r.x.clusters, st)), Attempt: r.number(prefect.Attempt(j.Labels[job.LabelAttempt])), Name: r.nameOf(j.Name)}
}
