package model

import "fmt"

// Action is what may happen.
type Action int8

// The actions.
const (
	Read Action = iota + 1
	List
	Ask
	Hear
	Look
	Check
	Create
	HandBack
	Restore
	GiveUp
	Serve
	ServeUnheard
	PodBegins
	PodEnds
	JobExpires
	Cancel
	Restart
	Lazarus
	Pass
)

// Told is an action in words.
type Told struct {
	Action
	Name, Who, What string
}

// Actions are all there are.
func Actions() []Told {
	return []Told{
		{Read, "read", "launcher", "It reads the run: it is due, for an attempt. It may read it again at any time."},
		{List, "list", "launcher", "It lists the run's Jobs, before a claim or before the Job of rivals: one that can take the run is adopted, and none is created."},
		{Ask, "claim", "launcher", "It sends a claim, with the name of the Job."},
		{Hear, "hear", "launcher", "It hears the answer. A claim won soon is confirmed; after a late answer, or where names may differ, it is read first; a refused one is over."},
		{Look, "look", "launcher", "It meets a claim of its cluster, another's or its own, and lists the Jobs. If one can take the run, nothing is to be done."},
		{Check, "check", "launcher", "It reads the run with its history: the claim is confirmed, late, or somebody else's."},
		{Create, "create", "launcher", "It creates the Job of a confirmed claim, by the claimed name. It may do so again: one that exists is the run's."},
		{HandBack, "hand back", "launcher", "It puts a run that it has just confirmed back in the queue, as a new attempt."},
		{Restore, "restore", "launcher", "It writes again what a late claim came over. A schedule is then a new attempt."},
		{GiveUp, "die or let go", "launcher", "It forgets all it knows. A claim on its way stays on its way."},
		{Serve, "apply", "server", "It applies a claim, or refuses it, now or late."},
		{ServeUnheard, "apply unheard", "server", "The same with a claim that nobody waits for any more."},
		{PodBegins, "begin", "pod", "The Job's pod begins the run, whatever attempt it is; it does nothing for a run that is over."},
		{PodEnds, "end", "pod", "It ends the run."},
		{JobExpires, "expire", "Kubernetes", "A finished Job is deleted after its time to live."},
		{Cancel, "cancel", "person", "The run is cancelled before it is Running."},
		{Restart, "start again", "person", "A run that is over is scheduled again, as a new attempt."},
		{Lazarus, "Lazarus", "Prefect 1", "A claimed run without a sign of life is scheduled again, as a new attempt."},
		{Pass, "pass", "clock", "Time passes for everybody."},
	}
}

// Move is an action of somebody, or on something. What an action does not need is zero.
type Move struct {
	Action   Action
	Launcher int8
	// Cluster, Attempt and Name are those of a Job; Claim is an unheard one.
	Cluster, Attempt, Name int8
	Unheard                int8
	// By is how much time passes.
	By int32
}

// Moves are all that may be possible in some state.
func (w *World) Moves() []Move {
	var all []Move
	for i := range w.Launchers {
		for _, a := range []Action{Read, List, Ask, Serve, Hear, Look, Check, Create, HandBack, Restore, GiveUp} {
			all = append(all, Move{Action: a, Launcher: int8(i)})
		}
	}
	for c := range w.clusters() {
		for a := range int8(maxAttempts) {
			for n := range int8(maxNames) {
				for _, action := range []Action{PodBegins, PodEnds, JobExpires} {
					all = append(all, Move{Action: action, Cluster: c, Attempt: a + 1, Name: n})
				}
			}
		}
	}
	for i := range int8(maxUnheard) {
		all = append(all, Move{Action: ServeUnheard, Unheard: i})
	}
	return append(all, Move{Action: Cancel}, Move{Action: Restart}, Move{Action: Lazarus}, Move{Action: Pass, By: 1})
}

// Apply makes the move, if it is allowed in the state.
func (w *World) Apply(s State, m Move) (State, bool) {
	ok := w.apply(&s, m)
	return s, ok
}

