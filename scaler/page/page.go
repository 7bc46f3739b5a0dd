package page

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/scaler/hour"
)

const (
	// maxCards bounds the ScaledObjects with a timeline on the page; the busiest have one.
	maxCards = 30
	// maxWaits bounds the runs that wait longest.
	maxWaits = 10
	// RefreshEvery is the time after which a browser asks again.
	RefreshEvery = 10 * time.Second
)

//go:embed page.html
var pageText string //nolint:gochecknoglobals // embedded text

//go:embed page.css
var styleText string //nolint:gochecknoglobals // embedded text

// Policy is the Content-Security-Policy of the page: its own style, and nothing else.
func Policy() string {
	sum := sha256.Sum256([]byte(styleText))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// parsed is the template, parsed at the first request.
//
//nolint:gochecknoglobals // parsed once, never changed
var parsed = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"clock":   clock,
		"date":    func(t time.Time) string { return t.Format(time.DateTime) },
		"lasted":  lasted,
		"meaning": Meaning,
		"count":   count,
		"grouped": grouped,
		"style":   func() template.CSS { return template.CSS(styleText) }, //nolint:gosec // our own
	}).Parse(pageText))
})

func clock(t time.Time) string { return t.Format(time.TimeOnly) }

// HTML writes the report for people.
func HTML(w io.Writer, r Report) error {
	return parsed().Execute(w, newView(r))
}

// view is what the template shows: the report, in the order in which people look for things.
type view struct {
	Report
	Refresh  int
	Zone     string
	Findings []finding
	Cards    []card
	// Plain are the ScaledObjects without a timeline.
	Plain  []card
	Ticks  []string
	Waits  []waitView
	Last   []launchView
	Saving saving

	links map[string]func(string) string
}

// card is one ScaledObject with its triggers.
type card struct {
	ID              string
	Namespace, Name string
	Triggers        []Object
	Rows            []row
	Wrong           bool
	Active          bool

	busy int
}

func newView(r Report) view {
	v := view{Report: r, Refresh: int(RefreshEvery / time.Second), Zone: r.At.Format("MST"), links: map[string]func(string) string{}}
	for _, c := range r.Connections {
		v.links[c.Name] = c.RunURL
	}
	v.Findings = findings(r)
	v.Cards, v.Plain = cards(r.ScaledObjects)
	v.Ticks = ticks(r)
	v.Waits, v.Last = v.waits(), v.launches()
	v.Saving = v.saving()
	return v
}

// runLink is a flow run with its place in Prefect's UI; URL is empty where that is not known.
type runLink struct{ Text, Title, URL string }

// Run is for the template.
func (v view) Run(connection, id string) runLink {
	l := runLink{Text: id}
	if url := v.links[connection]; url != nil {
		l.URL = url(id)
	}
	return l
}

// Runs is the same for several.
func (v view) Runs(connection string, ids []string) []runLink {
	var all []runLink
	for _, id := range ids {
		all = append(all, v.Run(connection, id))
	}
	return all
}

// Linked reports whether runs of any connection have links.
func (v view) Linked() bool {
	return slices.ContainsFunc(v.Connections, func(c Connection) bool { return c.RunURL != nil })
}

// trigger is an Object with links.
type trigger struct {
	Object
	First  []runLink
	Wanted int
}

// Trigger is for the template.
func (v view) Trigger(o Object) trigger {
	return trigger{o, v.Runs(o.Connection, o.FirstRuns), int(o.Launchers)}
}

// claimRows are rows of a table.
type claimRows struct {
	Heading string
	Claims  []claimRow
}

type claimRow struct {
	Claim
	Link runLink
}

// Claims is for the template.
func (v view) Claims(c Connection, claims []Claim) claimRows {
	rows := claimRows{Heading: c.Heading}
	for _, one := range claims {
		rows.Claims = append(rows.Claims, claimRow{one, v.Run(c.Name, one.FlowRun)})
	}
	return rows
}

