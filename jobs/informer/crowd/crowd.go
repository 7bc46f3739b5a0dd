// Package crowd is an API server that has as many Jobs as wanted, each with its pod, to
// measure what it costs to know them.
//
// It makes each object when it is asked for it, as large as a real one, and sends it as a real
// server does: in protobuf, streamed, or in pages if it is too old to stream. Jobs can be
// created, and their pods begin at once. It knows only what a launcher asks.
package crowd

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	restwatch "k8s.io/client-go/rest/watch"
)

// Crowd is all there is in every namespace. It is an http.Handler.
type Crowd struct {
	// Finished Jobs have completed, the Active ones run; all have a pod, unless there are
	// NoPods.
	Finished, Active int
	NoPods           bool
	// RunLabel is the label with the flow run's id.
	RunLabel string
	// Old is a server that cannot stream lists.
	Old bool
	// Forever leaves Jobs without a time to live.
	Forever bool

	mu       sync.Mutex
	created  int
	watching map[chan<- told]string // what kind
}

// told is what a watch tells of.
type told struct {
	kind string
	watch.Event
}

// Watching is how many watches have told of all there is.
func (c *Crowd) Watching() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.watching)
}

// Created is how many Jobs were created.
func (c *Crowd) Created() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.created
}

const (
	protobuf = runtime.ContentTypeProtobuf
	// version is the resource version of everything.
	version = "4711"
)

// began is when the first Job was created.
func began() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }

// ServeHTTP answers lists and watches of Jobs and pods, and who we are.
func (c *Crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	kind := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch {
	case kind == "jobs" || kind == "pods":
	case strings.HasSuffix(r.URL.Path, "reviews"):
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprint(w, `{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{},"status":{"allowed":true}}`)
		return
	case strings.Contains(r.URL.Path, "/namespaces/"):
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":%q,"uid":"here"}}`, kind)
		return
	default:
		http.NotFound(w, r)
		return
	}
	initial := query.Get("sendInitialEvents") == "true"
	switch {
	case r.Method == http.MethodPost:
		c.create(w, r)
	case query.Get("watch") == "":
		c.list(w, kind, query.Get("limit"), query.Get("continue"), query.Get("resourceVersion"))
	case initial && c.Old:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents is forbidden"}`)
	default:
		c.watch(w, r, kind, initial)
	}
}

// list answers with a page, or with all from the cache for any version, as a server does.
func (c *Crowd) list(w http.ResponseWriter, kind, limit, from, of string) {
	first, _ := strconv.Atoi(from)
	last := c.count(kind)
	meta := metav1.ListMeta{ResourceVersion: version}
	if n, err := strconv.Atoi(limit); err == nil && n > 0 && of != "0" && first+n < last {
		last = first + n
		meta.Continue = strconv.Itoa(last)
	}
	var list runtime.Object
	if kind == "jobs" {
		all := &batchv1.JobList{ListMeta: meta}
		for i := first; i < last; i++ {
			all.Items = append(all.Items, *c.Job(i))
		}
		list = all
	} else {
		all := &corev1.PodList{ListMeta: meta}
		for i := first; i < last; i++ {
			all.Items = append(all.Items, *c.Pod(i))
		}
		list = all
	}
	encoder, _, _ := codec(kind)
	w.Header().Set("Content-Type", protobuf)
	_ = encoder.Encode(list, w)
}

// watch sends all objects if it is asked to, and then those that are created, until the client leaves.
func (c *Crowd) watch(w http.ResponseWriter, r *http.Request, kind string, initial bool) {
	embedded, stream, framer := codec(kind)
	w.Header().Set("Content-Type", protobuf+";stream=watch")
	w.WriteHeader(http.StatusOK)
	encoder := restwatch.NewEncoder(streaming.NewEncoder(framer.NewFrameWriter(w), stream), embedded)
	if initial {
		for i := range c.count(kind) {
			if encoder.Encode(&watch.Event{Type: watch.Added, Object: c.object(kind, i)}) != nil {
				return
			}
		}
		end := metav1.ObjectMeta{ResourceVersion: version, Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}
		var bookmark runtime.Object = &batchv1.Job{ObjectMeta: end}
		if kind == "pods" {
			bookmark = &corev1.Pod{ObjectMeta: end}
		}
		if encoder.Encode(&watch.Event{Type: watch.Bookmark, Object: bookmark}) != nil {
			return
		}
	}
	all := make(chan told, mostUntold)
	c.mu.Lock()
	if c.watching == nil {
		c.watching = map[chan<- told]string{}
	}
	c.watching[all] = kind
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watching, all)
	}()
	for {
		if len(all) == 0 {
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-r.Context().Done():
			return
		case event := <-all:
			if encoder.Encode(&event.Event) != nil {
				return
			}
		}
	}
}

