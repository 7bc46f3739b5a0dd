package explain_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/explain"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// The page of a stuck run, as it is read: the verdict first, then every fact with
// its time.
func TestReportIsReadable(t *testing.T) {
	f := facts("Submitted", 12*time.Minute, withJob(), withPod(corev1.PodPending, noNode), warning("pod-1", "0/3 nodes are available."), func(f *explain.Facts) {
		f.Events[0].Count = 7
		f.Past = []prefect.PastState{
			{State: prefect.State{Phase: prefect.Claimed, Name: "Submitted", Message: "Submitted for execution"}, At: ago(12 * time.Minute), Claim: new(claim)},
			{State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled", Message: "Flow run scheduled.", StartTime: ago(13 * time.Minute)}, At: ago(time.Hour)},
		}
		f.Unread = []string{"events in flows: not allowed to"}
	})
	const want = `It has waited 12m for a node: 0/3 nodes are available: 3 Insufficient memory. It waits for ever; PREFECT_KEDA_PENDING_TIMEOUT would end that.

flow run    r cat of flow etl
state       Submitted since 13:48:00 (12m): Submitted for execution
labels      [gpu]
served by   scaledobject keda/launcher, labels [gpu, prod]: active, 0 due; 1 due; last asked about at 13:59:59
claim       by launcher-abc for Job prefect-job-1 in flows, attempt v1
history     13:00:00  Scheduled, due 13:47:00: Flow run scheduled
            13:48:00  Submitted by launcher-abc: Submitted for execution
job         flows/prefect-job-1, created 13:48:00, attempt v1: 0 active, 0 succeeded, 0 failed; trouble: unschedulable
pod         flows/pod-1, created 13:48:00: Pending, no node: 0/3 nodes are available: 3 Insufficient memory
events      13:59:00  Failed of pod pod-1 (7 times): 0/3 nodes are available
not read    events in flows: not allowed to
times       UTC +00:00, asked at 2026-11-28 14:00:00
`
	var got strings.Builder
	if err := f.Report().Write(&got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// What is not there is an empty list to programs, and no line to people.
func TestReportOfARunAhead(t *testing.T) {
	f := facts("Scheduled", time.Hour, due(now.Add(time.Minute)), labels(), func(f *explain.Facts) { f.Serving[0].Scope.Labels = nil })
	text, err := json.Marshal(f.Report())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "null") || strings.Contains(string(text), `"0001`) {
		t.Errorf("%s", text)
	}
	var page strings.Builder
	if err := f.Report().Write(&page); err != nil {
		t.Fatal(err)
	}
	const want = `It is Scheduled for 14:01:00 (in 1m); a launcher is woken at 14:00:50.

flow run    r cat of flow etl
state       Scheduled since 13:00:00 (1h0m)
due         14:01:00
labels      none
served by   scaledobject keda/launcher, labels none: active, 0 due; 1 due; last asked about at 13:59:59
times       UTC +00:00, asked at 2026-11-28 14:00:00
`
	if d := cmp.Diff(want, page.String()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// That nobody serves a run is a fact; that nobody was asked is none.
func TestReportOfARunThatNobodyServes(t *testing.T) {
	f := facts("Scheduled", time.Hour, labels("tpu"))
	const line = "\nserved by   no ScaledObject that asked the scaler lately\n"
	for asked, want := range map[bool]int{true: 1, false: 0} {
		f.Asked = asked
		var page strings.Builder
		if err := f.Report().Write(&page); err != nil || strings.Count(page.String(), line) != want {
			t.Errorf("asked %t: %v\n%s", asked, err, page.String())
		}
	}
}

func TestReportOfWorkPools(t *testing.T) {
	f := facts("Scheduled", time.Minute, due(ago(time.Minute)), func(f *explain.Facts) {
		f.Run.Place, f.Serving[0].Scope = prefect.Place{Pool: "etl", Queue: "high"}, prefect.Scope{Pools: []string{"etl"}, Queues: []string{"high"}}
		f.HeldBack = "work pool etl is paused"
	})
	var got strings.Builder
	if err := f.Report().Write(&got); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nwork pool   etl, queue high\nheld back   work pool etl is paused\n",
		"scaledobject keda/launcher, work pools [etl], queues [high]: active",
	} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, got.String())
		}
	}
	if strings.Contains(got.String(), "labels") {
		t.Errorf("it speaks of labels:\n%s", got.String())
	}
}