// panel is a row of a card.
type panel struct {
	ID, Of string
	Row    row
}

// Panel is for the template.
func (c card) Panel(r row) panel { return panel{c.ID, c.Namespace + "/" + c.Name, r} }

// Calm reports whether a connection has nothing to show.
func (view) Calm(c Connection) bool {
	return c.Err == "" && c.Age != NoAnswer && len(c.Unserved)+c.HeldRuns+len(c.WithoutJob)+len(c.HeartbeatsDue)+len(c.Troubled)+c.StuckRuns == 0
}

// cards has the ScaledObjects in the order of the report. If there are too many, those where
// nothing happened go without a timeline.
func cards(objects []Object) (shown, plain []card) {
	var all []card
	for _, o := range objects {
		i := slices.IndexFunc(all, func(c card) bool { return c.Namespace == o.Namespace && c.Name == o.Name })
		if i < 0 {
			i = len(all)
			all = append(all, card{ID: "so-" + grouped(len(all)+1), Namespace: o.Namespace, Name: o.Name, Rows: timelineRows(o.Hour), busy: busy(o.Hour)})
		}
		c := &all[i]
		c.Triggers = append(c.Triggers, o)
		c.Active = c.Active || o.Active
		c.Wrong = c.Wrong || o.Err != "" || o.Refused != "" || o.Untaken != ""
	}
	first := slices.Clone(all)
	slices.SortStableFunc(first, func(a, b card) int {
		return cmp.Or(compareBool(b.Wrong, a.Wrong), compareBool(b.Active, a.Active), cmp.Compare(b.busy, a.busy))
	})
	chosen := map[string]bool{}
	for _, c := range first[:min(len(first), maxCards)] {
		chosen[c.ID] = true
	}
	for _, c := range all {
		if chosen[c.ID] {
			shown = append(shown, c)
		} else {
			plain = append(plain, c)
		}
	}
	return shown, plain
}

func compareBool(a, b bool) int {
	n := map[bool]int{true: 1}
	return n[a] - n[b]
}

// busy is how many samples of the hour have anything in them.
func busy(t *hour.Timeline) (n int) {
	if t == nil {
		return 0
	}
	for _, s := range t.Samples {
		if s.Demand+s.Waiting+s.Running+s.Troubled > 0 {
			n++
		}
	}
	return n
}

// ticks are the times below the timelines, each a quarter of an hour after the one before.
func ticks(r Report) []string {
	end := r.At
	for _, o := range r.ScaledObjects {
		if o.Hour != nil {
			end = o.Hour.End.In(r.At.Location())
		}
	}
	var all []string
	for i := range 5 {
		all = append(all, end.Add(-time.Hour+time.Duration(i)*15*time.Minute).Format("15:04"))
	}
	return all
}

// waitView is one of the runs that wait longest.
type waitView struct {
	Wait
	Link runLink
	Been string
}

func (v view) waits() []waitView {
	var all []waitView
	for _, c := range v.Connections {
		for _, w := range c.Longest {
			all = append(all, waitView{w, v.Run(c.Name, w.FlowRun), lasted(v.At.Sub(w.Since))})
		}
	}
	slices.SortStableFunc(all, func(a, b waitView) int { return a.Since.Compare(b.Since) })
	return all[:min(len(all), maxWaits)]
}

// launchView is one of the last runs. Each step has the time since the one before.
type launchView struct {
	Launched
	Link                        runLink
	Where                       string
	Claim, Create, Begin, Total string
	// Bars are the steps as parts of a bar of barWidth.
	Bars []bar
}

type bar struct {
	Step     string
	X, Width int
}

// barWidth is the length of a bar in SVG user units; barsShow is how many of ten bars are not
// longer.
const (
	barWidth = 200
	barsShow = 9
)

