package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

// apiServer speaks as much of the Kubernetes API as the two processes use, over
// HTTP and with bodies in protobuf, so that the clients are the real ones.
type apiServer struct {
	*httptest.Server
	mux *http.ServeMux

	mu   sync.Mutex
	deny string // a verb we do not hold
	// alone is set where nobody may act as another.
	alone bool
	jobs  []*batchv1.Job
	// users are who reads, asks for reviews and creates Jobs.
	users map[string]string
	// failing are requests with the status they get, and its message.
	failing map[string]int
	message string
}

func newAPIServer(t *testing.T, deny string) *apiServer {
	t.Helper()
	a := &apiServer{deny: deny, users: map[string]string{}, failing: map[string]int{}, message: "no"}
	mux := http.NewServeMux()
	a.mux = mux
	for path, object := range map[string]string{
		"/version":                 `{"gitVersion": "v1.34.4"}`,
		"/api/v1/namespaces/flows": `{"metadata": {"uid": "6f1e2d3c"}, "status": {"phase": "Active"}}`,
		"/api/v1/namespaces/flows/serviceaccounts/default": `{}`,
		"/api/v1/namespaces/flows/secrets/prefect-api-key": `{"type": "Opaque", "data": {"api-key": "eA=="}}`,
		"/apis/keda.sh": `{"name": "keda.sh"}`,
		"/apis/keda.sh/v1alpha1/namespaces/etl/scaledobjects": `{"items": []}`,
		"/apis/keda.sh/v1alpha1/namespaces/etl/scaledjobs": `{"items": [{"metadata": {"name": "launcher"},
			"spec": {"triggers": [{"type": "external"}]}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}`,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			a.saw("read", r)
			answer(w, http.StatusOK, json.RawMessage(object))
		})
	}
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", func(w http.ResponseWriter, r *http.Request) {
		a.saw("review", r)
		review, _ := decodeBody(r).(*authorizationv1.SelfSubjectAccessReview)
		at := review.Spec.ResourceAttributes
		answer(w, http.StatusCreated, map[string]any{
			"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
			"status": map[string]any{"allowed": a.allows(at.Verb) && at.Namespace == "flows"},
		})
	})
	mux.HandleFunc("POST /apis/batch/v1/namespaces/flows/jobs", func(w http.ResponseWriter, r *http.Request) {
		a.saw("create", r)
		j, _ := decodeBody(r).(*batchv1.Job)
		j.TypeMeta.APIVersion, j.TypeMeta.Kind = "batch/v1", "Job"
		if r.URL.Query().Get("dryRun") == "" {
			a.mu.Lock()
			a.jobs = append(a.jobs, j)
			a.mu.Unlock()
		}
		answer(w, http.StatusCreated, j)
	})
	mux.HandleFunc("GET /apis/batch/v1/namespaces/flows/jobs", none("batch/v1", "Job"))
	mux.HandleFunc("GET /api/v1/namespaces/flows/pods", none("v1", "Pod"))
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/namespaces/flows/localsubjectaccessreviews", func(w http.ResponseWriter, r *http.Request) {
		review, _ := decodeBody(r).(*authorizationv1.LocalSubjectAccessReview)
		a.mu.Lock()
		a.users["asked about"] = review.Spec.User
		a.mu.Unlock()
		answer(w, http.StatusCreated, map[string]any{
			"apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview",
			"status": map[string]any{"allowed": a.allows(review.Spec.ResourceAttributes.Verb)},
		})
	})
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		code, message := a.failing[r.Method+" "+r.URL.Path], a.message
		if a.alone && r.Header.Get("Impersonate-User") != "" {
			code, message = http.StatusForbidden, "cannot impersonate"
		}
		a.mu.Unlock()
		if code == 0 {
			mux.ServeHTTP(w, r)
			return
		}
		reason := map[int]string{http.StatusForbidden: "Forbidden", http.StatusInternalServerError: "InternalError", http.StatusUnprocessableEntity: "Invalid"}[code]
		answer(w, code, map[string]any{"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message})
	}))
	t.Cleanup(a.Close)
	return a
}

// none lists and watches a kind of which there is nothing to begin with and
// nothing happens.
func none(version, kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			answer(w, http.StatusOK, map[string]any{"apiVersion": version, "kind": kind + "List", "metadata": map[string]any{"resourceVersion": "1"}, "items": []any{}})
			return
		}
		answer(w, http.StatusOK, map[string]any{"type": "BOOKMARK", "object": map[string]any{
			"apiVersion": version, "kind": kind,
			"metadata": map[string]any{"resourceVersion": "1", "annotations": map[string]string{"k8s.io/initial-events-end": "true"}},
		}})
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// kubeconfig is a file that leads to the server.
func (a *apiServer) kubeconfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": [{"name": "c", "cluster": {"server": %q}}], "users": [{"name": "u"}],
		"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}`, a.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serve has it answer one more kind of request.
func (a *apiServer) serve(pattern string, handler http.HandlerFunc) {
	a.mux.HandleFunc(pattern, handler)
}

// fail has a kind of request refused from now on.
func (a *apiServer) fail(request string, code int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failing[request] = code
}

// allows reports whether we hold a verb; "*" denies all.
func (a *apiServer) allows(verb string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.deny != verb && a.deny != "*"
}

// mend gives us every permission.
func (a *apiServer) mend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deny = ""
}

func (a *apiServer) saw(what string, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users[what] = r.Header.Get("Impersonate-User")
}

func (a *apiServer) created() []*batchv1.Job {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.jobs
}

func decodeBody(r *http.Request) any {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil
	}
	return object
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body)
}
