package notice_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/prefect-keda/prefect-keda/notice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster answers with what is at a path, its query without limit.
type cluster map[string]string

func (c cluster) Read(_ context.Context, path string, into any) error {
	path, query, _ := strings.Cut(path, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	values.Del("limit")
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	switch body := c[path]; body {
	case "":
		return apierrors.NewNotFound(schema.GroupResource{}, path)
	case "forbidden":
		return apierrors.NewForbidden(schema.GroupResource{}, path, nil)
	default:
		return json.Unmarshal([]byte(body), into)
	}
}

const (
	objects = "/apis/keda.sh/v1alpha1/namespaces/ns/scaledobjects/"
	jobs    = "/apis/keda.sh/v1alpha1/namespaces/ns/scaledjobs/"
)

func setUp(c cluster, client *fake.Clientset) (*notice.Notices, *strings.Builder) {
	var log strings.Builder
	return notice.New(notice.Options{
		Cluster: c, Events: func(ns string) notice.Events { return client.CoreV1().Events(ns) },
		Process: "prefect-keda-scaler", Pod: "pod-1", Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}), &log
}

// told has n tell what there is, as at the end of a process.
func told(t *testing.T, n *notice.Notices) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	n.Run(ctx)
}

func eventsIn(t *testing.T, client *fake.Clientset) (all []string) {
	t.Helper()
	list, err := client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		o := e.InvolvedObject
		all = append(all, fmt.Sprintf("%s %s/%s %s %s: %s %s %dx: %s", o.Kind, o.Namespace, o.Name, o.UID, e.Source.Component, e.Type, e.Reason, e.Count, e.Message))
	}
	return all
}

// Events are on the object that people describe, which kubectl finds by its UID.
func TestEventsAreOnTheObject(t *testing.T) {
	c := cluster{
		objects + "so":                   `{"metadata": {"uid": "u-so"}}`,
		jobs + "sj":                      `{"metadata": {"uid": "u-sj"}}`,
		"/api/v1/namespaces/ns/pods/l-1": `{"metadata": {"uid": "u-pod", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "l-rs", "uid": "u-rs", "controller": true}]}}`,
		"/apis/apps/v1/namespaces/ns/replicasets/l-rs": `{"metadata": {"uid": "u-rs", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "l", "uid": "u-d", "controller": true}]}}`,
		"/api/v1/namespaces/ns/pods/b-1":               `{"metadata": {"uid": "u-b", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "b", "uid": "u-job", "controller": true}]}}`,
		"/apis/batch/v1/namespaces/ns/jobs/b":          "forbidden",
	}
	client := fake.NewClientset()
	n, log := setUp(c, client)
	n.Warn("ns", "so", "Refused", "mend it")
	n.Warn("ns", "sj", "Refused", strings.Repeat("x", 5000))
	n.Warn("ns", "of nobody", "Refused", "a stranger asks")
	n.WarnOwner("ns", "l-1", "Forbidden", "no")
	n.WarnOwner("ns", "b-1", "Forbidden", "no")
	told(t, n)
	want := []string{
		"Deployment ns/l u-d prefect-keda-scaler: Warning Forbidden 1x: no",
		"Job ns/b u-job prefect-keda-scaler: Warning Forbidden 1x: no",
		"ScaledJob ns/sj u-sj prefect-keda-scaler: Warning Refused 1x: " + strings.Repeat("x", 1021) + "…",
		"ScaledObject ns/so u-so prefect-keda-scaler: Warning Refused 1x: mend it",
	}
	got := map[string]bool{}
	for _, e := range eventsIn(t, client) {
		got[e] = true
	}
	for _, e := range want {
		if !got[e] {
			t.Errorf("there is no event %s", e)
		}
	}
	if len(got) != len(want) || log.Len() > 0 {
		t.Errorf("%d events:\n%v\n%s", len(got), got, log)
	}
}

// What is told again is counted in one event, and what is told ever again is dropped.
func TestEventsAreCounted(t *testing.T) {
	client := fake.NewClientset()
	n, _ := setUp(cluster{objects + "so": `{"metadata": {"uid": "u"}}`}, client)
	for range 80 {
		n.Warn("ns", "so", "Refused", "mend it")
	}
	told(t, n)
	writes := 0
	for _, a := range client.Actions() {
		if a.GetVerb() == "create" || a.GetVerb() == "patch" {
			writes++
		}
	}
	if got := eventsIn(t, client); len(got) != 1 || writes > 25 {
		t.Errorf("%d writes; %q", writes, got)
	}
}

// Without the Role, as in an older installation, it is said once and nothing is asked
// any more; other namespaces are not concerned.
func TestNoRoleIsSaidOnce(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "events", func(a clienttesting.Action) (bool, runtime.Object, error) {
		return a.GetNamespace() == "ns", nil, apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "", nil)
	})
	n, log := setUp(cluster{
		objects + "so": `{"metadata": {"uid": "u"}}`,
		"/apis/keda.sh/v1alpha1/namespaces/other/scaledobjects/so": `{"metadata": {"uid": "o"}}`,
		"/apis/keda.sh/v1alpha1/namespaces/blind/scaledobjects/so": "forbidden",
	}, client)
	for range 3 {
		for _, ns := range []string{"ns", "other", "blind"} {
			n.Warn(ns, "so", "Refused", "mend it")
		}
		told(t, n)
	}
	creates := 0
	for _, a := range client.Actions() {
		if a.GetVerb() == "create" && a.GetNamespace() == "ns" {
			creates++
		}
	}
	if n := strings.Count(log.String(), "bind the Role prefect-keda-scaler-own of the manifests there"); creates != 1 || n != 2 || strings.Count(log.String(), "\n") != 2 {
		t.Errorf("%d tries, said %d times:\n%s", creates, n, log)
	}
	if got := eventsIn(t, client); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// A process that ends because of what it has to tell tells it.
