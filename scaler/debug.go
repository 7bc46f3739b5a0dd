package scaler

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// report is /debug/demand: why each number is what it is.
type report struct {
	At            time.Time          `json:"at"`
	ScaledObjects []objectReport     `json:"scaled_objects"`
	Refused       []refusalReport    `json:"refused"`
	Connections   []connectionReport `json:"connections"`
}

type objectReport struct {
	Namespace    string     `json:"namespace"`
	Name         string     `json:"name"`
	Connection   string     `json:"connection"`
	Labels       []string   `json:"labels"`
	Active       bool       `json:"active"`
	Value        int64      `json:"value"`
	Target       int64      `json:"target"`
	Launchers    int64      `json:"launchers"`
	Demand       int64      `json:"demand"`
	Due          int64      `json:"due"`
	DueWithin    int64      `json:"due_within_lead"`
	Missing      int64      `json:"claims_without_job"`
	Silent       int64      `json:"heartbeats_due,omitempty"`
	Troubled     kindCounts `json:"jobs_in_trouble,omitempty"`
	WarmUpLead   string     `json:"warm_up_lead"`
	FirstRuns    []string   `json:"first_runs"`
	NextWake     *time.Time `json:"next_wake"`
	Reason       string     `json:"reason"`
	Err          string     `json:"err,omitempty"`
	LastAsked    time.Time  `json:"last_asked"`
	OpenStreams  int64      `json:"open_streams"`
	MetadataSeen []string   `json:"metadata_keys"`
}

// refusalReport is a ScaledObject that was refused lately.
type refusalReport struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Err       string    `json:"err"`
	At        time.Time `json:"last_asked"`
}

type connectionReport struct {
	Name      string        `json:"name"`
	Age       string        `json:"snapshot_age"`
	Failures  int           `json:"consecutive_failures"`
	Err       string        `json:"err,omitempty"`
	Truncated bool          `json:"truncated"`
	TooLarge  bool          `json:"runs_too_large,omitempty"`
	Unserved  []labelReport `json:"unserved"`
	Missing   []claimReport `json:"claims_without_job"`
	Silent    []claimReport `json:"heartbeats_due,omitempty"`
	Troubled  []jobReport   `json:"jobs_in_trouble"`
	Unsynced  []string      `json:"job_namespaces_not_listed,omitempty"`
}

// labelReport is due runs whose labels no ScaledObject seen lately serves: the
// commonest reason why a run does not start.
type labelReport struct {
	Labels    []string `json:"labels"`
	Due       int      `json:"due"`
	FirstRuns []string `json:"first_runs"`
}

type claimReport struct {
	FlowRun    string    `json:"flow_run"`
	Labels     []string  `json:"labels"`
	Launcher   string    `json:"launcher"`
	Namespace  string    `json:"namespace"`
	Job        string    `json:"job"`
	Attempt    string    `json:"attempt"`
	CountsFrom time.Time `json:"counts_from"`
}

type kindCounts map[trouble.Kind]int64

type jobReport struct {
	FlowRun    string       `json:"flow_run"`
	Labels     []string     `json:"labels"`
	Namespace  string       `json:"namespace"`
	Job        string       `json:"job"`
	Kind       trouble.Kind `json:"kind"`
	Message    string       `json:"message"`
	CountsFrom time.Time    `json:"counts_from"`
}

// Debug is the handler of /debug/demand. It answers people who accept HTML with
// a page and everybody else with JSON.
func (s *Server) Debug() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rep := s.service.report(time.Now())
		w.Header().Set("Cache-Control", "no-store")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, rep.html())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		rep.list()
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(rep)
	})
}

