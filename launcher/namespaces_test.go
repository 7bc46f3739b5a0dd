package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// placed is a renderer that puts each run's Job into the namespace that the run's first
// label names, as a Prefect does that lets authors choose.
type placed struct{ template }

func (r placed) Render(ctx context.Context, run prefect.FlowRun) (job.Rendering, error) {
	made, err := r.template.Render(ctx, run)
	if err == nil && len(run.Place.Labels) > 0 {
		made.Job.Namespace = run.Place.Labels[0]
		made.Secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "env-" + run.ID, Namespace: made.Job.Namespace}}
	}
	return made, err
}

// startPlaced starts a launcher of two more namespaces.
func startPlaced(t *testing.T, m *memory, client *fake.Clientset) *bench {
	t.Helper()
	b := &bench{t: t, m: m, client: client, logs: &logBuffer{}, began: time.Now(), ended: make(chan error, 1)}
	o := options("me")
	o.IdleTimeout, o.DeleteFinished, o.JobNamespaces, o.Scope.Labels = time.Hour, true, []string{"team-a", "team-b"}, []string{"flows", "team-a", "team-b", "elsewhere"}
	o.Logger = slog.New(slog.NewTextHandler(b.logs, nil))
	l, err := New(o, m, placed{}, kubernetes(client))
	if err != nil {
		t.Fatal(err)
	}
	b.Launcher = l
	ctx, cancel := context.WithCancel(t.Context())
	b.cancel = cancel
	go func() { b.ended <- b.Run(ctx) }()
	return b
}

// A launcher serves several namespaces: each Job is created where its run wants it, the claim
// says where that is, and a Job that is there is adopted and looked after there.
func TestSeveralNamespaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemory(run("home").labels("flows"), run("a").labels("team-a"), run("b").version(3).labels("team-b"), run("bad").version(2).labels("team-b").in("Submitted"), run("far").labels("elsewhere"))
		client := fake.NewClientset()
		for _, id := range []string{"b", "bad"} {
			j := jobOfRun(id)
			j.Namespace = "team-b"
			if _, err := client.BatchV1().Jobs("team-b").Create(t.Context(), j, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		pod := podOf("bad", oomKilled())
		pod.Namespace = "team-b"
		if _, err := client.CoreV1().Pods("team-b").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		b := startPlaced(t, m, client)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		got := map[string]string{}
		for _, namespace := range []string{"flows", "team-a", "team-b"} {
			list, err := client.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range list.Items {
				got[b.Marks.RunOf(&j)] += namespace
			}
		}
		for _, id := range []string{"home", "a", "b", "far", "bad"} {
			claim := "unclaimed"
			if c := m.get(id).Claim; c != nil {
				claim = c.Namespace + " " + c.NamespaceUID
			}
			got[id] = fmt.Sprintf("%s, %s %s", got[id], m.get(id).State.Name, claim)
		}
		want := map[string]string{
			"home": "flows, Submitted flows here", "a": "team-a, Submitted team-a uid of team-a", "b": "team-b, Submitted team-b uid of team-b",
			"bad": ", Failed unclaimed", "far": ", Scheduled unclaimed",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("-want +got:\n%s\n%s", d, b.logs)
		}
		b.stop()
	})
}

// A namespace that does not exist, or that the launcher may not read, holds up no other.
func TestNamespaceThatIsBarredHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := fake.NewClientset()
		client.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if a.GetNamespace() != "team-a" {
				return false, nil, nil
			}
			return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", errors.New("no Role"))
		})
		client.PrependWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
			return a.GetNamespace() == "team-a", nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", errors.New("no Role"))
		})
		m := newMemory(run("a").labels("team-a"), run("b").version(3).labels("team-b"))
		b := startPlaced(t, m, client)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if d := cmp.Diff(map[string]string{"a": "Scheduled", "b": "Submitted"}, m.states("a", "b")); d != "" {
			t.Errorf("-want +got:\n%s\n%s", d, b.logs)
		}
		if b.logs.count("the launcher's Role in namespace team-a must allow") == 0 {
			t.Errorf("the operator is not told:\n%s", b.logs)
		}
		b.stop()
	})
}

// Claims of a namespace that is not ours are left alone; those of a further one are not.
func TestClaimsOfNamespacesThatAreNotServedAreLeftAlone(t *testing.T) {
	claimedIn := func(namespace string) *runBuilder {
		b := run("r").version(2).claimedBy("dead", "v1", "j", noon.Add(-time.Hour))
		b.Claim.Namespace, b.Claim.NamespaceUID = namespace, uidOf(namespace)
		return b
	}
	for namespace, want := range map[string]Kind{"flows": Repair, "team-a": Repair, "elsewhere": 0} {
		w := World{Now: noon, NamespaceUID: "here", Further: prefect.Namespaces{"team-a": uidOf("team-a")}, Claimed: []prefect.FlowRun{claimedIn(namespace).FlowRun}}
		var got Kind
		for _, a := range NewPlan(options("me").withDefaults(), w).Actions {
			got = a.Kind
		}
		if got != want {
			t.Errorf("a claim in %s: %s, want %s", namespace, got, want)
		}
	}
}
