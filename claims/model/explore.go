package model

import "slices"

// Invariant must hold in every state.
type Invariant struct {
	Name, What string
	Holds      func(*State) bool
}

// Invariants that are judged in each state by itself.
func Invariants() []Invariant {
	return []Invariant{
		{"one pod at a time", "Never do two pods execute the run at once.", func(s *State) bool { return s.count(func(j Job) bool { return j.Phase == Runs }) <= 1 }},
		{"executed once", "Since a person started it, one pod at most has executed the run.", func(s *State) bool { return s.Run.Executed <= 1 }},
		{"one Job an attempt", "Of an attempt one Job at most waits or runs, in all clusters.", (*State).oneJob},
		{"what is over stays over", "No pod executes a run that has ended or was cancelled.", func(s *State) bool { return !s.Run.Again }},
	}
}

func (s *State) count(is func(Job) bool) (n int) {
	for _, cluster := range s.Jobs {
		for _, attempt := range cluster {
			for _, j := range attempt {
				if is(j) {
					n++
				}
			}
		}
	}
	return n
}

func (s *State) oneJob() bool {
	for a := range maxAttempts {
		n := 0
		for _, cluster := range s.Jobs {
			for _, j := range cluster[a] {
				if j.live() {
					n++
				}
			}
		}
		if n > 1 {
			return false
		}
	}
	return true
}

// NotLost is the invariant that is judged of all states together.
const (
	NotLost     = "no run is lost"
	NotLostWhat = "From every state that can be reached, launchers that go on, a server that answers and pods that run bring the run to its end, without a person's or Lazarus' help."
)

// Result of exploring a World.
type Result struct {
	States, Transitions, Depth int
	// All: there are no other states.
	All bool
	// Broken is the invariant that does not hold, and Trace the shortest way there.
	Broken string
	Trace  []Event
}

// Event is a move in a trace, in words.
type Event struct {
	Move
	Text string
}

// helps reports whether runs may rely on the action: it happens if it stays possible for
// long enough.
func helps(a Action) bool {
	switch a {
	case Cancel, Restart, Lazarus, HandBack:
		return false
	}
	return true
}

// key tells states apart, in few bytes: a State has padding and wide numbers.
type key [80]byte

func (w *World) key(s *State) (k key) {
	at := 0
	put := func(bytes ...int8) {
		for _, b := range bytes {
			k[at] = byte(b)
			at++
		}
	}
	bits := func(all ...bool) (b int8) {
		for i, set := range all {
			if set {
				b |= 1 << i
			}
		}
		return b
	}
	r := &s.Run
	put(int8(r.Phase), r.Attempt, r.Claim.Attempt, r.Claim.Cluster, r.Claim.Name, int8(r.Age), int8(r.Due), int8(r.Lock), r.Executed, s.Left, bits(r.Fresh, r.Over, r.Again))
	put(r.Named[:]...)
	for _, u := range s.Unheard {
		put(u.Attempt, u.Cluster, u.Name)
	}
	for i := range w.Launchers {
		l := &s.Launchers[i]
		put(int8(l.Step), l.Attempt, l.Name, int8(l.Age), int8(l.Settles), int8(l.Answer)<<4|int8(l.Reached), bits(l.Clear, l.Adopts, l.Checked, l.Late))
	}
	for c := range s.Jobs {
		for a := range s.Jobs[c] {
			for _, j := range s.Jobs[c][a] {
				k[at] = byte(j.Phase)<<4 | byte(j.Age)
				at++
			}
		}
	}
	return k
}

// mayBe is a first glance at whether a move is possible.
func mayBe(s *State, m Move) bool {
	switch m.Action {
	case PodBegins:
		return s.Jobs[m.Cluster][m.Attempt-1][m.Name].Phase == Waits
	case PodEnds:
		return s.Jobs[m.Cluster][m.Attempt-1][m.Name].Phase == Runs
	case JobExpires:
		return s.Jobs[m.Cluster][m.Attempt-1][m.Name].Phase == Finished
	case Read, List, Ask, Serve, Hear, GiveUp, Look, Check, Create, HandBack, Restore:
		is := s.Launchers[m.Launcher].Step
		switch m.Action {
		case Read, Look:
			return true
		case List:
			return is == Saw || is == Holds
		case Ask:
			return is == Saw
		case Serve, Hear:
			return is == Asked
		case Create, HandBack:
			return is == Holds
		case Restore:
			return is == Met
		}
		return is != Idle
	}
	return true
}

// Explore visits all states that can be reached, the nearest first, or at most so many.
func (w *World) Explore(most int) Result {
	type from struct {
		state int32
		move  uint8
	}
	moves := w.Moves()
	unnamed := called()
	first := w.Begin()
	w.normal(&first, &unnamed)
	index := map[key]int32{w.key(&first): 0}
	states, origin, depth := []State{first}, []from{{-1, 0}}, []int32{0}
	type edge struct{ from, to int32 }
	var edges []edge
	var r Result
	trace := func(at int32) []Event {
		var made []Move
		for ; origin[at].state >= 0; at = origin[at].state {
			made = append(made, moves[origin[at].move])
		}
		slices.Reverse(made)
		var events []Event
		names := called()
		s := first
		for _, m := range made {
			next, _ := w.Apply(s, m)
			text := w.describe(m, &s, &next, names)
			m.Launcher = names.launchers[m.Launcher]
			events = append(events, Event{m, text})
			w.normal(&next, &names)
			s = next
		}
		return events
	}
	invariants := Invariants()
	for at := int32(0); int(at) < len(states); at++ {
		s := states[at]
		for _, inv := range invariants {
			if !inv.Holds(&s) {
				r.Broken, r.Trace = inv.Name, trace(at)
				r.States, r.Depth = len(states), int(depth[at])
				return r
			}
		}
		for i, m := range moves {
			if !mayBe(&s, m) {
				continue
			}
			next := s
			if !w.apply(&next, m) {
				continue
			}
			w.normal(&next, &unnamed)
			k := w.key(&next)
			to, known := index[k]
			if !known {
				to = int32(len(states))
				index[k] = to
				states, origin, depth = append(states, next), append(origin, from{at, uint8(i)}), append(depth, depth[at]+1)
			}
			if to != at {
				r.Transitions++
				if helps(m.Action) {
					edges = append(edges, edge{at, to})
				}
			}
		}
		if len(states) > most {
			r.States, r.Depth = len(states), int(depth[at])
			return r
		}
	}
	r.States, r.Depth, r.All = len(states), int(depth[len(depth)-1]), true
	// Backwards from where the run is over.
	done := make([]bool, len(states))
	var queue []int32
	for i := range states {
		if states[i].Run.Phase.over() && states[i].Run.Claim == (Claim{}) {
			done[i] = true
			queue = append(queue, int32(i))
		}
	}
	start := make([]int32, len(states)+1)
	for _, e := range edges {
		start[e.to+1]++
	}
	for i := range states {
		start[i+1] += start[i]
	}
	into := make([]int32, len(edges))
	fill := slices.Clone(start)
	for _, e := range edges {
		into[fill[e.to]] = e.from
		fill[e.to]++
	}
	for len(queue) > 0 {
		at := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, f := range into[start[at]:start[at+1]] {
			if !done[f] {
				done[f] = true
				queue = append(queue, f)
			}
		}
	}
	if lost := slices.Index(done, false); lost >= 0 {
		r.Broken, r.Trace = NotLost, trace(int32(lost))
	}
	return r
}
