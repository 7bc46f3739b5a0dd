package kube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/kube"
)

const kubeconfig = `
apiVersion: v1
kind: Config
current-context: one
clusters: [{name: c, cluster: {server: "https://one:6443"}}, {name: d, cluster: {server: "https://two:6443"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: one, context: {cluster: c, user: u}}, {name: two, context: {cluster: d, user: u}}]
`

func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for context, host := range map[string]string{"": "https://one:6443", "two": "https://two:6443"} {
		got, source, err := kube.Config(kube.Options{Kubeconfig: path, Context: context, QPS: 7, Burst: 9, UserAgent: "ua"})
		if err != nil {
			t.Fatal(err)
		}
		type facts struct {
			Host, ContentType, UserAgent, Source string
			QPS                                  float32
			Burst                                int
		}
		want := facts{host, "application/vnd.kubernetes.protobuf", "ua", "kubeconfig " + path, 7, 9}
		if d := cmp.Diff(want, facts{got.Host, got.ContentType, got.UserAgent, source, got.QPS, got.Burst}); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
	_, _, err := kube.Config(kube.Options{Kubeconfig: path, Context: "three"})
	if err == nil || !strings.Contains(err.Error(), `context "three" does not exist`) {
		t.Errorf("an unknown context: %v", err)
	}
	_, _, err = kube.Config(kube.Options{Kubeconfig: path + "-missing"})
	if err == nil || !strings.Contains(err.Error(), "set KUBECONFIG or --kubeconfig") {
		t.Errorf("a missing file: %v", err)
	}
}

