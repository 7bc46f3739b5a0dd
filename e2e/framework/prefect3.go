package framework

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/prefect-keda/prefect-keda/e2e/prefectapi"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/job/workpool"
)

// server is the real Prefect 3 server that all scenarios share. The first that needs it
// starts it.
type server struct {
	once      sync.Once
	err       error
	namespace string
	image     string
	api       *prefectapi.Client
}

// prefect3 starts the server, or waits for the scenario that does.
func (s *Suite) prefect3(t *testing.T) *server {
	t.Helper()
	s.real.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute) // the image may have to be built
		defer cancel()
		s.real.err = s.startPrefect3(ctx)
	})
	if s.real.err != nil {
		t.Fatalf("start the real Prefect 3 server: %v", s.real.err)
	}
	return &s.real
}

func (s *Suite) startPrefect3(ctx context.Context) error {
	r := &s.real
	var err error
	if r.image, err = s.Cluster.Prefect3Image(ctx); err != nil {
		return err
	}
	r.namespace = namespaceName("prefect3")
	if _, err := s.Client.CoreV1().Namespaces().Create(ctx, namespaceObject(r.namespace), metav1.CreateOptions{}); err != nil {
		return err
	}
	objects, err := product.Prefect3(r.namespace, r.image)
	if err != nil {
		return err
	}
	if err := product.Apply(ctx, s.Dynamic, s.Mapper, objects, false); err != nil {
		return err
	}
	service, err := s.Client.CoreV1().Services(r.namespace).Get(ctx, product.Server, metav1.GetOptions{})
	if err != nil {
		return err
	}
	r.api = prefectapi.New("http://"+product.Server+"/api", product.AuthString(), s.Cluster.Transport(net.JoinHostPort(service.Spec.ClusterIP, "4200")))
	began := time.Now()
	for {
		if err = r.api.Ready(ctx); err == nil {
			fmt.Fprintf(s.out, "    the real Prefect 3 server is ready after %.0f s\n", time.Since(began).Seconds())
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until it is ready: %w", err)
		case <-time.After(time.Second):
		}
	}
}

// end removes the server.
func (s *Suite) endPrefect3() {
	if s.real.namespace == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.removeNamespace(ctx, s.real.namespace); err != nil {
		fmt.Fprintln(s.out, err)
	}
}

// PoolEnv is an Env with work pools of the real Prefect 3 server in place of the stand-in.
type PoolEnv struct {
	*Env
	// Server is that of all scenarios.
	Server *prefectapi.Client
	// Pool is the first work pool that the launcher serves; all begin with the namespace's name.
	Pool   string
	server *server
}

// InstallForPools installs scaler and launcher for the real Prefect 3 server, in namespaces of
// their own, with a work pool, and returns when they are ready to scale from zero. Further
// pools have a suffix each.
func (s *Suite) InstallForPools(t *testing.T, further []string, changes ...Change) *PoolEnv {
	t.Helper()
	e := s.poolEnv(t)
	pools := []string{e.Pool}
	for _, suffix := range further {
		pools = append(pools, e.Pool+suffix)
	}
	objects, err := product.RenderForPrefect3(s.Root, e.Namespace, product.Prefect3URL(e.server.namespace), pools...)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range append([]Change{FastFeedback(), e.secrets()}, changes...) {
		objects = change(objects)
	}
	e.apply(objects)
	for _, pool := range pools {
		e.CreatePool(pool, 0)
	}
	e.awaitReady(objects)
	return e
}

// PoolsOnly is an environment with a work pool and nothing of ours in its namespaces.
func (s *Suite) PoolsOnly(t *testing.T) *PoolEnv {
	t.Helper()
	e := s.poolEnv(t)
	e.createNamespaces()
	e.apply(product.AuthSecrets(e.Namespace, e.Flows))
	e.CreatePool(e.Pool, 0)
	return e
}

