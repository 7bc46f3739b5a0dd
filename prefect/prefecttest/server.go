package prefecttest

import (
	"context"
	_ "embed"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	graphql "github.com/graph-gophers/graphql-go"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

//go:embed schema.graphql
var schemaText string //nolint:gochecknoglobals // embedded text

// maxBody is the server's limit on a request.
const maxBody = 5 << 20

// Options change what is stood in for. The zero value is one Prefect Server.
type Options struct {
	// Now is the server's clock; nil for the real one.
	Now func() time.Time
	// Replicas of the API process; each has its own memory of what was submitted.
	Replicas int
	// Key makes it demand this API key, as Cloud does.
	Key string
}

// API is a Prefect 1.x API: an http.Handler, and the other side's levers.
type API struct {
	store  *store
	schema *graphql.Schema
	key    string

	mu     sync.Mutex
	counts map[string]int
	faults []*Fault
}

// New is an API with one tenant and nothing in it.
func New(o Options) *API {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &API{store: newStore(o.Now, o.Replicas), key: o.Key, counts: map[string]int{}}
	a.schema = graphql.MustParseSchema(schemaText, &resolver{a}, graphql.UseFieldResolvers(), graphql.MaxDepth(10))
	return a
}

// Start serves the API on a loopback port until the test ends.
func (a *API) Start(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return server.URL
}

type headersKey struct{}

func header(ctx context.Context, name string) string {
	h, _ := ctx.Value(headersKey{}).(http.Header)
	return h.Get(name)
}

type graphqlError struct {
	Message    string         `json:"message"`
	Locations  []any          `json:"locations"`
	Path       []any          `json:"path,omitempty"`
	Extensions map[string]any `json:"extensions"`
}

// ServeHTTP answers GraphQL at any path, as the original is mounted.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "POST a GraphQL request", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return
	}
	if len(body) > maxBody {
		http.Error(w, "<html>request entity too large</html>", http.StatusRequestEntityTooLarge)
		return
	}
	request, err := decodeRequest(body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "BAD_REQUEST", err.Error())
		return
	}
	operations := rootFields(request.Query)
	a.count(operations)
	if a.key != "" && r.Header.Get("Authorization") != "Bearer "+a.key {
		refuse(w, http.StatusOK, "UNAUTHENTICATED", "AuthenticationError: Forbidden")
		return
	}
	fault := a.fault(operations)
	if fault != nil && !fault.After && fault.strike(r.Context(), w) {
		return
	}
	ctx := context.WithValue(r.Context(), headersKey{}, r.Header)
	// Errors of validation are 400, as Apollo has them; errors of execution 200.
	if problems := a.schema.ValidateWithVariables(request.Query, request.Variables); len(problems) > 0 {
		refuse(w, http.StatusBadRequest, "GRAPHQL_VALIDATION_FAILED", problems[0].Message)
		return
	}
	answer := a.schema.Exec(ctx, request.Query, request.OperationName, request.Variables)
	if fault != nil && fault.After && fault.strike(r.Context(), w) {
		return
	}
	out := map[string]any{"data": answer.Data}
	if len(answer.Errors) > 0 {
		var problems []graphqlError
		for _, e := range answer.Errors {
			ge := graphqlError{Message: e.Message, Locations: []any{}, Path: e.Path, Extensions: map[string]any{"code": "INTERNAL_SERVER_ERROR"}}
			for _, l := range e.Locations {
				ge.Locations = append(ge.Locations, map[string]int{"line": l.Line, "column": l.Column})
			}
			problems = append(problems, ge)
		}
		out["errors"] = problems
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(w).Encode(out)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	answer := map[string]any{"errors": []graphqlError{{Message: message, Locations: []any{}, Extensions: map[string]any{"code": code}}}}
	if status == http.StatusOK {
		answer["data"] = nil
	}
	json.NewEncoder(w).Encode(answer)
}

type graphqlRequest struct {
	Query         string
	OperationName string
	Variables     map[string]any
}

// decodeRequest takes variables as an object or, from the Python client, as a
// string of JSON.
func decodeRequest(body []byte) (graphqlRequest, error) {
	var raw struct {
		Query         string          `json:"query"`
		OperationName string          `json:"operationName"`
		Variables     json.RawMessage `json:"variables"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return graphqlRequest{}, err
	}
	request := graphqlRequest{Query: raw.Query, OperationName: raw.OperationName}
	var text string
	if json.Unmarshal(raw.Variables, &text) == nil && text != "" {
		raw.Variables = []byte(text)
	}
	if len(raw.Variables) == 0 {
		return request, nil
	}
	return request, json.Unmarshal(raw.Variables, &request.Variables)
}

// rootFields are the operations a document asks for; none when it does not parse.
func rootFields(query string) []string {
	document, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		return nil
	}
	var names []string
	for _, operation := range document.Operations {
		for _, selection := range operation.SelectionSet {
			if f, ok := selection.(*ast.Field); ok {
				names = append(names, f.Name)
			}
		}
	}
	return names
}

func (a *API) count(operations []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts["requests"]++
	for _, name := range operations {
		a.counts[name]++
	}
}

// Counts says how often each root field was asked for, and "requests" how often
// anything was.
func (a *API) Counts() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.counts)
}

// Fault is something going wrong with requests.
type Fault struct {
	// Operation is the root field it concerns; empty for all.
	Operation string `json:"operation"`
	// Times it strikes; zero is until cleared.
	Times int `json:"times"`
	// After lets the request be carried out first, so that only its answer is lost.
	After bool `json:"after"`
	// Delay comes before anything else.
	Delay Duration `json:"delay"`
	// Status answers with this HTTP status.
	Status     int    `json:"status"`
	RetryAfter string `json:"retry_after"`
	// Error answers with a GraphQL error of this text.
	Error string `json:"error"`
	// Drop closes the connection without an answer.
	Drop bool `json:"drop"`
}

// Duration is a time.Duration that JSON spells "1.5s".
type Duration time.Duration

// MarshalText spells the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Break makes something go wrong from now on.
func (a *API) Break(f Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, &f)
}

// Mend clears all faults.
func (a *API) Mend() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = nil
}

func (a *API) fault(operations []string) *Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, f := range a.faults {
		if f.Operation != "" && !strings.Contains(" "+strings.Join(operations, " ")+" ", " "+f.Operation+" ") {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				a.faults = append(a.faults[:i:i], a.faults[i+1:]...)
			}
		}
		struck := *f
		return &struck
	}
	return nil
}

// strike reports whether the request is over with.
func (f *Fault) strike(ctx context.Context, w http.ResponseWriter) bool {
	if f.Delay > 0 {
		select {
		case <-time.After(time.Duration(f.Delay)):
		case <-ctx.Done():
		}
	}
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		http.Error(w, "<html>"+http.StatusText(f.Status)+"</html>", f.Status)
		return true
	case f.Error != "":
		refuse(w, http.StatusOK, "INTERNAL_SERVER_ERROR", f.Error)
		return true
	}
	return false
}