// apply leaves nothing to rely on in the state where the move is not allowed.
func (w *World) apply(s *State, m Move) (ok bool) {
	l := &s.Launchers[m.Launcher]
	j := &s.Jobs[m.Cluster][max(m.Attempt, 1)-1][m.Name]
	switch m.Action {
	case Read:
		ok = w.read(s, l)
	case List:
		ok = w.list(s, l, m.Launcher)
	case Ask:
		ok = w.ask(l, m.Launcher)
	case Serve:
		ok = l.Step == Asked && l.Answer == None
		if ok {
			l.Answer = w.serve(s, w.claimOf(l, m.Launcher))
		}
	case Hear:
		ok = w.hear(l)
	case GiveUp:
		ok = w.giveUp(s, l, m.Launcher)
	case Look:
		ok = w.look(s, l, m.Launcher)
	case Check:
		ok = w.check(s, l, m.Launcher)
	case Create:
		ok = w.create(s, l, m.Launcher)
	case HandBack:
		ok = w.handBack(s, l, m.Launcher)
	case Restore:
		ok = w.restore(s, l, m.Launcher)
	case ServeUnheard:
		u := &s.Unheard[m.Unheard]
		if ok = *u != (Claim{}); ok {
			w.serve(s, *u)
			*u = Claim{}
		}
	case PodBegins:
		ok = w.podBegins(s, j)
	case PodEnds:
		ok = w.podEnds(s, j)
	case JobExpires:
		if ok = j.Phase == Finished && (j.Age >= w.TTL || !w.has(JobsStay)); ok {
			*j = Job{}
		}
	case Cancel:
		ok = w.cancel(s)
	case Restart:
		ok = w.restart(s)
	case Lazarus:
		ok = w.lazarus(s)
	case Pass:
		ok = w.pass(s, m.By)
	}
	return ok
}

func (w *World) claimOf(l *Launcher, i int8) Claim {
	return Claim{Attempt: l.Attempt, Cluster: w.Launchers[i].Cluster, Name: l.Name}
}

// read: the run is due. It may be read again and again.
func (w *World) read(s *State, l *Launcher) bool {
	if l.Step != Idle && l.Step != Saw || !s.Run.isDue() {
		return false
	}
	same := l.Step == Saw && l.Attempt == s.Run.Attempt
	*l = Launcher{Step: Saw, Attempt: s.Run.Attempt, Clear: s.Run.Fresh || same && l.Clear, Adopts: same && l.Adopts}
	return true
}

// list: before a run is claimed that was scheduled before, its Jobs are listed. One that
// can take the run is adopted; while a pod lives without, nothing is claimed.
func (w *World) list(s *State, l *Launcher, i int8) bool {
	if l.Step == Holds && !l.Clear && l.Settles == 0 {
		if l.Clear = s.clear(w.Launchers[i].Cluster, l.Attempt); !l.Clear {
			*l = Launcher{}
		}
		return true
	}
	if l.Step != Saw {
		return false
	}
	l.Adopts = s.liveIn(w.Launchers[i].Cluster) && w.has(ListsBeforeClaim)
	l.Clear = !l.Adopts
	if s.count(func(j Job) bool { return j.Phase == Finished }) > 0 && w.has(ReadsAfterList) {
		l.Age = w.SendWithin + 1 // it may have ended the run since that was read
	}
	return true
}

// ask: a claim is sent soon after the run was read.
func (w *World) ask(l *Launcher, i int8) bool {
	if l.Step != Saw || !l.Clear && !l.Adopts || l.Age > w.SendWithin && w.has(SendsSoon) {
		return false
	}
	l.Step, l.Age, l.Name = Asked, 0, w.Launchers[i].Name
	return true
}

// serve: the server applies a claim, or not.
func (w *World) serve(s *State, c Claim) Answer {
	r := &s.Run
	answer := Won
	switch {
	case w.Server == OneProcess && r.Lock > 0:
		return Refused
	case w.Server == OneProcess && w.has(OneLock):
		r.Lock = w.Lock
	case w.Server == Arbitrates && (r.Claim != Claim{} || r.Phase == Running || r.Phase == Cancelled):
		return Refused
	case w.Server == Arbitrates && r.Phase == Ended:
		answer = Revived
	}
	r.Claim, r.Age, r.Due, r.Fresh = c, 0, 0, false
	if w.unequal() {
		r.Named[c.Attempt-1] |= 1 << c.Name
	}
	return answer
}

