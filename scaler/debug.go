package scaler

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/trouble"
)

// report is /debug/demand: it explains each number.
type report struct {
	At            time.Time               `json:"at"`
	ScaledObjects items[objectReport]     `json:"scaled_objects"`
	Refused       items[refusalReport]    `json:"refused"`
	Connections   items[connectionReport] `json:"connections"`
}

type objectReport struct {
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	Connection string `json:"connection"`
	scopeReport
	Active        bool          `json:"active"`
	Value         int64         `json:"value"`
	Target        int64         `json:"target"`
	Launchers     int64         `json:"launchers"`
	Demand        int64         `json:"demand"`
	Due           int64         `json:"due"`
	DueWithin     int64         `json:"due_within_lead"`
	WithoutJob    int64         `json:"claims_without_job"`
	HeartbeatsDue int64         `json:"heartbeats_due,omitempty"`
	Troubled      kindCounts    `json:"jobs_in_trouble,omitempty"`
	WarmUpLead    string        `json:"warm_up_lead"`
	FirstRuns     items[string] `json:"first_runs"`
	NextWake      *time.Time    `json:"next_wake"`
	Reason        string        `json:"reason"`
	Untaken       string        `json:"untaken,omitempty"`
	// Refused says why it is refused now; all other fields are then of the last verdict.
	Refused      string        `json:"refused,omitempty"`
	Err          string        `json:"err,omitempty"`
	LastAsked    time.Time     `json:"last_asked"`
	OpenStreams  int64         `json:"open_streams"`
	MetadataSeen items[string] `json:"metadata_keys"`
}

// refusalReport is a ScaledObject that was refused lately.
type refusalReport struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Err       string    `json:"err"`
	At        time.Time `json:"last_asked"`
}

type connectionReport struct {
	Name      string `json:"name"`
	Age       string `json:"snapshot_age"`
	Failures  int    `json:"consecutive_failures"`
	Err       string `json:"err,omitempty"`
	Truncated bool   `json:"truncated"`
	TooLarge  bool   `json:"runs_too_large,omitempty"`
	// Places is for the page.
	Places        PlaceKind             `json:"-"`
	PollEvery     string                `json:"poll_every,omitempty"`
	Unserved      items[unservedReport] `json:"unserved"`
	Held          []heldReport          `json:"held,omitempty"`
	HeldRuns      int                   `json:"held_runs,omitempty"`
	WithoutJob    items[claimReport]    `json:"claims_without_job"`
	HeartbeatsDue []claimReport         `json:"heartbeats_due,omitempty"`
	Troubled      items[jobReport]      `json:"jobs_in_trouble"`
	Stuck         items[stuckReport]    `json:"stuck"`
	StuckRuns     int                   `json:"stuck_runs"`
	WaitLimit     string                `json:"stuck_limit,omitempty"`
	Unsynced      []string              `json:"job_namespaces_not_listed,omitempty"`
}

// unservedReport holds due runs at a place that no ScaledObject serves that asked lately.
type unservedReport struct {
	placeReport
	Due       int           `json:"due"`
	FirstRuns items[string] `json:"first_runs"`
}

// heldReport holds due runs that Prefect holds back.
type heldReport struct {
	placeReport
	Why       string        `json:"why"`
	Runs      int           `json:"runs"`
	FirstRuns items[string] `json:"first_runs"`
}

type claimReport struct {
	FlowRun string `json:"flow_run"`
	placeReport
	Launcher   string    `json:"launcher"`
	Namespace  string    `json:"namespace"`
	Job        string    `json:"job"`
	Attempt    string    `json:"attempt"`
	CountsFrom time.Time `json:"counts_from"`
}

type kindCounts map[trouble.Kind]int64

type jobReport struct {
	FlowRun string `json:"flow_run"`
	placeReport
	Namespace  string       `json:"namespace"`
	Job        string       `json:"job"`
	Kind       trouble.Kind `json:"kind"`
	Message    string       `json:"message"`
	CountsFrom time.Time    `json:"counts_from"`
}

// maxStuck and maxHeld bound lists that are long in a full cluster.
const (
	maxStuck = 100
	maxHeld  = 100
)

// stuckReport is a run that waits for something outside of Prefect.
type stuckReport struct {
	FlowRun string `json:"flow_run"`
	placeReport
	Namespace string       `json:"namespace"`
	Job       string       `json:"job"`
	Kind      trouble.Kind `json:"kind"`
	Message   string       `json:"message"`
	Since     time.Time    `json:"since"`
	FailsAt   *time.Time   `json:"fails_at"`
}

// Debug is the handler of /debug/demand. Clients that accept HTML get a page, and all
// others JSON.
func (s *Server) Debug() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rep := s.service.report(time.Now())
		w.Header().Set("Cache-Control", "no-store")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_ = debugPage().Execute(w, rep) // a client that has gone needs no answer
			return
		}
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(rep)
	})
}