func (s *Suite) poolEnv(t *testing.T) *PoolEnv {
	t.Helper()
	r := s.prefect3(t)
	e := &PoolEnv{Env: s.namespace(t, workpool.LabelFlowRunID), Server: r.api, server: r}
	e.Pool = e.Namespace
	e.flowRuns = e.knownRuns
	return e
}

// CreatePool makes a work pool whose flows run in the scenario's namespace and in the image of
// the flows. A limit of 0 means none.
func (e *PoolEnv) CreatePool(name string, limit int) {
	e.t.Helper()
	defaults := map[string]any{"namespace": e.Flows, "image": e.server.image}
	if err := e.Server.CreatePool(e.t.Context(), name, prefectapi.Template(defaults), limit); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		// Its runs would be work for the server and for all scalers.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := e.Server.DeletePool(ctx, name); err != nil {
			e.t.Log(err)
		}
	})
}

// secrets adds the server's auth string for scaler and launcher, and for the flows.
func (e *PoolEnv) secrets() Change {
	return func(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
		first := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() != "Namespace" })
		return slices.Insert(objects, first, product.AuthSecrets(e.Namespace, e.Flows)...)
	}
}

// knownRuns is what the server knows of the scenario's flow runs.
func (e *PoolEnv) knownRuns(ctx context.Context) (any, error) {
	type known struct {
		Run    prefectapi.Run
		States []prefectapi.State
		Logs   []string
	}
	runs, err := e.Server.Runs(ctx, e.Pool)
	var all []known
	for _, r := range runs[:min(len(runs), 20)] {
		k := known{Run: r}
		k.States, _ = e.Server.States(ctx, r.ID)
		k.Logs, _ = e.Server.Logs(ctx, r.ID)
		all = append(all, k)
	}
	return all, err
}

// KillServer ends the real server by SIGKILL; another one takes its place.
func (e *PoolEnv) KillServer() {
	e.t.Helper()
	pods := e.Client.CoreV1().Pods(e.server.namespace)
	err := pods.DeleteCollection(e.t.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)},
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + product.Server})
	if err != nil {
		e.t.Fatal(err)
	}
}

// WaitForServer waits until the real server answers.
func (e *PoolEnv) WaitForServer() {
	e.t.Helper()
	e.Eventually(3*time.Minute, "the real server is ready", func(ctx context.Context) (string, bool) {
		err := e.Server.Ready(ctx)
		return fmt.Sprint(err), err == nil
	})
}

// Requests counts the requests that the server has answered to pods, by their addresses and by
// route, as in "POST /flow_runs/filter".
func (e *PoolEnv) Requests() map[string]Routes {
	e.t.Helper()
	pods, err := e.Client.CoreV1().Pods(e.server.namespace).List(e.t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + product.Server})
	if err != nil || len(pods.Items) != 1 {
		e.t.Fatalf("the server's pods: %d, %v", len(pods.Items), err)
	}
	text, err := e.Client.CoreV1().Pods(e.server.namespace).GetLogs(pods.Items[0].Name, &corev1.PodLogOptions{}).DoRaw(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	counts := map[string]Routes{}
	for line := range strings.Lines(string(text)) {
		// INFO:     10.244.0.7:41822 - "POST /api/flow_runs/filter HTTP/1.1" 200 OK
		if before, after, found := strings.Cut(line, ` - "`); found {
			fields := strings.Fields(before)
			host, _, err := net.SplitHostPort(fields[len(fields)-1])
			if err != nil {
				continue
			}
			if counts[host] == nil {
				counts[host] = Routes{}
			}
			route, _, _ := strings.Cut(after, " HTTP/")
			counts[host][ids.ReplaceAllString(strings.Replace(route, " /api", " ", 1), "{id}")]++
		}
	}
	return counts
}

var ids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`) //nolint:gochecknoglobals // compiled once

// Routes counts requests by route.
type Routes map[string]int

// Total is how many there are in all.
func (r Routes) Total() (n int) {
	for _, of := range r {
		n += of
	}
	return n
}