// Calls get a deadline and keep it while the body is read; watches get none.
func TestDeadlines(t *testing.T) {
	deadline := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(kubeconfig, "https://one:6443", server.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	config, _, err := kube.Config(kube.Options{Kubeconfig: path, QPS: 1, Burst: 1, KeepAlive: true})
	if err != nil {
		t.Fatal(err)
	}
	// Innermost, so that it sees what leaves the process.
	outer := config.WrapTransport
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		return outer(roundTrip(func(r *http.Request) (*http.Response, error) {
			_, deadline[r.URL.RequestURI()] = r.Context().Deadline()
			return next.RoundTrip(r)
		}))
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, uri := range []string{"/list", "/list?watch=true"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var body map[string]any
		if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
		response.Body.Close()
	}
	if d := cmp.Diff(map[string]bool{"/list": true, "/list?watch=true": false}, deadline); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// allow answers reviews; it allows "verb resource.group namespace".
type allow map[string]bool

func (a allow) Create(ctx context.Context, r *authorizationv1.SelfSubjectAccessReview, _ metav1.CreateOptions) (*authorizationv1.SelfSubjectAccessReview, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	at := r.Spec.ResourceAttributes
	resource := at.Resource
	if at.Subresource != "" {
		resource += "(" + at.Subresource + ")"
	}
	if at.Name != "" {
		resource += "(" + at.Name + ")"
	}
	r = r.DeepCopy()
	r.Status.Allowed = a[at.Verb+" "+resource+"."+at.Group+" "+at.Namespace]
	return r, nil
}

func TestCheck(t *testing.T) {
	permissions := []kube.Permission{
		{Verb: "create", Group: "batch", Resource: "jobs", For: "to launch"},
		{Verb: "list", Group: "batch", Resource: "jobs", For: "to know"},
		{Verb: "get", Resource: "pods/log", For: "to tell"},
		{Verb: "get", Resource: "namespaces", For: "to tell apart"},
	}
	all := allow{"create jobs.batch a": true, "list jobs.batch a": true, "get pods(log). a": true, "get namespaces(a). a": true, "list jobs.batch b": true}
	if err := kube.Check(t.Context(), all, permissions, "a"); err != nil {
		t.Error(err)
	}
	err := kube.Check(t.Context(), all, permissions, "a", "d", "b", "c")
	want := "the service account may do nothing in namespace c, d: check that the namespace exists and is spelled right, and apply the manifests again, which bind the Role in it; " +
		"the service account lacks permissions in namespace b: create jobs.batch (to launch), get pods/log (to tell), get namespaces (to tell apart). Add them to its Role"
	if d := cmp.Diff(want, fmt.Sprint(err)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if _, ok := errors.AsType[*kube.MissingError](err); !ok {
		t.Errorf("%T is not a MissingError", err)
	}
	// That the question could not be asked is another matter.
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	err = kube.Check(ctx, all, kube.ScalerPermissions(), "a")
	if _, ok := errors.AsType[*kube.MissingError](err); ok || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an API server that is away: %v", err)
	}
}

// Using is asked for by the account's own name, in the pods' namespace alone.
func TestMayUse(t *testing.T) {
	rules := allow{"use serviceaccounts(data). flows": true}
	for at, want := range map[[2]string]bool{{"flows", "data"}: true, {"flows", "other"}: false, {"prefect-keda", "data"}: false} {
		if got, err := kube.MayUse(t.Context(), rules, at[0], at[1]); got != want || err != nil {
			t.Errorf("%v: %v, %v", at, got, err)
		}
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if got, err := kube.MayUse(ctx, rules, "flows", "data"); got || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an API server that is away: %v, %v", got, err)
	}
}

// What somebody else may do is asked with the groups that Kubernetes puts them in,
// in the namespace alone, and nobody is impersonated.
func TestReviewsOf(t *testing.T) {
	asked := map[string][]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review authorizationv1.LocalSubjectAccessReview
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &review) != nil {
			t.Errorf("%v of %s", err, body)
		}
		if want := "POST /apis/authorization.k8s.io/v1/namespaces/flows/localsubjectaccessreviews"; r.Method+" "+r.URL.RequestURI() != want || r.Header.Get("Impersonate-User") != "" {
			t.Errorf("%s %s as %s, want %s", r.Method, r.URL.RequestURI(), r.Header.Get("Impersonate-User"), want)
		}
		asked[review.Spec.User] = append(review.Spec.Groups, review.Namespace, review.Spec.ResourceAttributes.Namespace)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"apiVersion":"authorization.k8s.io/v1","kind":"LocalSubjectAccessReview","status":{"allowed":%t}}`, review.Spec.ResourceAttributes.Verb != "delete")
	}))
	defer server.Close()
	client, err := kube.NewClient(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	const account = "system:serviceaccount:prefect-keda:prefect-keda-launcher"
	for _, user := range []string{account, "jane"} {
		err = kube.Check(t.Context(), client.ReviewsOf(user), kube.LauncherPermissions(), "flows")
		if missing, ok := errors.AsType[*kube.MissingError](err); !ok || len(missing.Missing["flows"]) != 1 {
			t.Errorf("%s: %v; want delete alone to be missing", user, err)
		}
	}
	want := map[string][]string{
		account: {"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:prefect-keda", "flows", "flows"},
		"jane":  {"system:authenticated", "flows", "flows"},
	}
	if d := cmp.Diff(want, asked); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// The paths are Kubernetes' own; a client of selected kinds must know their
// groups, and decode both kinds of bodies.
func TestClientReadsPods(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.RequestURI() {
		case "/api/v1/namespaces/flows/pods?labelSelector=a":
			fmt.Fprint(w, `{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"p"},"status":{"phase":"Failed"}}]}`)
		case "/api/v1/namespaces/flows/events?fieldSelector=involvedObject.uid%3Du":
			fmt.Fprint(w, `{"apiVersion":"v1","kind":"EventList","items":[{"metadata":{"name":"e"},"reason":"FailedScheduling"}]}`)
		case "/api/v1/namespaces/flows/pods/p/log?container=flow&tailLines=3":
			fmt.Fprint(w, "last words\n")
		case "/api/v1/namespaces/flows":
			fmt.Fprint(w, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"flows","uid":"6f1e2d3c"}}`)
		default:
			t.Errorf("asked for %s", r.URL.RequestURI())
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	client, err := kube.NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	pods, err := client.Pods("flows").List(t.Context(), metav1.ListOptions{LabelSelector: "a"})
	if err != nil {
		t.Fatal(err)
	}
	events, err := client.Events("flows").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.uid=u"})
	if err != nil {
		t.Fatal(err)
	}
	log, err := client.Logs("flows")(t.Context(), "p", corev1.PodLogOptions{Container: "flow", TailLines: new(int64(3))})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(log)
	if err := errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
	uid, err := client.NamespaceUID(t.Context(), "flows")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{pods.Items[0].Name, string(pods.Items[0].Status.Phase), events.Items[0].Reason, string(text), uid}
	if d := cmp.Diff([]string{"p", "Failed", "FailedScheduling", "last words\n", "6f1e2d3c"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