// hear: an answer that came soon makes the claim one's own. After another one the run is
// read; so it is where another claim may name the Job differently.
func (w *World) hear(l *Launcher) bool {
	if l.Step != Asked || l.Answer == None {
		return false
	}
	answer := l.Answer
	l.Answer = None
	if answer == Revived && !w.has(PutsBackRevived) {
		answer = Won
	}
	soon := l.Age <= w.SendWithin || !w.has(AwaitsNotLong)
	alone := !w.unequal() || w.Server == Arbitrates || !w.has(ReadsNamesBack)
	switch {
	case answer == Refused, answer == Won && l.Adopts:
		*l = Launcher{}
	case answer == Won && soon && alone:
		l.Step = Holds
	default:
		l.Step = Unsure
	}
	return true
}

// giveUp: a launcher dies, leaves or lets go. A claim that it has sent may still be applied.
func (w *World) giveUp(s *State, l *Launcher, i int8) bool {
	if l.Step == Idle {
		return false
	}
	if l.Step == Asked && l.Answer == None {
		if !w.Late {
			return false
		}
		at := -1
		for k, u := range s.Unheard[:w.Unheard] {
			if u == (Claim{}) {
				at = k
			}
		}
		if at < 0 || w.LateBy > 0 {
			return false // what would be applied is applied first
		}
		s.Unheard[at] = w.claimOf(l, i)
	}
	*l = Launcher{}
	return true
}

// ours: the run's claim is of a launcher of that cluster.
func (w *World) ours(s *State, i int8) bool {
	return s.Run.Claim != Claim{} && (s.Run.Claim.Cluster == w.Launchers[i].Cluster || !w.has(KnowsItsCluster))
}

// look: before a claimed run gets its Job from another launcher, or is handed back, its
// Jobs are listed.
func (w *World) look(s *State, l *Launcher, i int8) bool {
	if l.Step != Idle && l.Step != Holds || !w.ours(s, i) || l.Step == Idle && !w.has(Repairs) {
		return false
	}
	attempt := l.Attempt
	if l.Step == Idle {
		attempt = s.Run.Claim.Attempt
	}
	if s.liveIn(w.Launchers[i].Cluster) && w.has(ListsBeforeRepair) {
		if l.Step == Idle {
			return false // nothing to be done
		}
		*l = Launcher{}
		return true
	}
	*l = Launcher{Step: Looked, Attempt: attempt, Clear: s.clear(w.Launchers[i].Cluster, attempt) || !w.has(ListsBeforeRepair)}
	return true
}

// check: the run is read with its history. The claim is its cluster's and in time, or it
// is late, or somebody else's business.
func (w *World) check(s *State, l *Launcher, i int8) bool {
	if l.Step != Unsure && l.Step != Looked && l.Step != Holds {
		return false
	}
	r := &s.Run
	was := *l
	*l = Launcher{}
	if !w.ours(s, i) || r.Claim.Attempt != was.Attempt {
		return true
	}
	if r.late() && w.has(UndoesLate) {
		alone := !s.liveIn(w.Launchers[i].Cluster) || !w.has(RestartIsAlone)
		again := was.Late || !w.has(ListsBeforeRunning)
		switch {
		case r.Phase.over(), r.Phase == Running && again, r.Phase == Scheduled && alone:
			*l = Launcher{Step: Met, Attempt: was.Attempt, Reached: r.Phase}
		case r.Phase == Running && !s.liveIn(w.Launchers[i].Cluster):
			*l = Launcher{Step: Looked, Attempt: was.Attempt, Late: true}
		}
		return true
	}
	*l = Launcher{Step: Holds, Attempt: was.Attempt, Name: r.Claim.Name, Clear: was.Clear, Checked: true}
	if named := r.Named[was.Attempt-1]; named&(named-1) != 0 && w.has(WaitsForRivals) {
		l.Settles = max(0, w.RivalsSettle-r.Age)
		l.Clear = l.Clear && !w.has(ListsRivals)
	}
	return true
}

// create: the Job is created soon after the claim was confirmed, by the claimed name. If
// there is one of that name, it is the run's.
func (w *World) create(s *State, l *Launcher, i int8) bool {
	if l.Step != Holds || !l.Clear || l.Settles > 0 || l.Age > w.CreateWithin && w.has(CreatesSoon) {
		return false
	}
	name := l.Name
	if !w.has(SharesTheName) {
		name = i % maxNames // each launcher its own
	}
	if j := &s.Jobs[w.Launchers[i].Cluster][l.Attempt-1][name]; j.Phase == Gone {
		*j = Job{Phase: Waits}
	}
	return true
}

