package model

import (
	"cmp"
	"slices"
)

// Phase of the run's newest state that is no claim.
type Phase int8

// The phases. A claim comes on top of one of them.
const (
	Scheduled Phase = iota
	Running
	Ended
	Cancelled
)

func (p Phase) String() string {
	return [...]string{"Scheduled", "Running", "Ended", "Cancelled"}[p]
}

func (p Phase) over() bool { return p == Ended || p == Cancelled }

const (
	// maxAttempts of a run are told apart; those that nothing refers to any more are
	// forgotten.
	maxAttempts = 4
	maxClusters = 2
	// maxNames a Job may have, by the launchers' templates.
	maxNames = 3
	// maxLaunchers at once, and maxUnheard requests that nobody waits for any more.
	maxLaunchers = 4
	maxUnheard   = 2
)

// Claim says who will create which Job for which attempt. The zero Claim is none.
type Claim struct {
	Attempt int8
	Cluster int8
	Name    int8
}

// Run is the run as Prefect has it.
type Run struct {
	// Phase is that of the newest state that is no claim, Attempt counts how often the run
	// was scheduled, and Claim is what came on top.
	Phase   Phase
	Attempt int8
	Claim   Claim
	// Age is that of the newest state; Due is how long until a scheduled run is due.
	Age, Due int32
	// Fresh: it was never scheduled before, nor claimed.
	Fresh bool
	// Named are the names that claims gave the Jobs of each attempt.
	Named [maxAttempts]int8
	// Lock is how long the server still refuses claims.
	Lock int32
	// Executed counts the pods that executed the run since a person started it, and Over is
	// set when it has ended since.
	Executed int8
	Over     bool
	// Again: a pod began after that.
	Again bool
}

// Step is how far a launcher has come.
type Step int8

// The steps, each with what the launcher knows.
const (
	// Idle: it knows nothing.
	Idle Step = iota
	// Saw: the run was due, Age ago.
	Saw
	// Asked: it sent a claim, Age ago.
	Asked
	// Unsure: its claim was applied, but something may have come before or after it.
	Unsure
	// Looked: the run was claimed, and it has listed the Jobs.
	Looked
	// Holds: the claim was its cluster's and in time, Age ago.
	Holds
	// Met: the claim was late, Age ago.
	Met
)

func (s Step) String() string {
	return [...]string{"lets go", "saw it due", "has asked", "is unsure", "has looked", "holds the claim", "met a late claim"}[s]
}

// Answer to a claim.
type Answer int8

// The answers.
const (
	None Answer = iota
	Won
	Refused
	Revived // the run had ended
)

// Launcher is what a launcher knows.
type Launcher struct {
	Step    Step
	Attempt int8
	Name    int8
	Age     int32
	// Clear: no Job that it has listed can take the run. Adopts: one can, and is claimed with.
	Clear, Adopts bool
	// Checked: it has read the run with its history since it claimed.
	Checked bool
	// Late: it has read that the claim came late, and then listed the Jobs.
	Late bool
	// Settles is how long claims that name the Job differently have to settle.
	Settles int32
	Answer  Answer
	// Reached is what the late claim came over.
	Reached Phase
}

// JobPhase of a Job.
type JobPhase int8

// The phases of a Job. One that is gone leaves its name free.
const (
	Gone JobPhase = iota
	Waits
	Runs
	Finished
)

// Job of an attempt.
type Job struct {
	Phase JobPhase
	Age   int32 // of the phase
}

func (j Job) live() bool { return j.Phase == Waits || j.Phase == Runs }

// State of everything.
type State struct {
	Run       Run
	Launchers [maxLaunchers]Launcher
	// Jobs by cluster, attempt and name.
	Jobs [maxClusters][maxAttempts][maxNames]Job
	// Unheard are the requests nobody waits for that the server may still apply.
	Unheard [maxUnheard]Claim
	// Left is how often the run may still be rescheduled, by anybody.
	Left int8
}

// Begin is a run that was scheduled and is due.
func (w *World) Begin() State {
	return State{Run: Run{Attempt: 1, Fresh: true}, Left: w.Reschedules}
}

// liveIn reports whether a Job in the cluster can take the run, or has a pod that does.
func (s *State) liveIn(cluster int8) bool {
	for _, attempt := range s.Jobs[cluster] {
		for _, j := range attempt {
			if j.live() {
				return true
			}
		}
	}
	return false
}

// clear reports whether no Job in the cluster can take the run, and none was the attempt's.
func (s *State) clear(cluster, attempt int8) bool {
	for _, j := range s.Jobs[cluster][attempt-1] {
		if j.Phase != Gone {
			return false
		}
	}
	return !s.liveIn(cluster)
}

// late reports whether the run's claim came over anything but the schedule that it is for.
func (r *Run) late() bool {
	return r.Claim != Claim{} && (r.Phase != Scheduled || r.Claim.Attempt != r.Attempt)
}

func (r *Run) isDue() bool {
	return r.Phase == Scheduled && r.Claim == Claim{} && r.Due == 0
}

// write is any state but a claim.
func (r *Run) write(p Phase) {
	r.Phase, r.Claim, r.Age, r.Due, r.Fresh = p, Claim{}, 0, 0, false
}