func TestLastWordsAreTold(t *testing.T) {
	client := fake.NewClientset()
	n, _ := setUp(cluster{objects + "so": `{"metadata": {"uid": "u"}}`}, client)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { n.Run(ctx); close(ended) }()
	for i := range 20 {
		n.Warn("ns", "so", fmt.Sprint("Reason", i), "mend it")
	}
	stop()
	<-ended
	if got := eventsIn(t, client); len(got) != 20 {
		t.Errorf("%q", got)
	}
}

// Nobody waits for a Kubernetes that hangs, and no more is kept than there is room for.
func TestQueueIsBounded(t *testing.T) {
	n, log := setUp(cluster{}, fake.NewClientset())
	for range 1000 {
		n.Warn("ns", "so", "Refused", "mend it")
	}
	if got := strings.Count(log.String(), "too many warnings to write as Events"); got != 1 {
		t.Errorf("said %d times", got)
	}
}

func TestWhatLaunchersPodsSay(t *testing.T) {
	const (
		deployment = "/apis/apps/v1/namespaces/ns/deployments/l"
		pods       = "/api/v1/namespaces/ns/pods?labelSelector=app%3Dl"
		events     = "/api/v1/namespaces/ns/events?fieldSelector=involvedObject.uid%3Du"
	)
	pod := func(status string) string {
		return `{"items": [
			{"metadata": {"name": "old", "namespace": "ns", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}},
			{"metadata": {"name": "l-1", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-02T00:00:00Z"}, "status": ` + status + `}]}`
	}
	waiting := func(state string) string {
		return pod(`{"phase": "Pending", "containerStatuses": [{"state": {"waiting": ` + state + `}}]}`)
	}
	for name, tc := range map[string]struct {
		paths cluster
		says  string
	}{
		"a ConfigMap is missing": {
			cluster{pods: waiting(`{"reason": "ContainerCreating"}`), events: `{"items": [
				{"type": "Warning", "message": "MountVolume.SetUp failed: configmap \"x\" not found"}, {"type": "Normal", "message": "Scheduled"}]}`},
			`pod l-1 waits: ContainerCreating: MountVolume.SetUp failed: configmap "x" not found`,
		},
		"without its events": {cluster{pods: waiting(`{"reason": "ContainerCreating"}`)}, "pod l-1 waits: ContainerCreating"},
		"no such image":      {cluster{pods: waiting(`{"reason": "ImagePullBackOff", "message": "Back-off pulling image"}`)}, "pod l-1 waits: ImagePullBackOff: Back-off pulling image"},
		"it crashes": {
			cluster{pods: pod(`{"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}, "lastState": {"terminated": {"exitCode": 2}}}]}`)},
			"pod l-1 ends again and again, last with exit code 2: kubectl -n ns logs l-1 --previous says why",
		},
		"no node":        {cluster{pods: pod(`{"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}`)}, "pod l-1 gets no node: 0/3 nodes"},
		"it was evicted": {cluster{pods: pod(`{"phase": "Failed", "reason": "Evicted", "message": "low on memory"}`)}, "pod l-1 has failed: low on memory"},
		"it is up":       {cluster{pods: pod(`{"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}`)}, "pod l-1 is up and takes no run: read its log, kubectl -n ns logs l-1 (on Prefect Cloud, concurrency limits hold runs back too)"},
		"a quota": {
			cluster{pods: `{"items": []}`, deployment: `{"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "l"}}}, "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}}`},
			"Deployment l gets no pod: exceeded quota",
		},
		"not scaled": {
			cluster{pods: `{"items": []}`, deployment: `{"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "l"}}}}`},
			"KEDA has not scaled Deployment l up: see kubectl -n ns describe scaledobject so",
		},
		"something else is scaled": {cluster{objects + "so": `{"spec": {"scaleTargetRef": {"kind": "StatefulSet", "name": "l"}}}`}, "see kubectl -n ns describe statefulset l"},
		"a ScaledJob": {
			cluster{objects + "so": "", jobs + "so": `{"metadata": {"uid": "u"}}`, "/api/v1/namespaces/ns/pods?labelSelector=scaledjob.keda.sh%2Fname%3Dso": waiting(`{"reason": "ErrImagePull", "message": "no"}`)},
			"pod l-1 waits: ErrImagePull: no",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster{
				objects + "so": `{"spec": {"scaleTargetRef": {"name": "l"}}}`,
				deployment:     `{"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "l"}}}}`,
			}
			maps.Copy(c, tc.paths)
			n, _ := setUp(c, fake.NewClientset())
			got, err := n.Launcher(t.Context(), "ns", "so")
			if d := cmp.Diff(tc.says, got); d != "" || err != nil {
				t.Errorf("%v: -want +got:\n%s", err, d)
			}
		})
	}
	n, _ := setUp(cluster{objects + "so": "forbidden"}, fake.NewClientset())
	if _, err := n.Launcher(t.Context(), "ns", "so"); !apierrors.IsForbidden(err) {
		t.Errorf("%v", err)
	}
}
