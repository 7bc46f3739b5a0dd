package prefect1_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenantID = "68c9ef1d-8478-417c-8fd3-2ee9b0200fb7"
	agentID  = "95ff5f66-3ea5-46d5-8ef7-b86408955915"
	runID    = "f0c7d610-1126-4814-ad8a-59ee0799858b"
	taskID   = "33333333-3333-4333-8333-333333333333"
)

// request is one GraphQL request as it reached the other end.
type request struct {
	Op        string
	Query     string          `json:"query"`
	Variables json.RawMessage `json:"variables"`
	Header    http.Header
	Members   []string
	Size      int
}

// answer writes the answer to a request.
type answer func(http.ResponseWriter, request)

// answers has the answer to each operation.
type answers map[string]answer

func ok(data string) answer { return status(http.StatusOK, `{"data":`+data+`}`) }

func status(code int, body string) answer {
	return func(w http.ResponseWriter, _ request) {
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// hangUp loses the answer.
func hangUp(http.ResponseWriter, request) { panic(http.ErrAbortHandler) }

// fakeAPI gives the set answers over HTTP and keeps the requests.
type fakeAPI struct {
	answers answers
	server  *httptest.Server

	mu       sync.Mutex
	requests []request
}

func newFakeAPI(t *testing.T, a answers) *fakeAPI {
	t.Helper()
	f := &fakeAPI{answers: a}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var req request
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &req) != nil || json.Unmarshal(body, &members) != nil {
		http.Error(w, "not a GraphQL request", http.StatusBadRequest)
		return
	}
	for m := range members {
		req.Members = append(req.Members, m)
	}
	req.Header, req.Size = r.Header, len(body)
	if m := regexp.MustCompile(`^\s*(?:query|mutation) (\w+)`).FindStringSubmatch(req.Query); m != nil {
		req.Op = m[1]
	}
	f.mu.Lock()
	f.requests = append(f.requests, req)
	f.mu.Unlock()
	reply, found := f.answers[req.Op]
	if !found && req.Op == "tenantByID" {
		reply, found = ok(`{"tenant":[{"id":"`+tenantID+`"}]}`), true
	}
	if !found {
		http.Error(w, "no answer for "+req.Op, http.StatusNotImplemented)
		return
	}
	reply(w, req)
}

// asked are the requests of one operation, or all for "".
func (f *fakeAPI) asked(op string) []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var some []request
	for _, r := range f.requests {
		if op == "" || r.Op == op {
			some = append(some, r)
		}
	}
	return some
}

// client speaks to the fake; change edits the options before.
func (f *fakeAPI) client(t *testing.T, change ...func(*prefect1.Options)) *prefect1.Client {
	t.Helper()
	o := prefect1.Options{
		API: f.server.URL, Backend: prefect1.Server, TenantID: tenantID, AgentName: "k8s-agent",
		HTTPTransport: f.server.Client().Transport,
	}
	for _, c := range change {
		c(&o)
	}
	c, err := prefect1.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func decoded(t *testing.T, raw []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("decode %s: %v", raw, err)
	}
	return v
}

// at digs into decoded JSON: a string is a member, an int an element.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, is := v.(map[string]any)
			if !is {
				t.Fatalf("no member %q in %v", p, v)
			}
			v = m[p]
		case int:
			l, is := v.([]any)
			if !is || p >= len(l) {
				t.Fatalf("no element %d in %v", p, v)
			}
			v = l[p]
		}
	}
	return v
}

// madeOf is the recipe that the client gave a run.
func madeOf(run prefect.FlowRun) recipe.Recipe {
	made, _ := recipe.Of(run)
	return made
}

func tasksOf(run prefect.FlowRun) []recipe.Task { return madeOf(run).DueTasks }
