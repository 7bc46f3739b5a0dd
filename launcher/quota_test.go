package launcher

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job"
)

func TestQuotaForAWhileHoldsUpNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("big"), run("big too"))
		began := time.Now()
		tries := 0
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.Concurrency = 1
			refusing(client, func(run string) error {
				if strings.HasPrefix(run, "big") && time.Since(began) < 2*time.Minute {
					tries++
					return quota()
				}
				return nil
			})
		})
		time.Sleep(5 * time.Second)
		m.set(run("small").due(time.Now()))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff(map[string]int{"small": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run while the quota is full (-want +got):\n%s", diff)
		}
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(map[string]int{"small": 1, "big": 1, "big too": 1}, jobsByRun(t, b.client)); diff != "" {
			t.Errorf("Jobs by run (-want +got):\n%s", diff)
		}
		if tries != 36 {
			t.Errorf("%d tries for two runs in 2 minutes, want 36: every 9 s in the end", tries)
		}
		lines := m.linesOf("big")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "WARNING Kubernetes does not take the Job of this run yet") || !strings.Contains(lines[0], "exceeded quota: jobs") {
			t.Errorf("log %q, want one warning with the quota and one line of success", lines)
		}
	})
}

func TestQuotaForGoodHandsTheRunBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		b := start(t, m, func(o *Options, client *fake.Clientset) {
			o.RetryFor = 30 * time.Second
			refusing(client, func(string) error { return quota() })
		})
		time.Sleep(45 * time.Second)
		synctest.Wait()
		s := m.get("r").State
		if s.Name != "Scheduled" || !s.StartTime.After(time.Now()) || !strings.Contains(s.Message, "exceeded quota") {
			t.Errorf("state %+v, want Scheduled for later with the reason", s)
		}
		b.stop()
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r"))
		var tries []time.Duration
		b := start(t, m, func(_ *Options, client *fake.Clientset) {
			began := time.Now()
			refusing(client, func(string) error {
				tries = append(tries, time.Since(began).Round(time.Second))
				if len(tries) == 1 {
					return apierrors.NewTooManyRequests("slow down", 40)
				}
				return nil
			})
		})
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if len(tries) != 2 || tries[1]-tries[0] != 40*time.Second {
			t.Errorf("tries at %v, want the second 40 s after the first", tries)
		}
	})
}

// Claims that wait for a quota keep launchers neither from the Jobs in trouble that
// fill it nor, where they are another's, from what is due.
func TestClaimsThatWaitHoldUpNothingElse(t *testing.T) {
	waiting := func(by string, n int) []*runBuilder {
		var runs []*runBuilder
		for i := range n {
			id := fmt.Sprintf("waits-%02d", i)
			name, _ := job.Name("prefect-job", id, "v1", 0)
			runs = append(runs, run(id).version(2).claimedBy(by, "v1", name, time.Now().Add(-time.Minute)))
		}
		return runs
	}
	full := func(run string) error {
		if strings.HasPrefix(run, "waits") {
			return quota()
		}
		return nil
	}
	t.Run("Jobs in trouble", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			m := newMemory(run("stuck").in("Submitted"))
			for i := range 64 {
				m.set(run(fmt.Sprintf("waits-%02d", i)).due(time.Now()))
			}
			b := start(t, m, func(_ *Options, client *fake.Clientset) {
				refusing(client, func(run string) error {
					if full(run) == nil {
						return nil
					}
					return apierrors.NewTooManyRequests("slow down", 3600)
				})
			})
			time.Sleep(2 * time.Minute)
			add(t, b.client, jobOfRun("stuck"), podOf("stuck", cannotPull()))
			time.Sleep(time.Minute + 31*time.Second)
			synctest.Wait()
			if s := m.get("stuck").State.Name; s != "Failed" {
				t.Errorf("the run whose image cannot be pulled is %s, want Failed", s)
			}
			b.stop()
		})
	})
	t.Run("due runs", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			m := newMemory(waiting("other", 64)...)
			var mu sync.Mutex
			tried := map[string]bool{}
			b := start(t, m, func(_ *Options, client *fake.Clientset) {
				refusing(client, func(run string) error {
					mu.Lock()
					defer mu.Unlock()
					tried[run] = true
					return full(run)
				})
			})
			time.Sleep(30 * time.Second)
			m.set(run("small").due(time.Now()))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if diff := cmp.Diff(map[string]int{"small": 1}, jobsByRun(t, b.client)); diff != "" {
				t.Errorf("Jobs by run (-want +got):\n%s", diff)
			}
			if delete(tried, "small"); len(tried) != maxRepairs*b.Concurrency {
				t.Errorf("of another's claims %d are tried, want %d at once", len(tried), maxRepairs*b.Concurrency)
			}
			b.stop()
		})
	})
}
