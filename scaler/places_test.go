package scaler

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// poolOptions are of a scaler whose one connection has work pools.
func poolOptions(f Source) Options {
	o := bubbleOptions(f)
	o.Connections = map[string]Connection{"default": {Source: f, Places: ByWorkPools}}
	return o
}

func TestDemandOfWorkPools(t *testing.T) {
	f := &fakeSource{}
	inBubble(t, poolOptions(f), func(t *testing.T, s *Server) {
		now := time.Now()
		f.set(pooled("1", now, "k8s", "high"), pooled("2", now, "k8s", "low"), pooled("3", now, "gpu", "high"), pooled("4", now.Add(time.Hour), "gpu", "high"))
		pass(2 * time.Second)
		for _, tc := range []struct {
			metadata string
			demand   int64
			first    string
			reason   string
		}{
			{"", 3, "1 2 3", "3 due"},
			{"workPools=k8s", 2, "1 2", "2 due"},
			{"workPools=gpu,k8s", 3, "1 2 3", "3 due"},
			{"workPool=gpu", 1, "3", "1 due"},
			{"workQueues=high", 2, "1 3", "2 due"},
			{"workPools=k8s workQueue=high", 1, "1", "1 due"},
			{"workPools=K8s", 0, "", "no run of these work pools and queues is due"},
		} {
			so, p, err := s.service.resolve(t.Context(), ref("etl", strings.Fields(tc.metadata)...), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			v, err := s.service.verdict(so, p, time.Now())
			if err != nil || v.Demand() != tc.demand || v.Active != (tc.demand > 0) || v.reason(so.trigger) != tc.reason {
				t.Errorf("%q: %+v, %v, because %q", tc.metadata, v, err, v.reason(so.trigger))
			}
			if first := strings.Join(v.first(p.current.Load(), so.trigger, time.Now()), " "); first != tc.first {
				t.Errorf("%q: first %q, want %q", tc.metadata, first, tc.first)
			}
		}
	})
}

// A trigger that names places of another Prefect than its connection's would never see a
// run, so it is refused where KEDA shows it.
func TestPlacesOfAnotherPrefectAreRefused(t *testing.T) {
	f, l := &fakeSource{}, &fakeOperator{}
	o := bubbleOptions(f)
	o.Operator = l
	o.Connections["pools"] = Connection{Source: f, Places: ByWorkPools}
	inBubble(t, o, func(t *testing.T, s *Server) {
		pass(time.Second)
		const noLabels, noPools = `connection "pools": its runs wait in work pools and have no labels: give workPools in place of labels, or the connection to another Prefect`,
			`connection "default": its runs have labels and no work pools: give labels in place of workPools and workQueues, or the connection to another Prefect`
		for metadata, want := range map[string]string{
			"labels=a":                          "",
			"labels=[]":                         "",
			"":                                  "",
			"workPools=a":                       noPools,
			"workPools=[]":                      noPools,
			"workQueuesFromEnv=high":            noPools,
			"connection=pools":                  "",
			"connection=pools workPool=a":       "",
			"connection=pools labels=a":         noLabels,
			"connection=pools labelsFromEnv=[]": noLabels,
		} {
			r := ref("etl", strings.Fields(metadata)...)
			_, err := s.service.IsActive(t.Context(), r)
			says := ""
			if err != nil {
				says = "scaled object flows/etl: " + want
			}
			if status.Code(err) != map[bool]codes.Code{true: codes.OK, false: codes.InvalidArgument}[want == ""] || status.Convert(err).Message() != says {
				t.Errorf("%q: %v, want %q", metadata, err, want)
			}
			if _, err := s.service.GetMetricSpec(t.Context(), r); err != nil {
				t.Errorf("%q: no metric spec: %v", metadata, err)
			}
			if told := l.of(eventRefused); (len(told) > 0) != (want != "") || want != "" && !strings.HasSuffix(told[0], want) {
				t.Errorf("%q: told %q", metadata, told)
			}
			l.told = nil
			s.service.refusals.latest = nil
		}
	})
}

func TestEdgesNameWorkPools(t *testing.T) {
	var log strings.Builder
	f := &fakeSource{due: []prefect.DueRun{pooled("1", time.Time{}, "k8s", "high")}}
	o := poolOptions(f)
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	inBubble(t, o, func(t *testing.T, s *Server) {
		pass(time.Second)
		wantActive(t, s, true, "workPools=k8s,gpu")
		wantActive(t, s, true)
	})
	for _, says := range []string{
		`msg="demand began" scaled_object=flows/etl connection=default scope="work pools [gpu, k8s]" demand=1 value=1`,
		`msg="demand began" scaled_object=flows/etl connection=default scope="all work pools" demand=1 value=1`,
	} {
		if !strings.Contains(log.String(), says) {
			t.Errorf("the log does not say %s:\n%s", says, log.String())
		}
	}
}

func TestReportOfPlaces(t *testing.T) {
	tr := func(kind PlaceKind, s prefect.Scope) trigger { return trigger{Places: kind, Scope: s} }
	for _, tc := range []struct {
		trigger trigger
		serves  string
	}{
		{tr(ByLabels, prefect.Scope{}), "runs without labels"},
		{tr(ByLabels, prefect.Scope{Labels: []string{"a", "b"}}), "labels [a, b]"},
		{tr(ByWorkPools, prefect.Scope{}), "all work pools"},
		{tr(ByWorkPools, prefect.Scope{Pools: []string{"a"}, Queues: []string{"b"}}), "work pools [a], queues [b]"},
		{tr(ByWorkPools, prefect.Scope{Queues: []string{"b"}}), "all work pools, queues [b]"},
	} {
		if got := reportScope(tc.trigger).Serves; got != tc.serves {
			t.Errorf("%+v: %q, want %q", tc.trigger.Scope, got, tc.serves)
		}
	}
	for want, place := range map[string]prefect.Place{
		"(none)": {}, "a, b": {Labels: []string{"a", "b"}}, "k8s / high": {Pool: "k8s", Queue: "high"},
	} {
		if diff := cmp.Diff(want, reportPlace(place).Where()); diff != "" {
			t.Error(diff)
		}
	}
}

// One page shows connections of either kind, each in its own words.
func TestPageOfBothPrefects(t *testing.T) {
	labelled := &fakeSource{claim: []prefect.ClaimedRun{claimed("r1", "job-1", "v3")}}
	pools := &tellingSource{every: 15 * time.Second}
	o := withJobs(labelled, fakeKube())
	o.Connections["prefect3"] = Connection{Source: pools, Places: ByWorkPools}
	inBubble(t, o, func(t *testing.T, s *Server) {
		now := time.Now()
		labelled.set(run("run-1", now, "etl"), run("run-2", now, "gpu"))
		pools.set(pooled("run-3", now, "k8s", "high"), pooled("run-4", now, "forgotten", "default"))
		pools.change(func(f *fakeSource) {
			f.held = []prefect.HeldRun{heldRun("run-5", "k8s", "the work pool's limit of 2 is reached"), heldRun("run-6", "<gpu>", "the work pool is paused")}
		})
		pools.tell()
		pass(8 * time.Second)
		wantActive(t, s, true, "labels=etl")
		wantActive(t, s, true, "connection=prefect3", "workPools=k8s", "workQueues=high,low")
		wantActive(t, s, true, "connection=prefect3", "workPools=k8s,gpu", "runsPerLauncher=10")

		page := cells(pageOf(t, s))
		for _, says := range []string{
			"|labels [etl]|", "|work pools [k8s], queues [high, low]|", "|labels|runs due|", "|work pool / queue|runs due|",
			"|gpu|1|", "|forgotten / default|1|", "|k8s / default|1|the work pool&#39;s limit of 2 is reached|", "|&lt;gpu&gt; / default|",
			"It is asked every 15s, and when it tells of changes.",
		} {
			if !strings.Contains(page, says) {
				t.Errorf("the page does not say %q:\n%s", says, page)
			}
		}
		var got struct {
			Objects     []map[string]any `json:"scaled_objects"`
			Connections []struct {
				Unserved, Held []map[string]any
			}
		}
		if err := json.Unmarshal([]byte(demandOf(t, s, "application/json")), &got); err != nil {
			t.Fatal(err)
		}
		keys := func(m map[string]any) (all []any) {
			return []any{m["labels"], m["work_pools"], m["work_queues"], m["work_pool"], m["work_queue"]}
		}
		list := func(names ...any) []any { return names }
		for what, tc := range map[string]struct{ got, want []any }{
			"labels of a ScaledObject":     {keys(got.Objects[2]), []any{list("etl"), nil, nil, nil, nil}},
			"work pools of a ScaledObject": {keys(got.Objects[1]), []any{[]any{}, list("k8s"), list("high", "low"), nil, nil}},
			"labels of a run":              {keys(got.Connections[0].Unserved[0]), []any{list("gpu"), nil, nil, nil, nil}},
			"work pool of a run":           {keys(got.Connections[1].Unserved[0]), []any{[]any{}, nil, nil, "forgotten", "default"}},
			"work pool of runs held back":  {keys(got.Connections[1].Held[1]), []any{[]any{}, nil, nil, "k8s", "default"}},
		} {
			if diff := cmp.Diff(tc.want, tc.got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
	})
}
