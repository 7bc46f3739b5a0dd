package scaler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/scaler/page"
	"github.com/prefect-keda/prefect-keda/trouble"
)

func noNode(s *corev1.PodStatus) {
	s.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: "Insufficient memory", LastTransitionTime: metav1.Now(),
	}}
}

// What waits for its pod is shown and counted for as long as it does, also after its
// run was told, which is when it is no demand any more. The pod that comes ends that.
func TestStuckRunsAreShownForAsLongAsTheyAre(t *testing.T) {
	f, kube := &fakeSource{}, fakeKube()
	f.supervision.Troubled = []prefect.JobRun{jobRun("r1", prefect.Claimed), jobRun("r2", prefect.Claimed)}
	o := withJobs(f, kube)
	registry := prometheus.NewPedanticRegistry()
	o.Registerer = registry
	type row struct {
		Run     string
		Kind    trouble.Kind
		Message string
		Labels  []string
	}
	log := logged(t, o, func(t *testing.T, s *Server) {
		rows := func() (all []row) {
			for _, r := range s.service.report(time.Now()).Connections[0].Stuck {
				all = append(all, row{r.FlowRun, r.Kind, r.Message, r.Labels})
			}
			return all
		}
		claimedNow := func(ids ...string) { // one that has no Job is in trouble of its own
			f.change(func(f *fakeSource) {
				f.claim = nil
				for _, id := range ids {
					f.claim = append(f.claim, signed(claimed(id, "job-"+id[1:], "v1"), time.Now()))
				}
			})
		}
		claimedNow("r1", "r2")
		put(t, kube, kubeJob("job-1", "r1", "v1"))
		put(t, kube, kubePod("job-1", "r1", noNode))
		podless := kubeJob("job-2", "r2", "v1")
		podless.CreationTimestamp, podless.Status.Active = metav1.Now(), 0
		put(t, kube, podless)
		pass(50 * time.Second)
		if got := rows(); got != nil {
			t.Errorf("within the grace: %v", got)
		}
		pass(20 * time.Second)
		wantActive(t, s, true, "labels=etl") // a launcher tells the runs, and notes it

		told := kubeJob("job-1", "r1", "v1")
		told.Annotations = map[string]string{trouble.Annotation: trouble.Note{Told: trouble.Unschedulable, Why: "an old story"}.String()}
		put(t, kube, told)
		podless = podless.DeepCopy()
		podless.Annotations = map[string]string{trouble.Annotation: trouble.Note{Told: trouble.NoPods, Why: "exceeded quota: none"}.String()}
		put(t, kube, podless)
		for range 6 {
			claimedNow("r1", "r2") // heartbeats
			pass(time.Minute)
		}
		wantActive(t, s, false, "labels=etl")
		claimedNow("r1", "r2", "r3") // r3 gets no Job, for want of a quota
		pass(61 * time.Second)
		want := []row{
			{"r1", trouble.Unschedulable, "Kubernetes Error: pod job-1-pod cannot be scheduled: Insufficient memory", []string{"etl"}},
			{"r2", trouble.NoPods, "exceeded quota: none", []string{"etl"}},
			{"r3", noJob, "its Job is not created: no launcher is up, a quota of Jobs is used up or a permission is missing; the launcher's log says which", []string{"etl"}},
		}
		if d := cmp.Diff(want, rows()); d != "" {
			t.Errorf("stuck: -want +got:\n%s", d)
		}
		page := cells(pageOf(t, s))
		for _, says := range []string{"Stuck: 3 Submitted", "none: PREFECT_KEDA_PENDING_TIMEOUT is not set, so they wait for ever", "no node takes its pod", "|never|"} {
			if !strings.Contains(page, says) {
				t.Errorf("the page does not say %q:\n%s", says, page)
			}
		}
		gauges := `
# HELP prefect_keda_scaler_runs_stuck Claimed runs that have waited for their Job, or for its pod to start, for longer than the grace, by what they wait for. Those with a Job wait for ever unless PREFECT_KEDA_PENDING_TIMEOUT is set, and wake no launcher.
# TYPE prefect_keda_scaler_runs_stuck gauge
prefect_keda_scaler_runs_stuck{connection="default",kind="no_job"} 1
prefect_keda_scaler_runs_stuck{connection="default",kind="no_pods"} 1
prefect_keda_scaler_runs_stuck{connection="default",kind="unschedulable"} 1
prefect_keda_scaler_runs_stuck{connection="default",kind="unstarted"} 0
# HELP prefect_keda_scaler_runs_stuck_longest_seconds How long the one that has waited longest has waited; 0 if none does.
# TYPE prefect_keda_scaler_runs_stuck_longest_seconds gauge
prefect_keda_scaler_runs_stuck_longest_seconds{connection="default",kind="no_job"} 61
prefect_keda_scaler_runs_stuck_longest_seconds{connection="default",kind="no_pods"} 491
prefect_keda_scaler_runs_stuck_longest_seconds{connection="default",kind="unschedulable"} 491
prefect_keda_scaler_runs_stuck_longest_seconds{connection="default",kind="unstarted"} 0
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(gauges), "prefect_keda_scaler_runs_stuck", "prefect_keda_scaler_runs_stuck_longest_seconds"); err != nil {
			t.Error(err)
		}

		claimedNow()
		put(t, kube, kubePod("job-1", "r1", func(s *corev1.PodStatus) { s.Phase = corev1.PodRunning }))
		podless = podless.DeepCopy()
		podless.Status.Active = 1
		put(t, kube, podless)
		pass(11 * time.Second)
		if got := rows(); got != nil {
			t.Errorf("after the pods have come: %v", got)
		}
	})
	for says, times := range map[string]int{
		`level=WARN msg="runs are stuck, and wait for ever: PREFECT_KEDA_PENDING_TIMEOUT is not set`: 2,
		`level=WARN msg="runs are stuck; `:                  1,
		`level=INFO msg="runs are no longer stuck for this`: 3,
	} {
		if n := strings.Count(log, says); n != times {
			t.Errorf("said %d times instead of %d: %s\n%s", n, times, says, log)
		}
	}
}

// A limit is said with the moment at which the run fails.
func TestStuckRunsHaveALimitWhereOneIsSet(t *testing.T) {
	f, kube := &fakeSource{}, fakeKube()
	o := withJobs(f, kube)
	o.Rules.Grace, o.Rules.PendingFor = time.Minute, time.Hour
	log := logged(t, o, func(t *testing.T, s *Server) {
		put(t, kube, kubeJob("job-1", "r1", "v1"))
		put(t, kube, kubePod("job-1", "r1", noNode))
		began := time.Now()
		pass(71 * time.Second)
		c := s.service.report(time.Now()).Connections[0]
		if len(c.Stuck) != 1 || c.Stuck[0].FailsAt == nil || !c.Stuck[0].FailsAt.Equal(began.Add(time.Hour)) || c.WaitLimit != "1h0m0s (PREFECT_KEDA_PENDING_TIMEOUT)" {
			t.Errorf("reported %+v", c)
		}
	})
	if strings.Contains(log, "for ever") || !strings.Contains(log, "runs are stuck") {
		t.Errorf("logged:\n%s", log)
	}
}

// A full cluster has many that wait; the page shows the oldest and says how many there are.
func TestListOfStuckRunsIsBounded(t *testing.T) {
	s := &snapshot{}
	now := time.Now()
	for i := range 3 * maxStuck {
		s.Stuck = append(s.Stuck, stuckRun{stuck: stuck{Wait: trouble.Wait{Kind: trouble.Unschedulable, Since: now.Add(-time.Hour + time.Duration(i)*time.Second)}}})
	}
	var c page.Connection
	reportStuck(&c, s, trouble.Rules{Grace: time.Minute}, now)
	if len(c.Stuck) != maxStuck || c.StuckRuns != 3*maxStuck || !c.Stuck[0].Since.Equal(now.Add(-time.Hour)) {
		t.Errorf("%d of %d, from %s", len(c.Stuck), c.StuckRuns, c.Stuck[0].Since)
	}
}
