package page

import (
	"fmt"
	"slices"
	"strings"
)

// finding is something that people should know first.
type finding struct {
	// Bad is set if it keeps runs from starting; the others are only worth knowing.
	Bad  bool
	What string
	// Link is where on the page there is more.
	Link string
}

// findings are all that is wrong, and then what is worth knowing.
func findings(r Report) []finding {
	var bad, worth []finding
	wrong := func(link, format string, args ...any) {
		bad = append(bad, finding{true, fmt.Sprintf(format, args...), link})
	}
	know := func(link, format string, args ...any) {
		worth = append(worth, finding{false, fmt.Sprintf(format, args...), link})
	}
	for _, c := range r.Connections {
		of := ""
		if len(r.Connections) > 1 {
			of = " of connection " + c.Name
		}
		switch at := "#connection-" + c.Name; {
		case c.Age == NoAnswer && c.Err == "":
			know(at, "Prefect%s has not answered yet", of)
		case c.Age == NoAnswer || c.Frozen:
			wrong(at, "Prefect%s does not answer, so KEDA gets errors and scales nothing%s", of, because(c.Err))
		case c.Failures > 0:
			know(at, "Prefect%s does not answer, and KEDA gets answers from %s ago%s", of, c.Age, because(c.Err))
		}
		if len(c.Unsynced) > 0 {
			wrong("#connection-"+c.Name, "Jobs cannot be listed in %s: claims without a Job go unseen", strings.Join(c.Unsynced, ", "))
		}
		unserved := 0
		for _, u := range c.Unserved {
			unserved += u.Due
		}
		if unserved > 0 {
			wrong("#unserved-"+c.Name, "%s%s %s due, and no ScaledObject serves %s", count(unserved, "run", "runs"), of, are(unserved), them(unserved))
		}
		if n := len(c.Troubled); n > 0 {
			wrong("#troubled-"+c.Name, "%s%s %s in trouble: %s", count(n, "Job", "Jobs"), of, are(n), Meaning(c.Troubled[0].Kind))
		}
		if c.StuckRuns > 0 {
			why := ""
			if len(c.Stuck) > 0 {
				why = ": " + Meaning(c.Stuck[0].Kind)
			}
			wrong("#stuck-"+c.Name, "%s%s %s stuck%s", count(c.StuckRuns, "run", "runs"), of, are(c.StuckRuns), why)
		}
		switch {
		case c.TooLarge:
			wrong("#connection-"+c.Name, "Runs%s wait that are too large to be read together, so launchers stay up", of)
		case c.Truncated:
			know("#connection-"+c.Name, "More runs%s wait than one poll returns, so launchers stay up", of)
		}
		if c.HeldRuns > 0 {
			know("#held-"+c.Name, "Prefect holds %s%s back", count(c.HeldRuns, "run", "runs"), of)
		}
	}
	for _, o := range r.ScaledObjects {
		name := o.Namespace + "/" + o.Name
		switch {
		case o.Refused != "":
			wrong("#scaledobjects", "ScaledObject %s is refused, so KEDA does not scale it: %s", name, o.Refused)
		case o.Untaken != "":
			wrong("#scaledobjects", "%s: %s", name, o.Untaken)
		}
	}
	for _, one := range r.Refused {
		if !known(r, one) {
			wrong("#refused", "ScaledObject %s/%s is refused, so KEDA does not scale it: %s", one.Namespace, one.Name, one.Err)
		}
	}
	if len(r.ScaledObjects)+len(r.Refused) == 0 {
		know("#scaledobjects", "KEDA has not asked yet")
	}
	return append(bad, worth...)
}

// known reports whether a refused ScaledObject is among those that are shown.
func known(r Report, refused Refusal) bool {
	for _, o := range r.ScaledObjects {
		if o.Namespace == refused.Namespace && o.Name == refused.Name {
			return true
		}
	}
	return false
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func them(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

// NoAnswer is the Age of a connection that has none.
const NoAnswer = "none yet"

// Well reports whether nothing is wrong.
func (v view) Well() bool { return len(v.Findings) == 0 || !v.Findings[0].Bad }

// Headline is the state of things in a few words, and Mood its color.
func (v view) Headline() string {
	switch {
	case !v.Well():
		return count(v.Wrong(), "thing is", "things are") + " wrong"
	case v.begins():
		return "Not known yet"
	}
	return "All is well"
}

// Mood is for the template.
func (v view) Mood() string {
	switch {
	case !v.Well():
		return "ill"
	case v.begins():
		return "busy"
	}
	return "well"
}

// begins reports whether Prefect has not answered yet, or KEDA has not asked.
func (v view) begins() bool {
	unanswered := slices.ContainsFunc(v.Connections, func(c Connection) bool { return c.Age == NoAnswer })
	return unanswered || len(v.ScaledObjects)+len(v.Refused) == 0
}

// Worth are the findings that are only worth knowing.
func (v view) Worth() (all []finding) {
	for _, f := range v.Findings {
		if !f.Bad {
			all = append(all, f)
		}
	}
	return all
}

// Wrong is how many things are.
func (v view) Wrong() (n int) {
	for _, f := range v.Findings {
		if f.Bad {
			n++
		}
	}
	return n
}

// Now says in a line what is going on.
func (v view) Now() string {
	var due, launchers int64
	running := 0
	seen := map[string]bool{}
	for _, o := range v.ScaledObjects {
		due, launchers = due+o.Due, launchers+o.Launchers
		if name := o.Namespace + "/" + o.Name; o.Hour != nil && !seen[name] {
			seen[name] = true
			if n := len(o.Hour.Samples); n > 0 {
				running += o.Hour.Samples[n-1].Running
			}
		}
	}
	wanted := "no launcher is wanted"
	if launchers > 0 {
		wanted = count(int(launchers), "launcher is", "launchers are") + " wanted"
	}
	none := func(n int, one, many string) string {
		if n == 0 {
			return "no " + one
		}
		return count(n, one, many)
	}
	return strings.Join([]string{none(int(due), "run is due", "runs are due"), wanted, none(running, "Job runs", "Jobs run")}, ", ")
}
