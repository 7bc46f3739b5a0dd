package collect_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/explain"
	"github.com/prefect-keda/prefect-keda/explain/collect"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const page = `{"at": "2026-11-28T14:00:00Z", "connections": [], "refused": [], "scaled_objects": [
	{"namespace": "keda", "name": "launcher", "connection": "default", "labels": ["gpu"], "active": true, "due": 1, "warm_up_lead": "10s", "reason": "1 due", "last_asked": "2026-11-28T14:00:00Z", "open_streams": 1, "untaken": "nobody"},
	{"namespace": "keda", "name": "pools", "connection": "pools", "work_pools": ["etl"], "work_queues": ["high"]},
	{"namespace": "keda", "name": "other", "connection": "team-a", "labels": ["gpu"], "active": true}]}`

// bench is a stand-in API and a cluster.
type bench struct {
	t       *testing.T
	api     *prefecttest.API
	client  *prefect1.Client
	objects []runtime.Object
	uid     string
	refuses []string // "jobs", "pods", "events"
	page    string
	// conditions are those of every ScaledObject; empty when there is none.
	conditions string
	asked      []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	api := prefecttest.New(prefecttest.Options{})
	client, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, api: api, client: client, uid: "here", page: page}
}

// claimed is a run that a launcher took whose Job is in a namespace.
func (b *bench) claimed(namespace, uid string) string {
	b.t.Helper()
	id := b.api.CreateRuns(prefecttest.Order{Labels: []string{"gpu"}})[0]
	run, err := b.client.FlowRun(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	claim := prefect.Claim{Launcher: "l", Namespace: namespace, NamespaceUID: uid, Job: "j", Attempt: run.Attempt}
	if r, err := b.client.Claim(b.t.Context(), run, claim); err != nil || r.Answer != prefect.Won {
		b.t.Fatal(r, err)
	}
	return id
}

// stuck is a Job with a pod that no node takes, and what is said of that.
func (b *bench) stuck(run, namespace string) {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: namespace, CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour)), Labels: map[string]string{kubernetesrun.LabelFlowRunID: run}}
	}
	j := &batchv1.Job{ObjectMeta: meta("j")}
	j.UID = "of-job"
	p := &corev1.Pod{ObjectMeta: meta("p"), Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes are available",
	}}}}
	p.UID, p.OwnerReferences = "of-pod", []metav1.OwnerReference{{Kind: "Job", Name: "j", UID: "of-job", Controller: new(true)}}
	e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: namespace}, Type: "Warning", Reason: "FailedScheduling", Message: "0/1", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p", UID: "of-pod"}}
	stranger := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "stranger", Namespace: namespace, Labels: map[string]string{kubernetesrun.LabelFlowRunID: "another"}}}
	b.objects = append(b.objects, j, p, e, stranger)
}

// lister counts, refuses and has every question bounded.
type lister[L any] struct {
	*bench

	what string
	list func(context.Context, metav1.ListOptions) (L, error)
}

func (l lister[L]) List(ctx context.Context, o metav1.ListOptions) (L, error) {
	_, bounded := ctx.Deadline()
	if !bounded || o.Limit == 0 || o.LabelSelector == "" && o.FieldSelector == "" {
		l.t.Errorf("%s are asked for without a bound: %+v, deadline %t", l.what, o, bounded)
	}
	l.asked = append(l.asked, l.what)
	if kind, _, _ := strings.Cut(l.what, " "); slices.Contains(l.refuses, kind) {
		var none L
		return none, apierrors.NewForbidden(schema.GroupResource{Resource: kind}, "", errors.New("no Role"))
	}
	return l.list(ctx, o)
}

func (b *bench) facts(id string) (explain.Facts, error) {
	clientset := fake.NewClientset(b.objects...)
	return collect.Facts(b.t.Context(), collect.Options{
		Marks:   kubernetesrun.Marks(),
		Prefect: b.client, Connection: "default", Namespaces: []string{"flows"}, Scope: prefect.Scope{Labels: []string{"mine"}},
		Kubernetes: func(ns string) (collect.Namespace, error) {
			return collect.Namespace{
				Jobs: lister[*batchv1.JobList]{b, "jobs " + ns, clientset.BatchV1().Jobs(ns).List},
				Pods: lister[*corev1.PodList]{b, "pods " + ns, clientset.CoreV1().Pods(ns).List},
				// The clientset knows no field selectors.
				Events: lister[*corev1.EventList]{b, "events " + ns, func(ctx context.Context, o metav1.ListOptions) (*corev1.EventList, error) {
					all, err := clientset.CoreV1().Events(ns).List(ctx, metav1.ListOptions{})
					if err == nil {
						all.Items = slices.DeleteFunc(all.Items, func(e corev1.Event) bool {
							return "involvedObject.uid="+string(e.InvolvedObject.UID) != o.FieldSelector
						})
					}
					return all, err
				}},
				UID: func(context.Context) (string, error) {
					if b.uid == "" {
						return "", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, ns)
					}
					return b.uid, nil
				},
			}, nil
		},
		ScaledObject: func(ctx context.Context, namespace, name string, into any) error {
			b.asked = append(b.asked, "scaledobject "+namespace+"/"+name)
			if _, bounded := ctx.Deadline(); !bounded {
				b.t.Error("a ScaledObject is asked for without a deadline")
			}
			if b.conditions == "" {
				return apierrors.NewNotFound(schema.GroupResource{Group: "keda.sh", Resource: "scaledobjects"}, name)
			}
			return json.Unmarshal([]byte(`{"status": {"conditions": `+b.conditions+`}}`), into)
		},
		Scaler: func(context.Context) ([]byte, error) {
			if b.page == "" {
				return nil, errors.New("connection refused")
			}
			return []byte(b.page), nil
		},
		Rules: trouble.Rules{Grace: time.Minute}, ClaimGrace: time.Minute, Timeout: 10 * time.Second,
	}, id)
}

