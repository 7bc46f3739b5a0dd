package scaler

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler/page"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// maxStuck and the others bound lists that are long in a full cluster.
const (
	maxStuck   = 100
	maxHeld    = 100
	maxLongest = 10
)

// Debug is the handler of /debug/demand. Clients that accept HTML get a page, and all
// others JSON.
func (s *Server) Debug() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rep := s.service.report(time.Now())
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", page.Policy())
			w.Header().Set("Referrer-Policy", "no-referrer")
			_ = page.HTML(w, rep) // a client that has gone needs no answer
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = page.JSON(w, rep)
	})
}

func (s *service) report(now time.Time) page.Report {
	rep := page.Report{At: now, Since: s.since, Refused: s.refusals.list(now), Saved: s.saved()}
	objects := s.registry.all()
	for _, so := range objects {
		o := s.reportObject(so, now)
		// If it was answered since, another trigger of the same ScaledObject was refused.
		if i := slices.IndexFunc(rep.Refused, func(r page.Refusal) bool {
			return r.Namespace == o.Namespace && r.Name == o.Name && r.At.After(o.LastAsked)
		}); i >= 0 {
			o.Refused = rep.Refused[i].Err
		}
		rep.ScaledObjects = append(rep.ScaledObjects, o)
	}
	slices.SortFunc(rep.ScaledObjects, func(a, b page.Object) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), slices.Compare(a.Labels, b.Labels),
			slices.Compare(a.WorkPools, b.WorkPools), slices.Compare(a.WorkQueues, b.WorkQueues), slices.Compare(a.MetadataSeen, b.MetadataSeen))
	})
	for _, p := range s.pollers {
		rep.Connections = append(rep.Connections, p.report(objects, now))
	}
	slices.SortFunc(rep.Connections, func(a, b page.Connection) int { return cmp.Compare(a.Name, b.Name) })
	return rep
}

func (s *service) reportObject(so *scaledObject, now time.Time) page.Object {
	t := so.trigger
	o := page.Object{
		Namespace: so.namespace, Name: so.name,
		Connection: t.Connection, Scope: reportScope(t), Target: t.RunsPerLauncher, WarmUpLead: t.WarmUpLead.String(),
		LastAsked: time.Unix(0, so.asked.Load()), OpenStreams: so.streams.Load(),
	}
	if line, ok := s.timelines.Of(so.String(), now); ok {
		o.Hour = &line
	}
	// Only keys are shown: FromEnv may have put anything into the values.
	for k := range so.metadata {
		o.MetadataSeen = append(o.MetadataSeen, k)
	}
	slices.Sort(o.MetadataSeen)
	v, err := s.peek(so, now)
	if err != nil {
		o.Err = err.Error()
		o.Reason = "KEDA gets an error and changes nothing"
		return o
	}
	o.Launchers = v.launchers(t)
	o.Active, o.Value, o.Demand = v.Active, v.Value, v.Demand()
	o.Due, o.DueWithin, o.WithoutJob, o.Troubled = v.Due, v.Ahead, v.WithoutJob, v.Troubled
	o.HeartbeatsDue = v.HeartbeatsDue
	o.Reason = v.reason(t)
	if !v.NextWake.IsZero() {
		o.NextWake = &v.NextWake
	}
	if u := s.untakenOf(so, now); u.Runs > 0 {
		o.Untaken = u.String() + ": " + so.absence.reason(so)
	}
	o.FirstRuns = runsFor(s.pollers[t.Connection].current.Load(), t, now)
	return o
}

// launchers are how many a trigger wants.
func (v verdict) launchers(t trigger) int64 {
	if !v.Active {
		return 0
	}
	return (v.Value + t.RunsPerLauncher - 1) / t.RunsPerLauncher
}