// alone reports whether nobody beside the launcher is about to bring the run to a Job. With
// several clusters it has to be.
func (w *World) alone(s *State, i int8) bool {
	if w.clusters() == 1 || !w.has(HandsBackAlone) {
		return true
	}
	for k := range w.Launchers {
		switch other := &s.Launchers[k]; {
		case int8(k) == i:
		case other.Step == Holds && other.Age <= w.CreateWithin, other.Step == Saw, other.Step == Asked:
			return false
		}
	}
	return !s.liveIn(0) && !s.liveIn(1)
}

// handBack: a claimed run is returned to the queue right after it was read with its history,
// and not due before everybody has acted who knew the claim.
func (w *World) handBack(s *State, l *Launcher, i int8) bool {
	if !w.alone(s, i) {
		return false
	}
	checked := l.Checked && l.Age <= w.SendWithin || !w.has(ChecksBeforeHandBack)
	if l.Step != Holds || !checked || s.Left == 0 {
		return false
	}
	due := w.HandBackDelay
	if !w.has(HandsBackForLater) {
		due = 0
	}
	s.Left--
	s.Run.schedule(due)
	*l = Launcher{}
	return s.Run.Attempt <= maxAttempts
}

// restore: what a late claim has overwritten is put back, right after it was read; a
// schedule not due before everybody has put it back who read the same.
func (w *World) restore(s *State, l *Launcher, i int8) bool {
	if l.Reached == Scheduled && !w.alone(s, i) || l.Step != Met || l.Age > w.SendWithin && w.has(SendsSoon) {
		return false
	}
	if l.Reached == Scheduled {
		due := max(0, w.HandBackDelay-l.Age)
		if !w.has(HandsBackForLater) {
			due = 0
		}
		s.Run.schedule(due)
	} else {
		s.Run.write(l.Reached)
	}
	*l = Launcher{}
	return s.Run.Attempt <= maxAttempts
}

// podBegins: a pod does nothing for a run that is over.
func (w *World) podBegins(s *State, j *Job) bool {
	if j.Phase != Waits {
		return false
	}
	if s.Run.Phase.over() && s.Run.Claim == (Claim{}) {
		*j = Job{Phase: Finished}
		return true
	}
	*j = Job{Phase: Runs}
	s.Run.write(Running)
	s.Run.Executed++
	s.Run.Again = s.Run.Over
	return true
}

func (w *World) podEnds(s *State, j *Job) bool {
	if j.Phase != Runs || j.Age < w.PodLives && w.has(PodsLive) {
		return false
	}
	*j = Job{Phase: Finished}
	s.Run.write(Ended)
	s.Run.Over = true
	return true
}

// cancel: a run that is not Running is Cancelled at once.
func (w *World) cancel(s *State) bool {
	if s.Left == 0 || s.Run.Claim == (Claim{}) && s.Run.Phase != Scheduled {
		return false
	}
	if w.has(NobodyCancelsMeanwhile) && s.writing(w) {
		return false
	}
	s.Run.write(Cancelled)
	s.Run.Over = true
	return true
}

// writing reports whether somebody is about to write a state of the run, or may yet make a
// pod begin it.
func (s *State) writing(w *World) bool {
	under, may := false, s.count(func(j Job) bool { return j.Phase == Waits }) > 0
	for i := range w.Launchers {
		l := &s.Launchers[i]
		claims := (l.Step == Saw || l.Step == Asked) && w.Server != Arbitrates
		writes := l.Step == Met || l.Step == Holds && l.Checked
		if (claims || writes) && l.Age <= w.SendWithin {
			return true
		}
		under = under || l.Step == Asked && l.Answer == None
		may = may || l.Step == Holds
	}
	for _, u := range s.Unheard {
		under = under || u != Claim{}
	}
	return under && may && w.Server != Arbitrates
}

// restart: a person starts a run again that has ended.
func (w *World) restart(s *State) bool {
	if s.Left == 0 || !s.Run.Phase.over() || s.Run.Claim != (Claim{}) || s.Run.Attempt >= maxAttempts {
		return false
	}
	if w.has(PersonsPace) && (s.Run.Age < w.PersonTakes || w.clusters() > 1 && (s.liveIn(0) || s.liveIn(1))) {
		return false
	}
	s.Left--
	s.Run.schedule(0)
	s.Run.Executed, s.Run.Over, s.Run.Again = 0, false, false
	return true
}

