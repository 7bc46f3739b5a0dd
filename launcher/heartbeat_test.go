package launcher

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestHeartbeatsWhileAPodWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now()))
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.IdleTimeout = 24 * time.Hour })
		time.Sleep(time.Hour)
		synctest.Wait()
		// Every 3 minutes, seen at the next reading of the claims.
		if beats := m.count("heartbeat"); beats < 18 || beats > 20 {
			t.Errorf("%d heartbeats in an hour, want about one in 3 minutes", beats)
		}
		if err := m.setState(t.Context(), "pod", "r", prefect.State{Phase: prefect.Running, Name: "Running"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		before := m.count("heartbeat")
		time.Sleep(time.Hour)
		synctest.Wait()
		if m.count("heartbeat") != before {
			t.Errorf("%d heartbeats for a run whose pod runs", m.count("heartbeat")-before)
		}
		b.stop()
	})
}

// A launcher that is woken for a heartbeat sends it at once, again soon if it was
// lost, and does not stay for it.
func TestWokenLauncherBeatsAndLeaves(t *testing.T) {
	for name, lost := range map[string]int{"at once": 0, "the first one is lost": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				began, ago := time.Now(), time.Now().Add(-8*time.Minute)
				m := newMemory(
					run("waits").version(2).claimedBy("gone", "v1", "prefect-job-waits", ago),
					run("waits-2").version(2).claimedBy("gone", "v1", "prefect-job-waits-2", ago),
					run("seen-to").version(2).claimedBy("gone", "v1", "prefect-job-seen-to", ago).beaten(began.Add(-time.Minute)),
				)
				var sent []string
				m.fault = func(op, id string, _ bool) error {
					if op != "heartbeat" {
						return nil
					}
					sent = append(sent, fmt.Sprintf("%s after %s", id, time.Since(began).Round(10*time.Second)))
					if len(sent) <= lost {
						return errLost
					}
					return nil
				}
				client := fake.NewClientset()
				for _, id := range []string{"waits", "waits-2", "seen-to"} {
					add(t, client, jobOfRun(id))
				}
				// One worker, so that the heartbeats come one after another.
				b := startWith(t, m, client, func(o *Options, _ *fake.Clientset) { o.IdleTimeout, o.Concurrency = 40*time.Second, 1 })
				if err := b.leave(); err != nil {
					t.Fatal(err)
				}
				want := []string{"waits after 0s", "waits-2 after 0s"}
				if lost > 0 {
					want = append(want, "waits after 30s")
				}
				if diff := cmp.Diff(want, sent); diff != "" {
					t.Errorf("heartbeats (-want +got):\n%s", diff)
				}
				if stayed := time.Since(began); stayed > time.Minute {
					t.Errorf("stayed for %s", stayed)
				}
			})
		})
	}
}