// schedule makes a new attempt.
func (r *Run) schedule(due int32) {
	r.write(Scheduled)
	r.Attempt++
	r.Due = due
}

// names are what launchers and attempts were called before a state was made normal.
type names struct {
	launchers [maxLaunchers]int8
	attempts  [maxAttempts + 2]int8
}

func called() (n names) {
	for i := range n.launchers {
		n.launchers[i] = int8(i)
	}
	for i := range n.attempts {
		n.attempts[i] = int8(i)
	}
	return n
}

// normal makes equal what differs in nothing that matters: attempts that nothing refers
// to, ages that no guard asks for, and launchers that are alike. It renames them in names.
func (w *World) normal(s *State, n *names) {
	w.forget(s, n)
	r := &s.Run
	var most int32 // that any guard asks for
	switch {
	case r.Claim != Claim{}:
		most = max(w.Lazarus, w.RivalsSettle)
	case r.Phase.over() && s.Left > 0:
		most = w.PersonTakes
	}
	r.Age = min(r.Age, most)
	for i := range w.Launchers {
		l := &s.Launchers[i]
		switch l.Step {
		case Idle:
			*l = Launcher{}
		case Saw, Asked, Met:
			l.Age = min(l.Age, w.SendWithin+1)
		case Holds:
			l.Age = min(l.Age, w.CreateWithin+1)
		case Unsure, Looked:
			l.Age = 0
		}
	}
	for c := range s.Jobs {
		for a := range s.Jobs[c] {
			for n := range s.Jobs[c][a] {
				switch j := &s.Jobs[c][a][n]; j.Phase {
				case Runs:
					j.Age = min(j.Age, w.PodLives)
				case Finished:
					j.Age = min(j.Age, w.TTL)
				default:
					j.Age = 0
				}
			}
		}
	}
	slices.SortFunc(s.Unheard[:], func(a, b Claim) int {
		return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name))
	})
	for i := 1; i < len(w.Launchers); i++ {
		for k := i; k > 0 && w.Launchers[k] == w.Launchers[k-1] && less(&s.Launchers[k], &s.Launchers[k-1]); k-- {
			s.Launchers[k], s.Launchers[k-1] = s.Launchers[k-1], s.Launchers[k]
			n.launchers[k], n.launchers[k-1] = n.launchers[k-1], n.launchers[k]
		}
	}
}

// forget renumbers the attempts, so that those that nothing refers to are gone.
func (w *World) forget(s *State, n *names) {
	var used [maxAttempts + 2]bool
	used[s.Run.Attempt], used[s.Run.Claim.Attempt] = true, true
	for i := range w.Launchers {
		if s.Launchers[i].Step != Idle {
			used[s.Launchers[i].Attempt] = true
		}
	}
	for _, u := range s.Unheard {
		used[u.Attempt] = true
	}
	for c := range s.Jobs {
		for a := range s.Jobs[c] {
			for _, j := range s.Jobs[c][a] {
				if j.Phase != Gone {
					used[a+1] = true
				}
			}
		}
	}
	var to [maxAttempts + 2]int8
	last, moved := int8(0), false
	for a := int8(1); int(a) < len(used); a++ {
		if used[a] {
			last++
			to[a], moved = last, moved || last != a
		}
	}
	was := n.attempts
	for a := range was {
		if used[a] {
			n.attempts[to[a]] = was[a]
		}
	}
	highest := n.attempts[last]
	for a := int(last) + 1; a < len(was); a++ {
		highest++
		n.attempts[a] = highest
	}
	if !moved {
		for a := last; a < maxAttempts; a++ {
			s.Run.Named[a] = 0
		}
		return
	}
	s.Run.Attempt, s.Run.Claim.Attempt = to[s.Run.Attempt], to[s.Run.Claim.Attempt]
	for i := range w.Launchers {
		if s.Launchers[i].Step != Idle {
			s.Launchers[i].Attempt = to[s.Launchers[i].Attempt]
		}
	}
	for i := range s.Unheard {
		s.Unheard[i].Attempt = to[s.Unheard[i].Attempt]
	}
	named, jobs := s.Run.Named, s.Jobs
	s.Run.Named = [maxAttempts]int8{}
	s.Jobs = [maxClusters][maxAttempts][maxNames]Job{}
	for a := int8(1); int(a) <= maxAttempts; a++ {
		if to[a] == 0 {
			continue
		}
		s.Run.Named[to[a]-1] = named[a-1]
		for c := range jobs {
			s.Jobs[c][to[a]-1] = jobs[c][a-1]
		}
	}
}

func less(a, b *Launcher) bool {
	bit := func(x bool) int8 {
		if x {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(a.Step, b.Step), cmp.Compare(a.Attempt, b.Attempt), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Age, b.Age),
		cmp.Compare(bit(a.Clear), bit(b.Clear)), cmp.Compare(bit(a.Adopts), bit(b.Adopts)), cmp.Compare(bit(a.Checked), bit(b.Checked)), cmp.Compare(bit(a.Late), bit(b.Late)),
		cmp.Compare(a.Settles, b.Settles), cmp.Compare(a.Answer, b.Answer), cmp.Compare(a.Reached, b.Reached),
	) < 0
}