// mostUntold events wait for a watch to tell of them.
const mostUntold = 1 << 16

// create takes a Job, whose pod begins at once.
func (c *Crowd) create(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	embedded, _, _ := codec("jobs")
	var unknown runtime.Unknown
	j := &batchv1.Job{}
	if err := unknown.Unmarshal(bytes.TrimPrefix(raw, []byte("k8s\x00"))); err != nil || j.Unmarshal(unknown.Raw) != nil {
		http.Error(w, "want a Job in protobuf", http.StatusUnsupportedMediaType)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.URL.Query().Get("dryRun") == "" {
		i := 1_000_000 + c.created
		c.created++
		p := c.Pod(i)
		j.UID, j.Namespace, j.CreationTimestamp, j.ResourceVersion = types.UID(jobUID(i)), "flows", metav1.Now(), strconv.Itoa(i)
		p.Name, p.Labels, p.OwnerReferences[0].UID = j.Name+"-abcde", j.Spec.Template.Labels, j.UID
		begun, waits := j.DeepCopy(), p.DeepCopy()
		begun.Status.Active, begun.Status.Ready, begun.Status.StartTime = 1, new(int32(1)), new(metav1.Now())
		waits.Status = corev1.PodStatus{Phase: corev1.PodPending}
		for _, e := range []told{
			{"jobs", watch.Event{Type: watch.Added, Object: j}},
			{"jobs", watch.Event{Type: watch.Modified, Object: begun}},
			{"pods", watch.Event{Type: watch.Added, Object: waits}},
			{"pods", watch.Event{Type: watch.Modified, Object: p}},
		} {
			for watcher, kind := range c.watching {
				if kind == e.kind {
					watcher <- e
				}
			}
		}
	}
	w.Header().Set("Content-Type", protobuf)
	w.WriteHeader(http.StatusCreated)
	_ = embedded.Encode(j, w)
}

func (c *Crowd) count(kind string) int {
	if kind == "pods" && c.NoPods {
		return 0
	}
	return c.Finished + c.Active
}

func (c *Crowd) object(kind string, i int) runtime.Object {
	if kind == "pods" {
		return c.Pod(i)
	}
	return c.Job(i)
}

// codec is what encodes objects of the kind, and a stream of them.
func codec(kind string) (embedded, stream runtime.Encoder, framer runtime.Framer) {
	group, scheme := batchv1.SchemeGroupVersion, runtime.NewScheme()
	add := batchv1.AddToScheme
	if kind == "pods" {
		group, add = corev1.SchemeGroupVersion, corev1.AddToScheme
	}
	if err := add(scheme); err != nil {
		panic(err) // only if two kinds have one name
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(scheme)
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), protobuf)
	return codecs.EncoderForVersion(info.Serializer, group), codecs.EncoderForVersion(info.StreamSerializer.Serializer, group), info.StreamSerializer.Framer
}

// Run is the id of the flow run of Job i.
func Run(i int) string { return fmt.Sprintf("a2f1f7a4-3f3c-4a2e-9d0c-%012x", i) }

func (c *Crowd) labels(i int) map[string]string {
	return map[string]string{
		c.RunLabel: Run(i), "prefect-keda.io/attempt": fmt.Sprintf("b7c0f9a1-0d7e-4c55-8f5d-%012x", i),
		"prefect.io/flow-run-name": fmt.Sprint("brave-salmon-", i), "prefect.io/version": "3.9.1", "prefect.io/work-pool-name": "etl", "prefect.io/work-pool-id": "4cde2f62-93b3-4c0c-9b0e-5d1f6f6d2f02",
		"prefect.io/worker-name": "prefect-keda-launcher-7d9c7bfb8c-abcde", "prefect.io/flow-id": "1a0f8f4d-7b17-4b36-9d51-1ad0b1cf6d35", "prefect.io/flow-name": "nightly-load",
		"prefect.io/deployment-id": "9e0b1e0a-1f4b-4c3b-bd39-1d6b0b2f4c11", "prefect.io/deployment-name": "prod", "app.kubernetes.io/managed-by": "prefect", "app.kubernetes.io/part-of": "prefect",
	}
}