// items are a list that JSON writes as [] when it is empty, and not as null.
type items[T any] []T

// MarshalJSON implements json.Marshaler.
func (l items[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

func (s *service) report(now time.Time) report {
	rep := report{At: now, Refused: s.refusals.list(now)}
	objects := s.registry.all()
	for _, so := range objects {
		o := s.reportObject(so, now)
		// If it was answered since, another trigger of the same ScaledObject was refused.
		if i := slices.IndexFunc(rep.Refused, func(r refusalReport) bool {
			return r.Namespace == o.Namespace && r.Name == o.Name && r.At.After(o.LastAsked)
		}); i >= 0 {
			o.Refused = rep.Refused[i].Err
		}
		rep.ScaledObjects = append(rep.ScaledObjects, o)
	}
	slices.SortFunc(rep.ScaledObjects, func(a, b objectReport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), slices.Compare(a.Labels, b.Labels),
			slices.Compare(a.WorkPools, b.WorkPools), slices.Compare(a.WorkQueues, b.WorkQueues), slices.Compare(a.MetadataSeen, b.MetadataSeen))
	})
	for _, p := range s.pollers {
		rep.Connections = append(rep.Connections, p.report(objects, now))
	}
	slices.SortFunc(rep.Connections, func(a, b connectionReport) int { return cmp.Compare(a.Name, b.Name) })
	return rep
}

func (s *service) reportObject(so *scaledObject, now time.Time) objectReport {
	t := so.trigger
	o := objectReport{
		Namespace: so.namespace, Name: so.name,
		Connection: t.Connection, scopeReport: reportScope(t), Target: t.RunsPerLauncher, WarmUpLead: t.WarmUpLead.String(),
		LastAsked: time.Unix(0, so.asked.Load()), OpenStreams: so.streams.Load(),
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
	if v.Active {
		o.Launchers = (v.Value + t.RunsPerLauncher - 1) / t.RunsPerLauncher
	}
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

func (p *poller) report(objects []*scaledObject, now time.Time) connectionReport {
	s := p.current.Load()
	c := connectionReport{Name: p.name, Places: p.connection.Places, Age: "none yet", Failures: s.Failures, Truncated: s.Truncated, TooLarge: s.TooLarge}
	if !s.At.IsZero() {
		c.Age = now.Sub(s.At).Round(time.Millisecond).String()
	}
	if s.Err != nil {
		c.Err = s.Err.Error()
	}
	c.Unsynced = p.watch.unsynced(p.connection.JobNamespaces)
	c.reportStuck(s, p.watch.rules, now)
	c.reportHeld(s)
	if every := p.pollsEvery(); every > 0 {
		c.PollEvery = every.String()
	}
	for _, g := range p.unserved(s, objects, now) {
		due := after(g.Due, now)
		c.Unserved = append(c.Unserved, unservedReport{reportPlace(g.Place), due, g.First[:min(due, len(g.First))]})
	}
	for _, m := range s.WithoutJob {
		c.WithoutJob = append(c.WithoutJob, reportClaim(m))
	}
	for _, w := range s.heartbeatsDue(now) {
		c.HeartbeatsDue = append(c.HeartbeatsDue, reportClaim(w))
	}
	for _, d := range s.Troubled {
		c.Troubled = append(c.Troubled, jobReport{d.Run, reportPlace(d.Place), d.Namespace, d.Job, d.Kind, d.Message, d.From})
	}
	return c
}

func (c *connectionReport) reportStuck(s *snapshot, rules trouble.Rules, now time.Time) {
	all := s.stuckRuns(rules.Grace, now)
	if len(all) == 0 {
		return
	}
	c.StuckRuns, c.WaitLimit = len(all), "none: PREFECT_KEDA_PENDING_TIMEOUT is not set, so they wait for ever"
	if rules.PendingFor > 0 {
		c.WaitLimit = rules.PendingFor.String() + " (PREFECT_KEDA_PENDING_TIMEOUT)"
	}
	for _, r := range all[:min(len(all), maxStuck)] {
		one := stuckReport{FlowRun: r.Run, Namespace: r.Namespace, Job: r.Job, Kind: r.Kind, Message: r.Message, Since: r.Since}
		if r.Place != nil {
			one.placeReport = reportPlace(*r.Place)
		}
		if !r.Until.IsZero() {
			one.FailsAt = &r.Until
		}
		c.Stuck = append(c.Stuck, one)
	}
}

func (c *connectionReport) reportHeld(s *snapshot) {
	for _, h := range s.Held {
		c.HeldRuns += h.Runs
		if len(c.Held) < maxHeld {
			c.Held = append(c.Held, heldReport{reportPlace(h.Place), h.Why, h.Runs, h.First})
		}
	}
}

func reportClaim(c claim) claimReport {
	return claimReport{c.ID, reportPlace(c.Place), c.Claim.Launcher, c.Claim.Namespace, c.Claim.Job, string(c.Claim.Attempt), c.CountsFrom}
}
