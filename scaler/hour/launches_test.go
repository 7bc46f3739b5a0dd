package hour_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler/hour"
)

func seen(uid string, created time.Time, stage hour.Stage) hour.Seen {
	return hour.Seen{Namespace: "flows", Name: "job-" + uid, Run: "run-" + uid, Created: created, Stage: stage}
}

func counted(l *hour.Launches, namespaces ...string) []hour.Count {
	return l.Counts(namespaces)
}

func TestLaunchFromItsJobToItsEnd(t *testing.T) {
	l := hour.NewLaunches(noon)
	note := job.Launch{Due: at(0), Claimed: at(time.Second), Created: at(1500 * time.Millisecond), Pool: "k8s", Queue: "default"}
	place := prefect.Place{Pool: "k8s", Queue: "default"}
	l.Note("flows", "job-a", note, at(2*time.Second))
	step := func(now time.Duration, stage hour.Stage, running time.Time, count ...hour.Count) {
		t.Helper()
		l.Follow(seen("a", at(time.Second), stage), at(now))
		want := []hour.Launched{{Seen: seen("a", at(time.Second), stage), Note: note, Running: running}}
		if diff := cmp.Diff(want, l.Last([]string{"flows"})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", stage, diff)
		}
		if diff := cmp.Diff(count, counted(l, "flows")); diff != "" {
			t.Errorf("%s, counts (-want +got):\n%s", stage, diff)
		}
	}
	step(2*time.Second, hour.Waiting, time.Time{}, hour.Count{Namespace: "flows", Place: place, Waiting: 1})
	step(3*time.Second, hour.Running, at(3*time.Second), hour.Count{Namespace: "flows", Place: place, Running: 1})
	step(4*time.Second, hour.Running, at(3*time.Second), hour.Count{Namespace: "flows", Place: place, Running: 1})
	step(9*time.Second, hour.Succeeded, at(3*time.Second))
	l.Gone("flows", "job-a")
	if got := l.Last([]string{"flows"}); len(got) != 1 || got[0].Stage != hour.Succeeded {
		t.Errorf("after its removal: %+v", got)
	}
	if got := l.Last([]string{"other"}); len(got) > 0 {
		t.Errorf("in another namespace: %+v", got)
	}
}

func TestRemovedJobsDoNotCount(t *testing.T) {
	l := hour.NewLaunches(noon)
	for _, uid := range []string{"a", "b"} {
		l.Note("flows", "job-"+uid, job.Launch{Labels: []string{"etl"}}, noon)
		l.Follow(seen(uid, at(time.Second), hour.Running), at(time.Second))
	}
	l.Gone("flows", "job-a")
	l.Gone("flows", "job-a")
	want := []hour.Count{{Namespace: "flows", Place: prefect.Place{Labels: []string{"etl"}}, Running: 1}}
	if diff := cmp.Diff(want, counted(l, "flows")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := l.Last([]string{"flows"}); got[0].Stage != hour.Gone || got[1].Stage != hour.Running {
		t.Errorf("last: %+v", got)
	}
	if got := counted(l, "other"); len(got) > 0 {
		t.Errorf("in another namespace: %+v", got)
	}
}

// A pod that ran before we looked began to run at some time that nobody saw. One whose Job we
// see for the first time together with it began now.
func TestNobodyKnowsWhenAPodBeganBeforeTheStart(t *testing.T) {
	l := hour.NewLaunches(noon)
	l.Follow(seen("old", at(-time.Minute), hour.Running), at(time.Second))
	l.Follow(seen("old", at(-time.Minute), hour.Running), at(2*time.Second))
	l.Follow(seen("new", at(3*time.Second), hour.Running), at(4*time.Second))
	got := l.Last([]string{"flows"})
	if !got[0].Running.Equal(at(4*time.Second)) || !got[1].Running.IsZero() {
		t.Errorf("got %+v", got)
	}
}

func TestFiftyNewestLaunches(t *testing.T) {
	l := hour.NewLaunches(noon)
	var want []string
	for i := range 3 * hour.MaxLaunches {
		k := (i * 7) % (3 * hour.MaxLaunches) // a list has them in any order
		l.Follow(seen(fmt.Sprintf("%03d", k), at(time.Duration(k)*time.Minute), hour.Succeeded), noon)
		l.Follow(seen(fmt.Sprintf("%03d", k), at(time.Duration(k)*time.Minute), hour.Succeeded), noon)
	}
	for k := 3*hour.MaxLaunches - 1; k >= 2*hour.MaxLaunches; k-- {
		want = append(want, fmt.Sprintf("run-%03d", k))
	}
	var got []string
	for _, is := range l.Last([]string{"flows"}) {
		got = append(got, is.Run)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Jobs without a note, as other launchers make them, are shown; where they belong is not known.
func TestJobWithoutANote(t *testing.T) {
	l := hour.NewLaunches(noon)
	l.Follow(seen("a", at(time.Second), hour.Waiting), at(time.Second))
	if got := counted(l, "flows"); len(got) > 0 {
		t.Errorf("counts %+v", got)
	}
	if diff := cmp.Diff([]hour.Launched{{Seen: seen("a", at(time.Second), hour.Waiting)}}, l.Last([]string{"flows"}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A Job that has ended is not followed any more, whatever an older look at it says, so a
// hundred thousand of them cost nothing.
func TestEndedJobsAreNotFollowed(t *testing.T) {
	l := hour.NewLaunches(noon)
	for range 2 {
		l.Note("flows", "job-a", job.Launch{Labels: []string{"etl"}}, noon)
		l.Follow(seen("a", at(time.Second), hour.Succeeded), at(time.Second))
	}
	if l.Follows("flows", "job-a") {
		t.Error("it is followed")
	}
	l.Follow(seen("a", at(time.Second), hour.Running), at(time.Second))
	if got := l.Last([]string{"flows"}); len(got) != 1 || got[0].Stage != hour.Succeeded {
		t.Errorf("last: %+v", got)
	}
	if got := counted(l, "flows"); len(got) > 0 {
		t.Errorf("counts %+v", got)
	}
	l.Follow(seen("b", at(time.Second), hour.Running), at(time.Second))
	if !l.Follows("flows", "job-b") {
		t.Error("an active one is not followed")
	}
}