// All there is of a stuck run, from every side, and nothing of others.
func TestFacts(t *testing.T) {
	b := newBench(t)
	id := b.claimed("flows", "here")
	b.stuck(id, "flows")
	f, err := b.facts(id)
	if err != nil {
		t.Fatal(err)
	}
	r := f.Report()
	if want := "It has waited 1h0m for a node: 0/1 nodes are available. It waits for ever; PREFECT_KEDA_PENDING_TIMEOUT would end that."; r.Verdict != want {
		t.Errorf("verdict: %s\nwant: %s", r.Verdict, want)
	}
	served := explain.Served{
		Namespace: "keda", Name: "launcher", Scope: prefect.Scope{Labels: []string{"gpu"}}, Active: true, Due: 1, Reason: "1 due",
		LastAsked: time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC), Listens: true, Untaken: "nobody", WarmUpLead: 10 * time.Second,
	}
	if d := cmp.Diff([]explain.Served{served}, f.Serving); d != "" || !f.Asked {
		t.Errorf("serving: -want +got:\n%s", d)
	}
	got := map[string]any{
		"served": r.ServedBy[0].ScaledObject, "servers": len(r.ServedBy), "claim": r.Claim.Job, "job": r.Jobs[0].Name + " " + r.Jobs[0].Trouble, "jobs": len(r.Jobs),
		"pod": r.Pods[0].Name, "event": r.Events[0].Reason + " of " + r.Events[0].Of, "events": len(r.Events), "launchers looked for": slices.Contains(b.asked, "pods keda"),
	}
	want := map[string]any{
		"served": "keda/launcher", "servers": 1, "claim": "j", "job": "j unschedulable", "jobs": 1,
		"pod": "p", "event": "FailedScheduling of pod p", "events": 1, "launchers looked for": false,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if d := cmp.Diff([]string{}, r.NotRead); d != "" || f.Elsewhere {
		t.Errorf("elsewhere %t; not read: %s", f.Elsewhere, d)
	}
	var states []string
	for _, s := range r.History {
		states = append(states, strings.TrimSpace(s.State+" "+s.Launcher))
	}
	if d := cmp.Diff([]string{"Scheduled", "Submitted l"}, states); d != "" {
		t.Errorf("history: -want +got:\n%s", d)
	}
}

// Launchers are looked for where a run waits for one, and nowhere else.
func TestLaunchersOfARunThatIsDue(t *testing.T) {
	for _, tc := range []struct {
		order prefecttest.Order
		looks bool
	}{
		{prefecttest.Order{Labels: []string{"gpu"}}, true},
		{prefecttest.Order{Labels: []string{"gpu"}, In: prefecttest.Duration(time.Hour)}, false},
		{prefecttest.Order{Labels: []string{"tpu"}}, false},
	} {
		b := newBench(t)
		for name, process := range map[string]string{"launcher-1": "launcher", "scaler-1": "scaler"} {
			b.objects = append(b.objects, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "keda", Labels: map[string]string{"prefect-keda.io/process": process}}})
		}
		f, err := b.facts(b.api.CreateRuns(tc.order)[0])
		if err != nil {
			t.Fatal(err)
		}
		if looked := slices.Contains(b.asked, "pods keda"); looked != tc.looks || f.Watched != tc.looks || tc.looks && (len(f.Launchers) != 1 || f.Launchers[0].Name != "launcher-1") {
			t.Errorf("%+v: asked %q, %d launchers", tc.order, b.asked, len(f.Launchers))
		}
	}
}