func (p *poller) report(objects []*scaledObject, now time.Time) page.Connection {
	s := p.current.Load()
	c := page.Connection{
		Name: p.name, Heading: p.connection.Places.heading(), RunURL: p.connection.RunURL,
		Age: page.NoAnswer, Failures: s.Failures, Truncated: s.Truncated, TooLarge: s.TooLarge,
		Frozen: !s.awaited() && s.usable(p.name, p.options.MaxStaleness, now) != nil,
	}
	if !s.At.IsZero() {
		c.Age = now.Sub(s.At).Round(time.Millisecond).String()
	}
	if s.Err != nil {
		c.Err = s.Err.Error()
	}
	c.Unsynced = p.watch.unsynced(p.connection.JobNamespaces)
	reportStuck(&c, s, p.watch.rules, now)
	reportHeld(&c, s)
	if every := p.pollsEvery(); every > 0 {
		c.PollEvery = every.String()
	}
	for _, g := range p.unserved(s, objects, now) {
		due := after(g.Due, now)
		c.Unserved = append(c.Unserved, page.Unserved{Place: reportPlace(g.Place), Due: due, FirstRuns: g.First[:min(due, len(g.First))]})
	}
	for _, m := range s.WithoutJob {
		c.WithoutJob = append(c.WithoutJob, reportClaim(m))
	}
	for _, w := range s.heartbeatsDue(now) {
		c.HeartbeatsDue = append(c.HeartbeatsDue, reportClaim(w))
	}
	for _, d := range s.Troubled {
		c.Troubled = append(c.Troubled, page.Job{FlowRun: d.Run, Place: reportPlace(d.Place), Namespace: d.Namespace, Job: d.Job, Kind: d.Kind, Message: d.Message, CountsFrom: d.From})
	}
	c.Longest = s.longest(p.watch.rules.Grace, now)
	for _, l := range p.watch.launches.Last(p.connection.JobNamespaces) {
		c.Launched = append(c.Launched, page.Launched{
			FlowRun: l.Run, Noted: !l.Note.Created.IsZero(), Name: l.Note.Run, Flow: l.Note.Flow, Place: reportPlace(l.Note.Place()), Namespace: l.Namespace, Job: l.Name,
			Due: l.Note.Due, Claimed: l.Note.Claimed, Created: l.Began(), Running: l.Running, Stage: l.Stage,
		})
	}
	return c
}

// longest are the runs that have waited longest: for a launcher, their Job or their pod.
func (s *snapshot) longest(grace time.Duration, now time.Time) []page.Wait {
	var all []page.Wait
	for _, g := range s.Groups {
		for i, id := range g.First {
			// A run without a time has always been due, and nobody knows since when.
			if due := g.Due[i]; !due.IsZero() && !due.After(now) {
				all = append(all, page.Wait{FlowRun: id, Place: reportPlace(g.Place), For: "a launcher", Since: due})
			}
		}
	}
	for _, r := range s.stuckRuns(grace, now) {
		w := page.Wait{FlowRun: r.Run, For: "its pod: " + page.Meaning(r.Kind), Since: r.Since}
		if r.Kind == noJob {
			w.For = "its Job"
		}
		if r.Place != nil {
			w.Place = reportPlace(*r.Place)
		}
		all = append(all, w)
	}
	slices.SortStableFunc(all, func(a, b page.Wait) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.FlowRun, b.FlowRun))
	})
	return all[:min(len(all), maxLongest)]
}

func reportStuck(c *page.Connection, s *snapshot, rules trouble.Rules, now time.Time) {
	all := s.stuckRuns(rules.Grace, now)
	if len(all) == 0 {
		return
	}
	c.StuckRuns, c.WaitLimit = len(all), "none: PREFECT_KEDA_PENDING_TIMEOUT is not set, so they wait for ever"
	if rules.PendingFor > 0 {
		c.WaitLimit = rules.PendingFor.String() + " (PREFECT_KEDA_PENDING_TIMEOUT)"
	}
	for _, r := range all[:min(len(all), maxStuck)] {
		one := page.Stuck{FlowRun: r.Run, Namespace: r.Namespace, Job: r.Job, Kind: r.Kind, Message: r.Message, Since: r.Since}
		if r.Place != nil {
			one.Place = reportPlace(*r.Place)
		}
		if !r.Until.IsZero() {
			one.FailsAt = &r.Until
		}
		c.Stuck = append(c.Stuck, one)
	}
}

func reportHeld(c *page.Connection, s *snapshot) {
	for _, h := range s.Held {
		c.HeldRuns += h.Runs
		if len(c.Held) < maxHeld {
			c.Held = append(c.Held, page.Held{Place: reportPlace(h.Place), Why: h.Why, Runs: h.Runs, FirstRuns: h.First})
		}
	}
}

func reportClaim(c claim) page.Claim {
	return page.Claim{
		FlowRun: c.ID, Place: reportPlace(c.Place), Launcher: c.Claim.Launcher, Namespace: c.Claim.Namespace, Job: c.Claim.Job,
		Attempt: string(c.Claim.Attempt), CountsFrom: c.CountsFrom,
	}
}

func reportScope(t trigger) page.Scope {
	serves := t.Places.served(t.Scope)
	if t.Places == ByWorkPools {
		return page.Scope{WorkPools: append(page.List[string]{}, t.Scope.Pools...), WorkQueues: t.Scope.Queues, Serves: serves}
	}
	return page.Scope{Labels: t.Scope.Labels, Serves: serves}
}

func reportPlace(p prefect.Place) page.Place {
	return page.Place{Labels: p.Labels, WorkPool: p.Pool, WorkQueue: p.Queue}
}
