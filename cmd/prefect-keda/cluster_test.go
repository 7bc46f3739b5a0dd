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
	deny string // a verb we do not hold

	mu   sync.Mutex
	jobs []*batchv1.Job
}

func newAPIServer(t *testing.T, deny string) *apiServer {
	t.Helper()
	a := &apiServer{deny: deny}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", func(w http.ResponseWriter, r *http.Request) {
		review, _ := decodeBody(r).(*authorizationv1.SelfSubjectAccessReview)
		at := review.Spec.ResourceAttributes
		answer(w, http.StatusCreated, map[string]any{
			"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
			"status": map[string]any{"allowed": at.Verb != a.deny && at.Namespace == "flows"},
		})
	})
	mux.HandleFunc("POST /apis/batch/v1/namespaces/flows/jobs", func(w http.ResponseWriter, r *http.Request) {
		j, _ := decodeBody(r).(*batchv1.Job)
		j.TypeMeta.APIVersion, j.TypeMeta.Kind = "batch/v1", "Job"
		a.mu.Lock()
		a.jobs = append(a.jobs, j)
		a.mu.Unlock()
		answer(w, http.StatusCreated, j)
	})
	mux.HandleFunc("GET /apis/batch/v1/namespaces/flows/jobs", none("batch/v1", "Job"))
	mux.HandleFunc("GET /api/v1/namespaces/flows/pods", none("v1", "Pod"))
	a.Server = httptest.NewServer(mux)
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
