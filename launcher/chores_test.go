package launcher

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/trouble"
)

// A run that was told that its pod waits is told as well what came of it, by the
// pod's further events.
func TestEventsAfterTroubleAreTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").in("Submitted"))
		pod := podOf("r", noNode())
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.IdleTimeout = time.Hour
			add(t, client, jobOfRun("r"), pod, eventOf("Pod", "pod-r", "FailedScheduling", "no"))
		})
		time.Sleep(5 * time.Minute)
		add(t, b.client, eventOf("Pod", "pod-r", "TriggeredScaleUp", "one more node"))
		time.Sleep(time.Minute)
		add(t, b.client, eventOf("Pod", "pod-r", "Pulling", "image"))
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning}
		if _, err := b.client.CoreV1().Pods("flows").Update(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		m.refuse("log")
		time.Sleep(10 * time.Second)
		m.refuse("")
		time.Sleep(10 * time.Minute)
		want := []string{
			"DEBUG Event: 'FailedScheduling' on pod 'pod-r'\n\tMessage: no",
			"WARNING Kubernetes Error: pod pod-r cannot be scheduled: 0/3 nodes are available. The run waits for that to change, for ever: PREFECT_KEDA_PENDING_TIMEOUT is not set",
			"DEBUG Event: 'TriggeredScaleUp' on pod 'pod-r'\n\tMessage: one more node",
			"DEBUG Event: 'Pulling' on pod 'pod-r'\n\tMessage: image",
		}
		if d := cmp.Diff(want, m.infraLines("r")); d != "" {
			t.Errorf("-want +got:\n%s\n%s", d, b.logs)
		}
		if got, fate := m.get("r").State.Name, b.fate("job-r"); got != "Submitted" || fate != "as it was" {
			t.Errorf("the run is %s, its Job is %s", got, fate)
		}
		b.stop()
	})
}

// Jobs that completed and were made without a time to live are given one, by a
// launcher that is up and if finished Jobs are to go.
func TestCompletedJobsGetATimeToLive(t *testing.T) {
	forever := func(j *batchv1.Job) { completed(j); j.Spec.TTLSecondsAfterFinished = nil }
	for name, tc := range map[string]struct {
		state   string
		job     func(*batchv1.Job)
		options func(*Options)
		want    string
	}{
		"made by the agent":                    {"Success", forever, nil, "ttl 1200"},
		"its flow failed, in a pod that ended": {"Failed", forever, nil, "ttl 1200"},
		"with a short time to live":            {"Success", forever, func(o *Options) { o.JobTTL = time.Second }, "ttl 300"},
		"that has one":                         {"Success", completed, nil, "ttl 600"},
		"finished Jobs are to stay":            {"Success", forever, func(o *Options) { o.DeleteFinished = false }, "no ttl"},
		"that was kept": {"Success", func(j *batchv1.Job) {
			forever(j)
			j.Annotations = map[string]string{trouble.Annotation: `{"done":true}`}
		}, nil, "no ttl"},
		"of a run for others":            {"Success", forever, func(o *Options) { o.Scope.Labels = []string{"gpu"} }, "no ttl"},
		"of a run that is still Running": {"Running", forever, nil, "no ttl"},
		"of a run that does not exist":   {"", forever, nil, "no ttl"},
		"that is not done":               {"Running", func(j *batchv1.Job) { j.Spec.TTLSecondsAfterFinished = nil }, nil, "no ttl"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory()
				if tc.state != "" {
					m.set(run("r").in(tc.state))
				}
				b := start(t, m, func(o *Options, client *fake.Clientset) {
					o.IdleTimeout, o.DeleteFinished, o.JobTTL = time.Hour, true, 20*time.Minute
					if tc.options != nil {
						tc.options(o)
					}
					add(t, client, jobOfRun("r", tc.job))
				})
				time.Sleep(10 * time.Second)
				synctest.Wait()
				got := "no ttl"
				if ttl := b.jobs()[0].Spec.TTLSecondsAfterFinished; ttl != nil {
					got = fmt.Sprint("ttl ", *ttl)
				}
				if got != tc.want || len(m.infraLines("r")) > 0 {
					t.Errorf("the Job has %s, want %s; told %q\n%s", got, tc.want, m.infraLines("r"), b.logs)
				}
				b.stop()
			})
		})
	}
}

// A chore that cannot be done is no reason to stay.
func TestChoresKeepNoLauncher(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").in("Success"))
		patches := 0
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.PollInterval, o.IdleTimeout, o.DeleteFinished = time.Minute, 15*time.Minute, true
			client.PrependReactor("patch", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
				patches++
				return true, nil, errors.New("the server is overloaded")
			})
			add(t, client, jobOfRun("r", completed, func(j *batchv1.Job) { j.Spec.TTLSecondsAfterFinished = nil }))
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if took := time.Since(b.began); took > 16*time.Minute || patches != 1 {
			t.Errorf("left after %s and %d tries, want the idle timeout and one", took, patches)
		}
	})
}
