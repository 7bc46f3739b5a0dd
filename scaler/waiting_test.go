package scaler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler/page"
)

// keepFor is how long the signs of life of these tests are good for.
const keepFor = 3 * time.Minute

// signed is a claim whose last sign of life was given at a time.
func signed(c prefect.ClaimedRun, at time.Time) prefect.ClaimedRun {
	c.KeepBy, c.KeepFor = at.Add(keepFor), keepFor
	return c
}

// A run whose Job waits for hours, with no launcher up: before Prefect takes it
// for dead one is woken, and once it has sent its heartbeat it may go.
func TestRunThatWaitsForItsPodIsDemandNowAndThen(t *testing.T) {
	for name, skew := range map[string]time.Duration{
		"clocks agree": 0, "Prefect's is behind": -time.Hour, "Prefect's is ahead": time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			f, kube := &fakeSource{}, fakeKube(kubeJob("job-1", "r1", "v3"))
			inBubble(t, withJobs(f, kube), func(t *testing.T, s *Server) {
				claim := claimed("r1", "job-1", "v3")
				beat := func() {
					f.change(func(f *fakeSource) {
						f.claim = []prefect.ClaimedRun{signed(claim, time.Now().Add(skew))}
					})
				}
				beat()
				pass(2 * time.Second)
				if skew < 0 {
					// A claim that was there before us may be as old as it looks.
					wantActive(t, s, true, "labels=etl")
					beat()
				}
				pass(2 * time.Second)
				for range 10 {
					wantActive(t, s, false, "labels=etl")
					pass(keepFor + overdue - 10*time.Second)
					wantActive(t, s, false, "labels=etl")
					pass(12 * time.Second)
					wantActive(t, s, true, "labels=etl")
					wantActive(t, s, false, "labels=other")
					beat()
					pass(2 * time.Second)
				}
			})
		})
	}
}

// A sign that is new since the look before was given after that look began.
func TestNewSignIsAsOldAsTheLookBefore(t *testing.T) {
	claim := signed(claimed("r1", "job-1", "v3"), at(-time.Hour))
	k := claimKey{"r1", "v3"}
	first := signs{}.follow([]prefect.ClaimedRun{claim}, time.Time{}, noon)
	claim = signed(claim, at(-30*time.Minute)) // Prefect's clock is behind
	second := first.follow([]prefect.ClaimedRun{claim}, at(time.Minute), at(2*time.Minute))
	third := second.follow([]prefect.ClaimedRun{claim}, at(3*time.Minute), at(4*time.Minute))
	got := []time.Time{first[k].by, second[k].by, third[k].by}
	if diff := cmp.Diff([]time.Time{at(keepFor - time.Hour), at(keepFor + time.Minute), at(keepFor + time.Minute)}, got); diff != "" {
		t.Error(diff)
	}
}

func TestHeartbeatsAreWantedOnlyWhileTheyHelp(t *testing.T) {
	old := func(age time.Duration) prefect.ClaimedRun {
		return signed(claimed("r1", "job-1", "v3"), time.Now().Add(-age))
	}
	ended := kubeJob("job-1", "r1", "v3")
	ended.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
	for name, tc := range map[string]struct {
		age  time.Duration
		job  *batchv1.Job
		want bool
	}{
		"a young claim":                      {6 * time.Minute, kubeJob("job-1", "r1", "v3"), false},
		"an old claim":                       {8 * time.Minute, kubeJob("job-1", "r1", "v3"), true},
		"older than the scaler was away":     {3 * time.Hour, kubeJob("job-1", "r1", "v3"), true},
		"with the Job an earlier claim made": {8 * time.Minute, kubeJob("job-1", "r1", "v1"), true},
		"its Job has ended":                  {8 * time.Minute, ended, false},
		"its Job is there for another run":   {8 * time.Minute, kubeJob("job-1", "r2", "v3"), false},
	} {
		t.Run(name, func(t *testing.T) {
			f, kube := &fakeSource{}, fakeKube(tc.job)
			inBubble(t, withJobs(f, kube), func(t *testing.T, s *Server) {
				f.change(func(f *fakeSource) { f.claim = []prefect.ClaimedRun{old(tc.age)} })
				pass(2 * time.Second)
				rep := s.service.report(time.Now()).Connections[0]
				if (len(rep.HeartbeatsDue) == 1) != tc.want {
					t.Errorf("heartbeats due: %+v, want %v", rep.HeartbeatsDue, tc.want)
				}
				gauge := `
# HELP prefect_keda_scaler_heartbeats_due Claims whose Job waits and that need a heartbeat, which wakes a launcher.
# TYPE prefect_keda_scaler_heartbeats_due gauge
prefect_keda_scaler_heartbeats_due{connection="default"} ` + fmt.Sprintln(len(rep.HeartbeatsDue))
				if err := testutil.CollectAndCompare(newGauges(s.service), strings.NewReader(gauge), "prefect_keda_scaler_heartbeats_due"); err != nil {
					t.Error(err)
				}
				if tc.want {
					want := []page.Claim{{
						FlowRun: "r1", Place: page.Place{Labels: []string{"etl"}}, Launcher: "launcher-1", Namespace: "flows", Job: "job-1", Attempt: "v3",
						CountsFrom: rep.HeartbeatsDue[0].CountsFrom,
					}}
					if diff := cmp.Diff(want, rep.HeartbeatsDue); diff != "" {
						t.Error(diff)
					}
				}
				if !tc.want {
					return
				}
				// Heartbeats that do not arrive keep nobody up for ever.
				pass(beatFor - 5*time.Second)
				wantActive(t, s, true, "labels=etl", "activationThreshold=5")
				pass(10 * time.Second)
				wantActive(t, s, false, "labels=etl", "activationThreshold=5")
				pass(time.Hour)
				wantActive(t, s, false, "labels=etl", "activationThreshold=5")
			})
		})
	}
}
