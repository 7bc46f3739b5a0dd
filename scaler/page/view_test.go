package page

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/trouble"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func TestFindings(t *testing.T) {
	asked := List[Object]{{Namespace: "flows", Name: "etl"}}
	of := func(c Connection) Report {
		c.Name = "default"
		if c.Age == "" {
			c.Age = "1s"
		}
		return Report{ScaledObjects: asked, Connections: List[Connection]{c}}
	}
	for name, tc := range map[string]struct {
		report Report
		want   []finding
	}{
		"all is well":       {of(Connection{}), nil},
		"nobody asks":       {Report{}, []finding{{false, "KEDA has not asked yet", "#scaledobjects"}}},
		"no answer yet":     {of(Connection{Age: NoAnswer}), []finding{{false, "Prefect has not answered yet", "#connection-default"}}},
		"no answer at all":  {of(Connection{Age: NoAnswer, Failures: 1, Err: "refused"}), []finding{{true, "Prefect does not answer, so KEDA gets errors and scales nothing: refused", "#connection-default"}}},
		"an old answer":     {of(Connection{Frozen: true, Age: "3m0s"}), []finding{{true, "Prefect does not answer, so KEDA gets errors and scales nothing", "#connection-default"}}},
		"a failed poll":     {of(Connection{Failures: 2, Err: "502", Age: "4s"}), []finding{{false, "Prefect does not answer, and KEDA gets answers from 4s ago: 502", "#connection-default"}}},
		"Jobs unseen":       {of(Connection{Unsynced: []string{"a", "b"}}), []finding{{true, "Jobs cannot be listed in a, b: claims without a Job go unseen", "#connection-default"}}},
		"one is not served": {of(Connection{Unserved: List[Unserved]{{Due: 1}}}), []finding{{true, "1 run is due, and no ScaledObject serves it", "#unserved-default"}}},
		"some are not":      {of(Connection{Unserved: List[Unserved]{{Due: 1200}, {Due: 2}}}), []finding{{true, "1,202 runs are due, and no ScaledObject serves them", "#unserved-default"}}},
		"trouble":           {of(Connection{Troubled: List[Job]{{Kind: trouble.ImagePull}, {}}}), []finding{{true, "2 Jobs are in trouble: an image cannot be pulled", "#troubled-default"}}},
		"stuck":             {of(Connection{StuckRuns: 3, Stuck: List[Stuck]{{Kind: NoJob}}}), []finding{{true, "3 runs are stuck: its Job is not created", "#stuck-default"}}},
		"too large":         {of(Connection{TooLarge: true, Truncated: true}), []finding{{true, "Runs wait that are too large to be read together, so launchers stay up", "#connection-default"}}},
		"too many":          {of(Connection{Truncated: true}), []finding{{false, "More runs wait than one poll returns, so launchers stay up", "#connection-default"}}},
		"held back":         {of(Connection{HeldRuns: 1}), []finding{{false, "Prefect holds 1 run back", "#held-default"}}},
		"what is wrong first": {
			Report{ScaledObjects: asked, Connections: List[Connection]{{Name: "a", Age: "1s", HeldRuns: 2}, {Name: "b", Age: "1s", StuckRuns: 1}}},
			[]finding{{true, "1 run of connection b is stuck", "#stuck-b"}, {false, "Prefect holds 2 runs of connection a back", "#held-a"}},
		},
		"refused and untaken": {
			Report{
				ScaledObjects: List[Object]{{Namespace: "flows", Name: "etl", Refused: "no such key"}, {Namespace: "flows", Name: "ml", Untaken: "1 run is due and no launcher has taken any for 2m0s"}},
				Refused:       List[Refusal]{{Namespace: "flows", Name: "etl", Err: "no such key"}, {Namespace: "flows", Name: "web", Err: "unknown connection"}},
			},
			[]finding{
				{true, "ScaledObject flows/etl is refused, so KEDA does not scale it: no such key", "#scaledobjects"},
				{true, "flows/ml: 1 run is due and no launcher has taken any for 2m0s", "#scaledobjects"},
				{true, "ScaledObject flows/web is refused, so KEDA does not scale it: unknown connection", "#refused"},
			},
		},
	} {
		if diff := cmp.Diff(tc.want, findings(tc.report)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Nothing is well before Prefect has answered and KEDA has asked.
func TestHeadline(t *testing.T) {
	asked, answered := List[Object]{{Name: "etl"}}, List[Connection]{{Age: "1s"}}
	for want, r := range map[string]Report{
		"All is well well":       {ScaledObjects: asked, Connections: answered},
		"Not known yet busy":     {ScaledObjects: asked, Connections: List[Connection]{{Age: "1s"}, {Age: NoAnswer}}},
		"1 thing is wrong ill":   {ScaledObjects: asked, Connections: List[Connection]{{Age: "1s", StuckRuns: 2}}},
		"2 things are wrong ill": {Refused: List[Refusal]{{Name: "a"}, {Name: "b"}}},
	} {
		if v := newView(r); v.Headline()+" "+v.Mood() != want {
			t.Errorf("%q, want %q", v.Headline()+" "+v.Mood(), want)
		}
	}
	if v := newView(Report{Connections: answered}); v.Mood() != "busy" {
		t.Errorf("before KEDA has asked: %s", v.Headline())
	}
}

// Each step of a launch is counted from the one before that is known, whatever clocks say.
func TestStepsOfALaunch(t *testing.T) {
	after := func(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }
	for name, tc := range map[string]struct {
		l                           Launched
		claim, create, begin, total string
		bars                        []bar
	}{
		"all known":           {Launched{Due: after(0), Claimed: after(100), Created: after(300), Running: after(1000)}, "100 ms", "200 ms", "700 ms", "1.0 s", []bar{{"claim", 0, 20}, {"create", 20, 40}, {"run", 60, 140}}},
		"no note":             {Launched{Created: after(300), Running: after(800)}, "", "", "500 ms", "500 ms", []bar{{"run", 0, 100}}},
		"its Job comes first": {Launched{Due: after(0), Created: after(200)}, "", "200 ms", "", "200 ms", []bar{{"create", 0, 40}}},
		"clocks differ":       {Launched{Due: after(500), Claimed: after(400), Created: after(600)}, "0 s", "200 ms", "", "100 ms", []bar{{"create", 0, 20}}},
		"longer than most":    {Launched{Due: after(0), Claimed: after(5000), Created: after(6000)}, "5.0 s", "1.0 s", "", "6.0 s", []bar{{"claim", 0, 200}}},
	} {
		v := launchView{Launched: tc.l}
		v.measure()
		v.drawBars(time.Second)
		if v.Claim != tc.claim || v.Create != tc.create || v.Begin != tc.begin || v.Total != tc.total {
			t.Errorf("%s: claimed %q, Job %q, running %q, total %q", name, v.Claim, v.Create, v.Begin, v.Total)
		}
		if diff := cmp.Diff(tc.bars, v.Bars); diff != "" {
			t.Errorf("%s: bars (-want +got):\n%s", name, diff)
		}
	}
}

// One slow run does not make the bars of all others too short to see.
func TestBarsAreThoseOfMost(t *testing.T) {
	c := Connection{Name: "default"}
	for i := range 20 {
		c.Launched = append(c.Launched, Launched{Due: noon, Created: noon.Add(time.Second)})
		if i == 7 {
			c.Launched[i].Created = noon.Add(time.Hour)
		}
	}
	for i, l := range newView(Report{At: noon, Connections: List[Connection]{c}}).Last {
		if len(l.Bars) != 1 || l.Bars[0].Width != barWidth {
			t.Errorf("run %d has the bars %v", i, l.Bars)
		}
	}
}

func TestSaving(t *testing.T) {
	got := newView(Report{At: noon, Saved: Saved{
		Since: noon.Add(-10 * time.Hour), ScalerBytes: 10_000_000, LauncherBytes: 50_000_000,
		Of: List[SavedOf]{
			{Connection: "a", Replaces: "Prefect worker", ReplacedBytes: 100_000_000, ReplacedFor: 20, LaunchersFor: 3},
			{Connection: "b", Replaces: "Prefect agent", ReplacedBytes: 200_000_000, ReplacedFor: 10, LaunchersFor: 1},
		},
	}}).Saving
	want := saving{
		For: "10 h", Pods: "26.0 h", Memory: "3.70 GB·h", // 20·0.1 + 10·0.2 − 4·0.05 − 10·0.01
		Rows: []savingRow{
			{"Prefect worker, always on (connection a)", "20.0 h", "2.00 GB·h"},
			{"Prefect agent, always on (connection b)", "10.0 h", "2.00 GB·h"},
			{"launchers, as wanted", "4.0 h", "0.20 GB·h"},
			{"this scaler, for all", "10.0 h", "0.10 GB·h"},
		},
		Each: "a Prefect worker takes 100 MB, a Prefect agent takes 200 MB", Scaler: "10 MB", Launcher: "50 MB", Cooldown: "1 min",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := newView(Report{At: noon}).Saving; got.For != "" {
		t.Errorf("before the first round: %+v", got)
	}
}
