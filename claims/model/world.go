package model

import "slices"

// Server is how Prefect answers claims.
type Server int8

// The servers.
const (
	// OneProcess of Prefect 1 applies any claim, and then refuses others for a while.
	OneProcess Server = iota
	// Replicas of it apply any claim.
	Replicas
	// Arbitrates: of the claims of a scheduled run Prefect 3 accepts one. It also accepts one
	// of a run that has ended, and says so.
	Arbitrates
)

func (s Server) String() string {
	return [...]string{"Prefect 1, one API process", "Prefect 1, API replicas", "Prefect 3"}[s]
}

// Bounds of time, in any unit.
type Bounds struct {
	// SendWithin, CreateWithin, HandBackDelay and RivalsSettle are those of package claims.
	SendWithin, CreateWithin, HandBackDelay, RivalsSettle int32
	// PodLives is the least time from a pod's begin to its end, TTL how long a finished Job
	// stays at least, Lock how long one API process refuses further claims, and Lazarus
	// after what silence Prefect 1 schedules a run again; 0 is never.
	PodLives, TTL, Lock, Lazarus int32
	// PersonTakes is the least time from a run's end until a person starts it again.
	PersonTakes int32
	// LateBy is how late the server may apply a claim; 0 is any time.
	LateBy int32
}

// Least has the values in the order of the real ones, as small as keeps them apart where
// they must differ.
func Least() Bounds {
	return Bounds{SendWithin: 1, PodLives: 2, CreateWithin: 2, Lock: 3, HandBackDelay: 4, TTL: 3, PersonTakes: 3, RivalsSettle: 3, Lazarus: 4}
}

// Place of a launcher: its cluster, and the name that its template gives Jobs.
type Place struct{ Cluster, Name int8 }

// World is what there is, and what may happen.
type World struct {
	Name      string
	Server    Server
	Launchers []Place
	Bounds
	// Late: the server may apply claims late, or when nobody waits any more.
	Late bool
	// Unheard is how many claims at most are applied, or are to be, for which nobody waits.
	Unheard int8
	// Reschedules is how often a person, Prefect or a launcher may put the run back.
	Reschedules int8
	// Without are the guards and assumptions that are taken away.
	Without []Rule
}

func (w *World) has(r Rule) bool {
	return !slices.Contains(w.Without, r)
}

// unequal reports whether launchers name Jobs differently.
func (w *World) unequal() bool {
	for _, l := range w.Launchers {
		if l.Name != w.Launchers[0].Name {
			return true
		}
	}
	return false
}

func (w *World) clusters() int8 {
	most := int8(0)
	for _, l := range w.Launchers {
		most = max(most, l.Cluster)
	}
	return most + 1
}

// Order is what must hold between bounds of time.
type Order struct {
	Name, What string
	Holds      func(Bounds) bool
	// Breaks makes bounds of which it only just does not hold.
	Breaks func(*Bounds)
}

// Orders are what launchers can see to. The others are assumptions.
func Orders() []Order {
	return []Order{
		{
			"`HandBackDelay` > `SendWithin` + `CreateWithin`", "a run may be put back so long after the read that it rests on, and a Job created so long after the same read",
			func(b Bounds) bool { return b.HandBackDelay > b.SendWithin+b.CreateWithin }, func(b *Bounds) { b.HandBackDelay = b.SendWithin + b.CreateWithin },
		},
		{
			"`job.MinTTLSeconds`, and a pod's life, > `CreateWithin`", "a name that was ever used is taken for as long as anybody may still create it",
			func(b Bounds) bool { return b.TTL+b.PodLives > b.CreateWithin }, func(b *Bounds) { b.TTL = b.CreateWithin - b.PodLives },
		},
		{
			"`RivalsSettle` > `CreateWithin`", "whoever read its own claim alone has created the Job by then, or never will",
			func(b Bounds) bool { return b.RivalsSettle > b.CreateWithin }, func(b *Bounds) { b.RivalsSettle = b.CreateWithin - 1 },
		},
		{
			"Prefect 1's lock > `SendWithin`, and how late a claim is", "of two clusters' claims it lets one win",
			func(b Bounds) bool { return b.Lock > b.SendWithin+b.LateBy }, func(b *Bounds) { b.Lock = b.SendWithin + b.LateBy },
		},
	}
}

// Worlds are those that are checked each time.
func Worlds() []World {
	two, apart, unequal := []Place{{}, {}}, []Place{{}, {Cluster: 1}}, []Place{{}, {Name: 1}}
	soon := Least()
	soon.LateBy = 1
	return []World{
		{Name: "Prefect 1, API replicas, claims late", Server: Replicas, Launchers: two, Bounds: Least(), Late: true, Unheard: 1, Reschedules: 1},
		{Name: "Prefect 1, one API process, two clusters, claims late by less than the lock", Server: OneProcess, Launchers: apart, Bounds: soon, Late: true, Unheard: 1, Reschedules: 1},
		{Name: "Prefect 1, API replicas, claims late, templates that name Jobs differently", Server: Replicas, Launchers: unequal, Bounds: Least(), Late: true, Unheard: 1},
		{Name: "Prefect 3, claims late", Server: Arbitrates, Launchers: two, Bounds: Least(), Late: true, Unheard: 1, Reschedules: 1},
		{Name: "Prefect 3, two clusters, claims late", Server: Arbitrates, Launchers: apart, Bounds: Least(), Late: true, Unheard: 1, Reschedules: 1},
	}
}

// Larger are those that take minutes.
func Larger() []World {
	two, three, apart, unequal := []Place{{}, {}}, []Place{{}, {}, {}}, []Place{{}, {}, {Cluster: 1}}, []Place{{}, {Name: 1}}
	soon := Least()
	soon.LateBy = 1
	return []World{
		{Name: "Prefect 1, API replicas, two claims late", Server: Replicas, Launchers: two, Bounds: Least(), Late: true, Unheard: 2, Reschedules: 1},
		{Name: "Prefect 1, API replicas, claims late, rescheduled twice", Server: Replicas, Launchers: two, Bounds: Least(), Late: true, Unheard: 1, Reschedules: 2},
		{Name: "Prefect 1, API replicas, three launchers", Server: Replicas, Launchers: three, Bounds: Least(), Reschedules: 1},
		{Name: "Prefect 1, one API process, three launchers in two clusters, claims late by less than the lock", Server: OneProcess, Launchers: apart, Bounds: soon, Late: true, Reschedules: 1},
		{Name: "Prefect 1, API replicas, templates that name Jobs differently, rescheduled", Server: Replicas, Launchers: unequal, Bounds: Least(), Reschedules: 1},
		{Name: "Prefect 3, two claims late", Server: Arbitrates, Launchers: two, Bounds: Least(), Late: true, Unheard: 2, Reschedules: 1},
		{Name: "Prefect 3, claims late, rescheduled twice", Server: Arbitrates, Launchers: two, Bounds: Least(), Late: true, Unheard: 1, Reschedules: 2},
		{Name: "Prefect 3, three launchers in two clusters", Server: Arbitrates, Launchers: apart, Bounds: Least(), Reschedules: 1},
	}
}
