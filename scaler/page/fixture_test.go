package page_test

import (
	"fmt"
	"net/url"
	"time"

	"github.com/prefect-keda/prefect-keda/scaler/hour"
	"github.com/prefect-keda/prefect-keda/scaler/page"
	"github.com/prefect-keda/prefect-keda/trouble"
)

var noon = time.Date(2026, 11, 30, 12, 4, 10, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

func id(n int) string { return fmt.Sprintf("6a1bdc1b-6ed1-4d08-9b5c-%012x", n*7919) }

func pool(name, queue string) page.Place { return page.Place{WorkPool: name, WorkQueue: queue} }

// bursts is an hour with some bursts of runs, each as high as long; it is known for some minutes.
func bursts(known int, of ...[2]int) *hour.Timeline {
	t := &hour.Timeline{Samples: make([]hour.Sample, hour.Kept), End: noon.Truncate(hour.Every)}
	for i := range t.Samples {
		s := &t.Samples[i]
		if i < hour.Kept-known*6 {
			continue
		}
		s.Known = true
		for _, b := range of {
			at, high := b[0]*6, b[1]
			after := i - at
			switch {
			case after == -1: // scheduled, so a launcher is woken ahead
				s.Demand, s.Launchers = s.Demand+high, s.Launchers+(high+39)/40
			case after >= 0 && after < 1+high/40:
				left := high * (1 + high/40 - after) / (1 + high/40)
				s.Due, s.Demand, s.Launchers = s.Due+left, s.Demand+left, s.Launchers+(left+39)/40
				s.Waiting += high / 4
			}
			if after >= 1 && after < 1+18+high/8 {
				s.Running += high * (19 + high/8 - after) / (19 + high/8)
			}
		}
	}
	return t
}

// lively is a report with some of everything, and nothing that is badly wrong.
func lively() page.Report {
	link := func(id string) string { return "https://prefect.example.com/runs/flow-run/" + url.PathEscape(id) }
	etl := bursts(60, [2]int{4, 12}, [2]int{15, 60}, [2]int{30, 150}, [2]int{45, 24}, [2]int{58, 34})
	for i := range 3 { // while Prefect did not answer
		etl.Samples[150+i] = hour.Sample{}
	}
	last := &etl.Samples[hour.Kept-1]
	last.Due, last.Demand, last.Launchers, last.Waiting, last.Running = 9, 12, 1, 4, 31
	r := page.Report{
		At: noon, Since: ago(6*24*time.Hour + 5*time.Hour),
		ScaledObjects: page.List[page.Object]{
			{
				Namespace: "prefect-keda", Name: "prefect-keda-launcher", Connection: "default",
				Scope:  page.Scope{WorkPools: page.List[string]{"etl", "reports"}, Serves: "work pools [etl, reports]"},
				Active: true, Value: 12, Target: 100, Launchers: 1, Demand: 12, Due: 9, DueWithin: 2, WithoutJob: 1, WarmUpLead: "10s",
				FirstRuns: page.List[string]{id(1), id(2), id(3)}, NextWake: new(noon.Add(4 * time.Second)),
				Reason: "9 due, 2 due within 10s, 1 claimed without a Job", LastAsked: ago(2 * time.Second), OpenStreams: 1, Hour: etl,
			},
			{
				Namespace: "prefect-keda", Name: "training", Connection: "default",
				Scope: page.Scope{WorkPools: page.List[string]{"gpu"}, Serves: "work pools [gpu]"}, Target: 1, WarmUpLead: "1m0s",
				Reason: "no run of these work pools and queues is due", LastAsked: ago(4 * time.Second), OpenStreams: 1, Hour: bursts(38, [2]int{36, 3}),
			},
		},
		Connections: page.List[page.Connection]{{
			Name: "default", Age: "412ms", Heading: "work pool / queue", PollEvery: "15s", RunURL: link,
			Held: []page.Held{
				{Place: pool("reports", "nightly"), Why: "the work queue is paused", Runs: 14, FirstRuns: page.List[string]{id(11), id(12)}},
				{Place: pool("etl", "default"), Why: "the work pool's limit of 40 is reached", Runs: 6, FirstRuns: page.List[string]{id(13)}},
			},
			HeldRuns: 20,
			WithoutJob: page.List[page.Claim]{{
				FlowRun: id(4), Place: pool("etl", "default"), Launcher: "prefect-keda-launcher-6d9f7c5b8-x2x7k", Namespace: "flows", Job: "radiant-otter-8c1d2e3f", Attempt: "3f9a2c", CountsFrom: ago(time.Second),
			}},
			Longest: []page.Wait{
				{FlowRun: id(1), Place: pool("etl", "high"), For: "a launcher", Since: ago(3 * time.Second)},
				{FlowRun: id(2), Place: pool("etl", "default"), For: "a launcher", Since: ago(2200 * time.Millisecond)},
			},
		}},
		Saved: page.Saved{
			Since: ago(6*24*time.Hour + 5*time.Hour), ScalerBytes: 10_000_000, LauncherBytes: 47_000_000,
			Of: page.List[page.SavedOf]{{Connection: "default", Replaces: "Prefect worker", ReplacedBytes: 145_000_000, ReplacedFor: 3 * 149, LaunchersFor: 21.4}},
		},
	}
	flows := []string{"daily-orders", "sync-customers", "score-leads", "rebuild-index", "train-forecast"}
	names := []string{"radiant-otter", "brave-lynx", "quiet-heron", "amber-falcon", "clever-newt", "misty-badger", "golden-wren"}
	for i := range 14 {
		due := ago(time.Duration(9*i*i+12) * time.Second)
		claimed := due.Add(time.Duration(90+i*137%900) * time.Millisecond)
		created := claimed.Add(time.Duration(60+i*53%300) * time.Millisecond)
		l := page.Launched{
			FlowRun: id(100 + i), Noted: true, Name: names[i%len(names)], Flow: flows[i%len(flows)], Place: pool("etl", []string{"default", "high"}[i%2]), Namespace: "flows",
			Due: due, Claimed: claimed, Created: created, Running: created.Add(time.Duration(1400+i*911%4200) * time.Millisecond), Stage: hour.Succeeded,
		}
		switch {
		case i < 1:
			l.Running, l.Stage = time.Time{}, hour.Waiting
		case i < 5:
			l.Stage = hour.Running
		case i == 8:
			l.Stage = hour.Failed
		}
		r.Connections[0].Launched = append(r.Connections[0].Launched, l)
	}
	return r
}

// ill is a report in which everything is wrong, with texts that people who mean no good might choose.
func ill() page.Report {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	r := lively()
	r.ScaledObjects[0].Untaken = "9 runs are due and no launcher has taken any for 4m10s: " + evil
	r.ScaledObjects[1].Refused = `trigger metadata: unknown key "workPool", did you mean workPools?`
	r.ScaledObjects[1].Err = "connection default: the last answer of Prefect is 3m0s old"
	r.ScaledObjects[0].Serves, r.ScaledObjects[0].Reason = evil, evil
	r.ScaledObjects[0].FirstRuns = page.List[string]{evil}
	for i := range 40 {
		s := &r.ScaledObjects[0].Hour.Samples[hour.Kept-1-i]
		s.Troubled = 3
	}
	r.Refused = page.List[page.Refusal]{{Namespace: "team-b", Name: evil, Err: evil, At: ago(time.Minute)}}
	c := &r.Connections[0]
	c.Failures, c.Err, c.Frozen, c.TooLarge, c.Truncated = 7, evil, true, true, true
	c.RunURL = func(id string) string { return "javascript:alert('" + id + "')" }
	c.Unsynced = []string{"team-a", evil}
	c.Unserved = page.List[page.Unserved]{{Place: pool("forgotten", "default"), Due: 1204, FirstRuns: page.List[string]{id(5), evil}}}
	c.HeartbeatsDue = []page.Claim{{FlowRun: evil, Place: page.Place{Labels: page.List[string]{evil, "etl"}}, Launcher: evil, Namespace: "flows", Job: evil, Attempt: evil, CountsFrom: ago(time.Minute)}}
	c.Troubled = page.List[page.Job]{{FlowRun: evil, Place: pool("etl", evil), Namespace: "flows", Job: "clever-newt-3a2b", Kind: trouble.ImagePull, Message: evil, CountsFrom: ago(time.Minute)}}
	c.StuckRuns, c.WaitLimit = 140, "1h0m0s (PREFECT_KEDA_PENDING_TIMEOUT)"
	c.Stuck = page.List[page.Stuck]{
		{FlowRun: evil, Place: pool("gpu", "default"), Namespace: "flows", Job: evil, Kind: trouble.Unschedulable, Message: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu", Since: ago(time.Hour), FailsAt: new(noon)},
		{FlowRun: id(6), Namespace: "flows", Job: "j", Kind: page.NoJob, Message: evil, Since: ago(time.Minute)},
	}
	c.Longest[0].FlowRun, c.Longest[0].WorkPool = evil, evil
	c.Launched[0].Name, c.Launched[0].Flow, c.Launched[0].WorkPool = evil, evil, evil
	c.Launched[1] = page.Launched{FlowRun: evil, Namespace: "flows", Job: "j", Created: ago(time.Hour)}
	return r
}

// empty is a report right after the start.
func empty() page.Report {
	return page.Report{At: noon, Since: noon, Connections: page.List[page.Connection]{{Name: "default", Age: page.NoAnswer, Heading: "labels"}}}
}

// crowded has more ScaledObjects than timelines fit on a page, with two triggers each.
func crowded() page.Report {
	r := empty()
	r.Connections[0].Age = "1s"
	for i := range 60 {
		for _, labels := range []string{"etl", "gpu"} {
			o := page.Object{Namespace: "flows", Name: fmt.Sprintf("team-%02d", i), Connection: "default", Scope: page.Scope{Serves: "labels [" + labels + "]"}, Target: 100, LastAsked: noon, Reason: "no run with these labels is due", Hour: bursts(30)}
			switch i {
			case 57:
				o.Active, o.Value, o.Launchers = true, 1, 1
			case 58:
				o.Hour = bursts(30, [2]int{40, 5})
			case 59:
				o.Err = "connection default: the first poll of Prefect has not returned yet; ask again"
			}
			r.ScaledObjects = append(r.ScaledObjects, o)
		}
	}
	return r
}

// pictured is what the docs show.
func pictured() page.Report {
	r := lively()
	c := &r.Connections[0]
	c.WithoutJob, c.Launched = nil, c.Launched[:8]
	o := &r.ScaledObjects[0]
	o.Reason, o.WithoutJob, o.Value, o.Demand = "9 due, 2 due within 10s", 0, 11, 11
	return r
}

func reports() map[string]page.Report {
	return map[string]page.Report{"lively": lively(), "ill": ill(), "empty": empty()}
}