func (v view) launches() []launchView {
	var all []launchView
	for _, c := range v.Connections {
		for _, l := range c.Launched {
			one := launchView{Launched: l, Link: v.Run(c.Name, l.FlowRun)}
			if l.Name != "" {
				one.Link.Text, one.Link.Title = l.Name, l.FlowRun
			}
			if l.Noted {
				one.Where = l.Place.Where()
			}
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b launchView) int { return b.Created.Compare(a.Created) })
	all = all[:min(len(all), hour.MaxLaunches)]
	var totals []time.Duration
	for i := range all {
		totals = append(totals, all[i].measure())
	}
	slices.Sort(totals)
	for i := range all {
		all[i].drawBars(totals[len(totals)*barsShow/10])
	}
	return all
}

// steps are the times that follow each other, as far as they are known.
func (l *launchView) steps() []time.Time { return []time.Time{l.Due, l.Claimed, l.Created, l.Running} }

// measure writes the lengths of the steps, and returns that of all together.
func (l *launchView) measure() time.Duration {
	texts := []*string{nil, &l.Claim, &l.Create, &l.Begin}
	var first, before time.Time
	for i, at := range l.steps() {
		switch {
		case at.IsZero():
			continue
		case first.IsZero():
			first = at
		default:
			*texts[i] = lasted(at.Sub(before))
		}
		before = at
	}
	l.Total = lasted(before.Sub(first))
	return max(0, before.Sub(first))
}

func (l *launchView) drawBars(longest time.Duration) {
	if longest <= 0 {
		return
	}
	var first, before time.Time
	for i, at := range l.steps() {
		switch {
		case at.IsZero():
			continue
		case first.IsZero():
			first = at
		default:
			from, to := scaled(before.Sub(first), longest), scaled(at.Sub(first), longest)
			if to > from {
				l.Bars = append(l.Bars, bar{[]string{"", "claim", "create", "run"}[i], from, to - from})
			}
		}
		before = at
	}
}

func scaled(d, longest time.Duration) int {
	return int(float64(barWidth) * min(1, max(0, float64(d)/float64(longest))))
}

// saving is Saved, counted together.
type saving struct {
	// For is how long we know; empty before that is so.
	For  string
	Rows []savingRow
	// Pods and Memory are what is saved.
	Pods, Memory string
	// Each says what was taken for one pod that is replaced; Scaler and Launcher are ours.
	Each, Scaler, Launcher string
	Cooldown               string
}

type savingRow struct{ What, Pods, Memory string }

func (v view) saving() saving {
	s := v.Saved
	if s.Since.IsZero() || len(s.Of) == 0 {
		return saving{}
	}
	hours := v.At.Sub(s.Since).Hours()
	out := saving{For: lasted(v.At.Sub(s.Since)), Scaler: megabytes(s.ScalerBytes), Launcher: megabytes(s.LauncherBytes), Cooldown: lasted(hour.Cooldown)}
	var pods, memory, launchers float64
	var each []string
	for _, of := range s.Of {
		pods += of.ReplacedFor - of.LaunchersFor
		memory += of.ReplacedFor * float64(of.ReplacedBytes)
		launchers += of.LaunchersFor
		what := of.Replaces + ", always on"
		if len(s.Of) > 1 {
			what += " (connection " + of.Connection + ")"
		}
		out.Rows = append(out.Rows, savingRow{what, podHours(of.ReplacedFor), gigabyteHours(of.ReplacedFor * float64(of.ReplacedBytes))})
		if says := "a " + of.Replaces + " takes " + megabytes(of.ReplacedBytes); !slices.Contains(each, says) {
			each = append(each, says)
		}
	}
	memory -= launchers*float64(s.LauncherBytes) + hours*float64(s.ScalerBytes)
	out.Rows = append(out.Rows,
		savingRow{"launchers, as wanted", podHours(launchers), gigabyteHours(launchers * float64(s.LauncherBytes))},
		savingRow{"this scaler, for all", podHours(hours), gigabyteHours(hours * float64(s.ScalerBytes))})
	out.Each = strings.Join(each, ", ")
	out.Pods, out.Memory = podHours(pods), gigabyteHours(memory)
	return out
}
