package launcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestPrefectAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("r").due(time.Now().Add(30 * time.Second)))
		began := time.Now()
		m.fault = func(op, _ string, _ bool) error {
			if time.Since(began) < time.Hour && op != "announce" {
				return errors.New("connection refused")
			}
			return nil
		}
		b := start(t, m)
		time.Sleep(time.Hour)
		synctest.Wait()
		if asked := m.count("due"); asked != 405 {
			t.Errorf("asked %d times in an hour of failures, want 405: every 9 s in the end", asked)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(b.jobs()) != 1 {
			t.Errorf("%d Jobs 10 s after Prefect came back, want 1", len(b.jobs()))
		}
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		for text, want := range map[string]int{`msg="upstream is failing, retrying" upstream=prefect `: 1, `level=WARN msg="upstream is still failing, retrying" upstream=prefect `: 5, `msg="upstream answers again" upstream=prefect `: 1} {
			if got := b.logs.count(text); got != want {
				t.Errorf("%q is logged %d times, want %d", text, got, want)
			}
		}
	})
}

// Prefect's wish is one for all we ask of it, not one for each run.
func TestPrefectIsLeftAloneWhenItAsksForIt(t *testing.T) {
	for _, first := range []string{"claim", "due", "claimed", "read"} {
		t.Run(first, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemory()
				m.slow(100 * time.Millisecond)
				m.lag = 20 * time.Millisecond
				for i := range 50 {
					r := run(fmt.Sprintf("r%02d", i)).due(time.Now())
					if first == "read" { // as it is right before its tasks are claimed
						r = r.retrying("t", 4, time.Now())
					}
					m.set(r)
				}
				began, refused := time.Now(), 0
				m.fault = func(op, _ string, _ bool) error {
					if op == "announce" || time.Since(began) > 10*time.Minute || refused == 0 && op != first {
						return nil
					}
					if first == "claimed" && op == "due" && time.Since(began) < time.Second {
						return nil // and is told after the refusal
					}
					refused++
					return throttled(time.Minute)
				}
				b := start(t, m)
				time.Sleep(50 * time.Second)
				synctest.Wait()
				m.mu.Lock()
				atOnce := refused
				m.mu.Unlock()
				if atOnce < 1 || atOnce > 16+int(questions) {
					t.Errorf("refused %d times at first, want no more than were under way", atOnce)
				}
				time.Sleep(9 * time.Minute)
				synctest.Wait()
				m.mu.Lock()
				again := refused - atOnce
				m.mu.Unlock()
				if again < 8 || again > 9*int(questions) {
					t.Errorf("refused %d times in 9 minutes, want one look a minute", again)
				}
				time.Sleep(90 * time.Second)
				synctest.Wait()
				if n := len(b.jobs()); n != 50 {
					t.Errorf("%d Jobs after the last wish was over, want 50\n%s", n, b.logs)
				}
				if n := b.logs.count("left alone"); n < 9 || n > 10 {
					t.Errorf("%d lines say why nothing happens, want one a pause", n)
				}
				b.stop()
			})
		})
	}
}

func TestKeyIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		m.fault = func(string, string, bool) error { return fmt.Errorf("read: %w", prefect.ErrAuth) }
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.Credentials = "the Secret s" })
		err := b.leave()
		if !errors.Is(err, prefect.ErrAuth) || !strings.Contains(err.Error(), "check the Secret s, and") {
			t.Errorf("Run: %v, want one that says which setting to check", err)
		}
	})
	t.Run("later", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			m := newMemory()
			began := time.Now()
			m.fault = func(string, string, bool) error {
				if since := time.Since(began); since > 30*time.Second && since < 10*time.Minute {
					return fmt.Errorf("read: %w", prefect.ErrAuth)
				}
				return nil
			}
			b := start(t, m)
			if err := b.leave(); err != nil {
				t.Errorf("Run: %v; once under way a refused key is for the log", err)
			}
			if b.logs.count("level=ERROR") != 4 || b.logs.count("check the key and the tenant: read") != 4 {
				t.Errorf("want one ERROR line for each of the three questions and one for the agent:\n%s", b.logs)
			}
		})
	})
}

func TestAgentThatCannotRegisterIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory()
		began := time.Now()
		m.fault = func(op, _ string, _ bool) error {
			if op == "announce" && time.Since(began) < 5*time.Minute {
				return errors.New("no agents today")
			}
			return nil
		}
		b := start(t, m, func(o *Options, _ *fake.Clientset) { o.IdleTimeout = 10 * time.Minute })
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		for text, want := range map[string]int{
			`level=WARN msg="upstream is failing, retrying" upstream=prefect_agent err="no agents today"`: 1,
			`level=INFO msg="upstream answers again" upstream=prefect_agent failures=5`:                   1,
		} {
			if got := b.logs.count(text); got != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, got, want, b.logs)
			}
		}
	})
}

func TestWatchIsForbidden(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := start(t, newMemory(), func(_ *Options, client *fake.Clientset) {
			client.PrependReactor("list", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(jobsResource, "", errors.New("no"))
			})
		})
		err := b.leave()
		if err == nil || !strings.Contains(err.Error(), "the launcher's Role in namespace flows must allow get, list, watch and create on jobs") {
			t.Errorf("Run: %v, want one that says what to allow", err)
		}
	})
}

func TestNamespaceCannotBeRead(t *testing.T) {
	namespaces := schema.GroupResource{Resource: "namespaces"}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"forbidden": {apierrors.NewForbidden(namespaces, "flows", errors.New("no")), "the launcher's Role in namespace flows must allow get on namespaces"},
		"not there": {apierrors.NewNotFound(namespaces, "flows"), "the namespace flows does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				client := kubernetes(fake.NewClientset())("flows")
				client.UID = func(context.Context) (string, error) { return "", tc.err }
				l, err := New(options("me"), newMemory(run("r")), template{}, only(client))
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("Run: %v, want one that says %q", err, tc.want)
				}
			})
		})
	}
	t.Run("Kubernetes away", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			began, m := time.Now(), newMemory(run("r"))
			clientset := fake.NewClientset()
			client := kubernetes(clientset)("flows")
			client.UID = func(context.Context) (string, error) {
				if time.Since(began) < 5*time.Minute {
					return "", errors.New("connection refused")
				}
				return "here", nil
			}
			l, err := New(options("me"), m, template{}, only(client))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Run(t.Context()); err != nil {
				t.Error(err)
			}
			if r := m.get("r"); r.Claim == nil || r.Claim.NamespaceUID != "here" || len(jobsByRun(t, clientset)) != 1 {
				t.Errorf("claim %+v, Jobs %v", r.Claim, jobsByRun(t, clientset))
			}
		})
	})
}