// list makes lists of what is nil, which JSON would call null.
func (r *report) list() {
	for i := range r.ScaledObjects {
		o := &r.ScaledObjects[i]
		o.Labels, o.FirstRuns, o.MetadataSeen = list(o.Labels), list(o.FirstRuns), list(o.MetadataSeen)
	}
	for i := range r.Connections {
		c := &r.Connections[i]
		c.Unserved, c.Missing, c.Troubled = list(c.Unserved), list(c.Missing), list(c.Troubled)
		for j := range c.Unserved {
			c.Unserved[j].Labels, c.Unserved[j].FirstRuns = list(c.Unserved[j].Labels), list(c.Unserved[j].FirstRuns)
		}
		for j := range c.Missing {
			c.Missing[j].Labels = list(c.Missing[j].Labels)
		}
		for j := range c.Troubled {
			c.Troubled[j].Labels = list(c.Troubled[j].Labels)
		}
	}
}

func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func (s *service) report(now time.Time) report {
	rep := report{At: now, ScaledObjects: []objectReport{}, Refused: s.refusals.list(now), Connections: []connectionReport{}}
	objects := s.seen.all()
	for _, so := range objects {
		rep.ScaledObjects = append(rep.ScaledObjects, s.reportObject(so, now))
	}
	slices.SortFunc(rep.ScaledObjects, func(a, b objectReport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), slices.Compare(a.Labels, b.Labels),
			slices.Compare(a.MetadataSeen, b.MetadataSeen))
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
		Connection: t.Connection, Labels: t.Labels, Target: t.RunsPerLauncher, WarmUpLead: t.WarmUpLead.String(),
		LastAsked: time.Unix(0, so.asked.Load()), OpenStreams: s.seen.streamsOf(so),
	}
	// Keys only: FromEnv may have put anything into the values.
	for k := range so.metadata {
		o.MetadataSeen = append(o.MetadataSeen, k)
	}
	slices.Sort(o.MetadataSeen)
	v, err := s.peek(so, now)
	if err != nil {
		o.Err = err.Error()
		o.Reason = "KEDA is answered with an error and changes nothing"
		return o
	}
	if v.Active {
		o.Launchers = (v.Value + t.RunsPerLauncher - 1) / t.RunsPerLauncher
	}
	o.Active, o.Value, o.Demand = v.Active, v.Value, v.Demand()
	o.Due, o.DueWithin, o.Missing, o.Troubled = v.Due, v.Ahead, v.Missing, v.Troubled
	o.Silent = v.Silent
	o.Reason = v.reason(t)
	if !v.NextWake.IsZero() {
		o.NextWake = &v.NextWake
	}
	o.FirstRuns = runsFor(s.pollers[t.Connection].current.Load(), t, now)
	return o
}

func (p *poller) report(objects []*scaledObject, now time.Time) connectionReport {
	s := p.current.Load()
	c := connectionReport{Name: p.name, Age: "none yet", Failures: s.Failures, Truncated: s.Truncated, TooLarge: s.TooLarge}
	if !s.At.IsZero() {
		c.Age = now.Sub(s.At).Round(time.Millisecond).String()
	}
	if s.Err != nil {
		c.Err = s.Err.Error()
	}
	if p.watch != nil {
		c.Unsynced = p.watch.unsynced(p.connection.JobNamespaces)
	}
	for _, g := range s.Groups {
		served := slices.ContainsFunc(objects, func(so *scaledObject) bool {
			return so.trigger.Connection == p.name && prefect.LabelsMatch(so.trigger.Labels, g.Labels)
		})
		if due := after(g.Due, now); !served && due > 0 {
			c.Unserved = append(c.Unserved, labelReport{g.Labels, due, g.First[:min(due, len(g.First))]})
		}
	}
	for _, m := range s.Missing {
		c.Missing = append(c.Missing, reportClaim(m.ID, m.Labels, m.Claim, m.CountsFrom))
	}
	for _, w := range s.Waiting {
		if !w.CountsFrom.After(now) {
			c.Silent = append(c.Silent, reportClaim(w.ID, w.Labels, w.Claim, w.CountsFrom))
		}
	}
	for _, d := range s.Troubled {
		c.Troubled = append(c.Troubled, jobReport{d.Run, d.Labels, d.Namespace, d.Job, d.Kind, d.Message, d.From})
	}
	return c
}

func reportClaim(run string, labels []string, c prefect.Claim, from time.Time) claimReport {
	return claimReport{run, labels, c.Launcher, c.Namespace, c.Job, string(c.Attempt), from}
}