// What keeps a ScaledObject that serves the run from being scaled is read from the
// scaler, which refuses, and from KEDA.
func TestScaledObjectThatIsNotScaled(t *testing.T) {
	b := newBench(t)
	b.page = strings.Replace(page, `"refused": []`, `"refused": [{"namespace": "keda", "name": "launcher", "err": "unknown key"}]`, 1)
	b.page = strings.Replace(b.page, `"untaken": "nobody"`, `"untaken": "nobody", "refused": "unknown key"`, 1)
	b.conditions = `[{"type": "Ready", "status": "False", "reason": "TriggerError", "message": "not working"}, {"type": "Paused", "status": "True"}]`
	f, err := b.facts(b.api.CreateRuns(prefecttest.Order{Labels: []string{"gpu"}})[0])
	if err != nil {
		t.Fatal(err)
	}
	if s := f.Serving[0]; s.Refused != "unknown key" || s.NotReady != "not working" || !s.Paused || len(f.Refused) != 1 {
		t.Errorf("%+v, refused %+v", s, f.Refused)
	}
	b.asked = nil
	if _, err := b.facts(b.api.CreateRuns(prefecttest.Order{Labels: []string{"tpu"}})[0]); err != nil || slices.Contains(b.asked, "scaledobject keda/launcher") {
		t.Errorf("asked %q, %v; want nothing of one that does not serve the run", b.asked, err)
	}
}

// What may not be read is said, and the rest is told.
func TestUnread(t *testing.T) {
	b := newBench(t)
	id := b.claimed("flows", "here")
	b.stuck(id, "flows")
	b.refuses, b.page = []string{"events"}, ""
	f, err := b.facts(id)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"the scaler's page, which knows who serves which labels: connection refused", "events in flows: not allowed to"}
	if d := cmp.Diff(want, f.Unread); d != "" || f.Asked || len(f.Jobs) != 1 || len(f.Pods) != 1 {
		t.Errorf("%d Jobs, %d pods; -want +got:\n%s", len(f.Jobs), len(f.Pods), d)
	}
	b.refuses, b.page = []string{"jobs", "pods"}, "<html>"
	if f, err = b.facts(id); err != nil {
		t.Fatal(err)
	}
	if len(f.Unread) != 3 || !strings.HasPrefix(f.Unread[0], "the scaler's page, which knows who serves which labels: it has another form than expected") ||
		f.Unread[1] != "Jobs in flows: not allowed to" || f.Unread[2] != "pods in flows: not allowed to" || len(f.Namespaces) > 0 {
		t.Errorf("not read: %q", f.Unread)
	}
	if got := f.Verdict(); !strings.Contains(got, "could not be read") {
		t.Error(got)
	}
}

// A claim says where to look, and whether that is here.
func TestClaimElsewhere(t *testing.T) {
	for _, tc := range []struct {
		namespace, uid, found string
		elsewhere             bool
	}{
		{"flows", "here", "here", false},
		{"flows", "there", "here", true},
		{"others", "here", "here", false},
		{"others", "here", "", true},
	} {
		b := newBench(t)
		b.uid = tc.found
		f, err := b.facts(b.claimed(tc.namespace, tc.uid))
		if err != nil {
			t.Fatal(err)
		}
		if f.Elsewhere != tc.elsewhere || !slices.Contains(b.asked, "jobs "+tc.namespace) {
			t.Errorf("%+v: elsewhere %t, asked %q", tc, f.Elsewhere, b.asked)
		}
	}
}

// No run, no facts.
func TestNoSuchRun(t *testing.T) {
	b := newBench(t)
	for _, id := range []string{"11111111-1111-4111-8111-111111111111", "cat"} {
		if _, err := b.facts(id); !errors.Is(err, prefect.ErrNotFound) || len(b.asked) > 0 {
			t.Errorf("%s: %v, asked %q", id, err, b.asked)
		}
	}
}

// pooled is a Prefect 3 with one run.
type pooled struct{}

func (pooled) FlowRun(_ context.Context, id string) (prefect.FlowRun, error) {
	return prefect.FlowRun{ID: id, Place: prefect.Place{Pool: "etl", Queue: "high"}, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}, nil
}

func (pooled) States(context.Context, string, int) ([]prefect.PastState, error) { return nil, nil }

// The scaler's page tells which work pools are served, and Prefect what it holds back.
func TestWorkPools(t *testing.T) {
	o := collect.Options{
		Prefect: pooled{}, Connection: "pools", Timeout: time.Second,
		Kubernetes: func(string) (collect.Namespace, error) { return collect.Namespace{}, errors.New("no cluster") },
		Scaler:     func(context.Context) ([]byte, error) { return []byte(page), nil },
		HeldBack: func(_ context.Context, run prefect.FlowRun) (string, error) {
			return run.Place.Pool + " is paused", nil
		},
	}
	f, err := collect.Facts(t.Context(), o, "r")
	if err != nil {
		t.Fatal(err)
	}
	want := []explain.Served{{Namespace: "keda", Name: "pools", Scope: prefect.Scope{Pools: []string{"etl"}, Queues: []string{"high"}}}}
	if d := cmp.Diff(want, f.Serving); d != "" || f.HeldBack != "etl is paused" {
		t.Errorf("held back: %q, serving: -want +got:\n%s", f.HeldBack, d)
	}
	o.HeldBack = func(context.Context, prefect.FlowRun) (string, error) { return "", errors.New("away") }
	if f, _ = collect.Facts(t.Context(), o, "r"); f.Unread[0] != "whether Prefect holds the run back: away" {
		t.Errorf("not read: %q", f.Unread)
	}
}
