package prefecttest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	gqlerrors "github.com/graph-gophers/graphql-go/errors"
)

const (
	// maxBody is the server's limit on a request.
	maxBody = 5 << 20

	headerAgent  = "X-PREFECT-AGENT-ID"
	headerCore   = "X-PREFECT-CORE-VERSION"
	headerTenant = "X-PREFECT-TENANT-ID"

	codeInternal        = "INTERNAL_SERVER_ERROR"
	codeValidation      = "GRAPHQL_VALIDATION_FAILED"
	codeUnauthenticated = "UNAUTHENTICATED"
)

type headersKey struct{}

func header(ctx context.Context, name string) string {
	h, _ := ctx.Value(headersKey{}).(http.Header)
	return h.Get(name)
}

// answer is the envelope. Data is left out when the request itself was refused.
type answer struct {
	Errors []problem       `json:"errors,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
}

type problem struct {
	Message    string         `json:"message"`
	Locations  []location     `json:"locations,omitempty"`
	Path       []any          `json:"path,omitempty"`
	Extensions map[string]any `json:"extensions"`
}

type location struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

// ServeHTTP answers GraphQL at any path, as the original does.
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
		http.Error(w, "<html><pre>PayloadTooLargeError: request entity too large</pre></html>", http.StatusRequestEntityTooLarge)
		return
	}
	request, err := decodeRequest(body)
	if err != nil {
		send(w, http.StatusBadRequest, refusal("BAD_REQUEST", err.Error()))
		return
	}
	operations := request.rootFields()
	a.count(operations)
	defer a.counter.Serve(a.options.OneAtATime)()
	fault := a.fault(operations)
	if fault != nil {
		fault.wait(r.Context())
		if !fault.After && fault.strike(w) {
			return
		}
	}
	// A request is carried out though its client has gone: a client that gave up does not
	// know whether it wrote.
	status, out := a.answer(context.WithValue(context.WithoutCancel(r.Context()), headersKey{}, r.Header), request)
	if fault != nil && fault.After && fault.strike(w) {
		return
	}
	send(w, status, out)
}

func (a *API) answer(ctx context.Context, request graphqlRequest) (int, answer) {
	if a.options.Key != "" && header(ctx, "Authorization") != "Bearer "+a.options.Key {
		out := refusal(codeUnauthenticated, "AuthenticationError: Forbidden")
		out.Data = json.RawMessage("null")
		return http.StatusOK, out
	}
	// Problems of the document and of unknown keys are 400, as in Apollo; all later ones
	// are 200.
	if problems := a.schema.ValidateWithVariables(request.Query, request.Variables); len(problems) > 0 {
		code := codeValidation
		if problems[0].Rule == "VariablesOfCorrectType" {
			code = codeInternal
		}
		return http.StatusBadRequest, refusal(code, problems[0].Message)
	}
	if err := a.checkIDs(request); err != nil {
		return http.StatusOK, err.answer()
	}
	return http.StatusOK, a.execute(ctx, request)
}

// newProblem is an error as Apollo passes it on.
func newProblem(e *gqlerrors.QueryError, r graphqlRequest) problem {
	p := problem{Message: e.Message, Path: e.Path, Extensions: map[string]any{
		"code": codeInternal, "exception": map[string]any{"message": e.Message},
	}}
	if code, ok := e.Extensions["code"]; ok {
		p.Extensions["code"] = code
	}
	for _, l := range e.Locations {
		p.Locations = append(p.Locations, location{l.Line, l.Column})
	}
	if len(p.Locations) == 0 && len(p.Path) > 0 {
		p.Locations = r.locate(p.Path[0])
	}
	return p
}

func refusal(code, message string) answer {
	return answer{Errors: []problem{{Message: message, Extensions: map[string]any{"code": code}}}}
}

func send(w http.ResponseWriter, status int, out answer) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(out) //nolint:errcheck // the client may be gone
}