func (c *Crowd) meta(i int, name, uid, manager string) metav1.ObjectMeta {
	at := began().Add(time.Duration(i) * time.Second)
	fields := `{"f:metadata":{"f:labels":{` + strings.Repeat(`"f:prefect.io/deployment-id":{},`, 12) + `".":{}}},"f:spec":{` + strings.Repeat(`"f:containers":{"k:{\"name\":\"prefect-job\"}":{".":{},"f:env":{}}},`, 10) + `".":{}}}`
	return metav1.ObjectMeta{
		Name: name, Namespace: "flows", UID: types.UID(uid), ResourceVersion: strconv.Itoa(100000 + i), CreationTimestamp: metav1.NewTime(at), Labels: c.labels(i),
		ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: "prefect-keda", Operation: "Update", APIVersion: "batch/v1", Time: new(metav1.NewTime(at)), FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)},
			{Manager: manager, Operation: "Update", APIVersion: "batch/v1", Time: new(metav1.NewTime(at)), FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields[:400]), Subresource: "status"},
		},
	}
}

func jobName(i int) string { return fmt.Sprintf("brave-salmon-%08x", i) }
func jobUID(i int) string  { return fmt.Sprintf("5b1b3f0e-7d0a-4c0e-8f0a-%012x", i) }

func podSpec(i int) corev1.PodSpec {
	env := []corev1.EnvVar{{Name: "PREFECT__FLOW_RUN_ID", Value: Run(i)}}
	for n := range 20 {
		env = append(env, corev1.EnvVar{Name: fmt.Sprint("PREFECT_SETTING_", n), Value: "http://prefect-server.prefect.svc.cluster.local:4200/api"})
	}
	return corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: "flows",
		Containers: []corev1.Container{{
			Name: "prefect-job", Image: "registry.example.com/flows/nightly-load:2026-11-01", Args: []string{"prefect", "flow-run", "execute"}, Env: env,
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")}},
		}},
	}
}

// Job is number i.
func (c *Crowd) Job(i int) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: c.meta(i, jobName(i), jobUID(i), "kube-controller-manager")}
	start := metav1.NewTime(j.CreationTimestamp.Add(time.Second))
	end := metav1.NewTime(start.Add(time.Minute))
	j.Spec = batchv1.JobSpec{
		BackoffLimit: new(int32(0)), Parallelism: new(int32(1)), Completions: new(int32(1)), Suspend: new(false), Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: c.labels(i)}, Spec: podSpec(i)},
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"batch.kubernetes.io/controller-uid": jobUID(i)}},
	}
	if !c.Forever {
		j.Spec.TTLSecondsAfterFinished = new(int32(600))
	}
	j.Status.StartTime = &start
	if i >= c.Finished {
		j.Status.Active, j.Status.Ready = 1, new(int32(1))
		return j
	}
	j.Status.Succeeded, j.Status.CompletionTime = 1, &end
	for _, t := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete} {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{
			Type: t, Status: corev1.ConditionTrue, LastProbeTime: end, LastTransitionTime: end, Reason: batchv1.JobReasonCompletionsReached, Message: "Reached expected number of succeeded pods",
		})
	}
	return j
}

// Pod is that of Job i.
func (c *Crowd) Pod(i int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: c.meta(i, fmt.Sprintf("%s-%05x", jobName(i), i), fmt.Sprintf("c0ffee00-7d0a-4c0e-8f0a-%012x", i), "kubelet"), Spec: podSpec(i)}
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: jobName(i), UID: types.UID(jobUID(i)), Controller: new(true), BlockOwnerDeletion: new(true)}}
	start := metav1.NewTime(p.CreationTimestamp.Add(2 * time.Second))
	end := metav1.NewTime(start.Add(time.Minute))
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, HostIP: "10.0.0.7", PodIP: "10.1.7.9", QOSClass: corev1.PodQOSBurstable}
	for _, t := range []corev1.PodConditionType{"PodReadyToStartContainers", corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: start})
	}
	status := corev1.ContainerStatus{Name: "prefect-job", Image: p.Spec.Containers[0].Image, ImageID: "registry.example.com/flows/nightly-load@sha256:" + strings.Repeat("ab", 32), ContainerID: fmt.Sprintf("containerd://%064x", i)}
	status.State.Running = &corev1.ContainerStateRunning{StartedAt: start}
	if i < c.Finished {
		p.Status.Phase = corev1.PodSucceeded
		status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: start, FinishedAt: end, ContainerID: status.ContainerID}}
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{status}
	return p
}
