package launcher

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestRunThatComesBackIsAdopted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		m.replicated()
		b := start(t, m)
		time.Sleep(2 * time.Second)
		// Lazarus, because the pod waits for long.
		if err := m.setState(t.Context(), "lazarus", "r", prefect.State{Phase: prefect.Waiting, Name: "Scheduled", StartTime: time.Now()}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		name, _ := job.Name("prefect-job", "r", "v1", 0)
		got := m.get("r")
		want := &prefect.Claim{Launcher: "me", Namespace: "flows", NamespaceUID: "here", Job: name, Attempt: "v3"}
		if diff := cmp.Diff(want, got.Claim); diff != "" {
			t.Errorf("claim (-want +got):\n%s", diff)
		}
		b.stop()
		if diff := cmp.Diff(map[string]int{"r": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
	})
}

// sidecarLives is a pod whose flow is over and whose other container is not.
func sidecarLives() *corev1.Pod {
	p := podOf("r", corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "flow", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}},
		{Name: "proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
	}})
	p.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "flow"}, {Name: "proxy"}}}
	return p
}

func TestJobThatASidecarKeepsIsNotAdopted(t *testing.T) {
	for name, again := range map[string]func() *runBuilder{
		"restarted":             func() *runBuilder { return run("r").version(5).due(time.Now()) },
		"a task's retry is due": func() *runBuilder { return run("r").version(5).retrying("t", 4, time.Now()) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := start(t, newMemory(again()), func(_ *Options, client *fake.Clientset) { add(t, client, jobOfRun("r"), sidecarLives()) })
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if diff := cmp.Diff(map[string]int{"r": 2}, jobsByRun(t, b.client)); diff != "" {
					t.Errorf("Jobs by run (-want +got):\n%s", diff)
				}
				b.stop()
			})
		})
	}
}

// A Job may bring a run to its end between the poll that read the run and the list that
// shows the Job ended.
func TestRunIsReadAgainWhereItsJobHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		again := run("r").version(3).due(time.Now())
		m := newMemory(again)
		l, world := alone(m)
		_ = world.store.create(jobOfRun("r"))
		world.before["list"] = func() {
			m.set(run("r").in("Success").version(5))
			world.store.finishAll()
		}
		o := carriedOut(t, l, Action{Kind: Launch, Run: again.readAt(time.Now()).FlowRun})
		if o.result != overtaken || len(m.writes) > 0 {
			t.Errorf("%s (%v), wrote %q; want the ended run left alone", o.result, o.err, m.writes)
		}
	})
}