// lazarus: Prefect 1 schedules a claimed run again that has given no sign of life.
func (w *World) lazarus(s *State) bool {
	if w.Lazarus == 0 || w.Server == Arbitrates || s.Left == 0 || s.Run.Claim == (Claim{}) || s.Run.Age < w.Lazarus || s.Run.Attempt >= maxAttempts {
		return false
	}
	for i := range w.Launchers {
		if l := &s.Launchers[i]; l.Step == Holds && l.Age <= w.CreateWithin && w.has(LazarusMeetsNobody) {
			return false
		}
	}
	if w.has(LaunchersCome) && (s.Run.late() || w.clusters() > 1 && (s.liveIn(0) || s.liveIn(1))) {
		return false
	}
	s.Left--
	s.Run.schedule(0)
	return true
}

// pass: time passes for everybody, unless the server must apply a claim first.
func (w *World) pass(s *State, by int32) bool {
	down := func(x *int32) { *x = max(0, *x-by) }
	r := &s.Run
	r.Age += by
	down(&r.Due)
	down(&r.Lock)
	for i := range w.Launchers {
		l := &s.Launchers[i]
		if l.Step == Asked && l.Answer == None && (!w.Late || w.LateBy > 0 && l.Age+by > w.LateBy) {
			return false
		}
		l.Age += by
		down(&l.Settles)
	}
	for c := range s.Jobs {
		for a := range s.Jobs[c] {
			for n := range s.Jobs[c][a] {
				s.Jobs[c][a][n].Age += by
			}
		}
	}
	return true
}

// Describe is a move as a line of a trace.
func (w *World) Describe(m Move, before, after *State) string {
	return w.describe(m, before, after, called())
}

func (w *World) describe(m Move, before, after *State, n names) string {
	who := "launcher " + string(rune('A'+n.launchers[m.Launcher]))
	if w.clusters() > 1 {
		who += fmt.Sprint(" of cluster ", w.Launchers[m.Launcher].Cluster+1)
	}
	job := fmt.Sprintf("the Job of attempt %d", n.attempts[m.Attempt])
	if w.unequal() {
		job += " by name " + string(rune('a'+m.Name))
	}
	if w.clusters() > 1 {
		job += fmt.Sprint(" in cluster ", m.Cluster+1)
	}
	l, then := before.Launchers[m.Launcher], after.Launchers[m.Launcher]
	attempt := n.attempts[l.Attempt]
	switch m.Action {
	case Read:
		return fmt.Sprintf("%s reads that the run is due, attempt %d", who, n.attempts[before.Run.Attempt])
	case List:
		if then.Adopts {
			return who + " lists the Jobs: one can take the run"
		}
		return who + " lists the Jobs: none can take the run"
	case Ask:
		return fmt.Sprintf("%s sends a claim for attempt %d", who, attempt)
	case Serve:
		return fmt.Sprintf("Prefect applies the claim of %s: %s", who, [...]string{"?", "won", "refused", "it revives the run"}[then.Answer])
	case Hear:
		return who + " hears the answer: it " + then.Step.String()
	case GiveUp:
		return who + " dies, or lets go"
	case Look:
		return who + " meets the claim and lists the Jobs"
	case Check:
		return who + " reads the run with its history: it " + then.Step.String()
	case Create:
		return fmt.Sprintf("%s creates the Job of attempt %d", who, attempt)
	case HandBack:
		return who + " hands the run back"
	case Restore:
		return fmt.Sprintf("%s puts back %s", who, l.Reached)
	case ServeUnheard:
		return fmt.Sprintf("Prefect applies a claim for attempt %d that nobody waits for", n.attempts[before.Unheard[m.Unheard].Attempt])
	case PodBegins:
		return "the pod of " + job + " begins"
	case PodEnds:
		return "the pod of " + job + " ends"
	case JobExpires:
		return job + " is deleted after its time to live"
	case Cancel:
		return "a person cancels the run"
	case Restart:
		return "a person starts the run again"
	case Lazarus:
		return "Prefect schedules the run again"
	}
	return "time passes"
}
