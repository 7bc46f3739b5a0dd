package fake

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// maxBody is Cloud's limit on a request.
const maxBody = 5 << 20

// ask is a request on its way through the stand-in.
type ask struct {
	*http.Request
	body []byte
	at   time.Time // when the server began with it
}

// handler answers with an HTTP status and a value to encode; nil for no body. It runs with
// the store locked.
type handler func(*ask) (int, any)

// handle serves a route. An unknown request is answered as FastAPI does.
func (a *API) handle(route string, h handler) {
	a.mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, route, h) })
}

func (a *API) serve(w http.ResponseWriter, r *http.Request, route string, h handler) {
	name := strings.ReplaceAll(route, "{$}", "")
	a.count(name)
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return
	}
	if len(body) > maxBody {
		send(w, http.StatusRequestEntityTooLarge, refusal{Detail: "Request body too large"})
		return
	}
	if a.options.Work != nil {
		defer a.counter.Serve(a.options.Work(name))()
	}
	fault := a.fault(name)
	if fault != nil {
		fault.wait(r.Context())
		if !fault.After && fault.strike(w) {
			return
		}
	}
	// A request is carried out though its client has gone: a client that gave up does not
	// know whether it wrote.
	status, text := a.answer(&ask{Request: r, body: body}, h)
	if fault != nil && fault.After && fault.strike(w) {
		return
	}
	write(w, status, text)
}

// answer is a status and the encoded answer. Rows are encoded before others change them.
func (a *API) answer(q *ask, h handler) (int, []byte) {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	q.at = s.catchUp()
	status, out := a.admit(q)
	if status == 0 {
		status, out = h(q)
	}
	if out == nil {
		return status, nil
	}
	return status, a.asOld(encode(out))
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only our own rows are encoded
	}
	return text
}

// admit refuses with a status, or lets pass with zero (prefect3 §7.1).
func (a *API) admit(q *ask) (int, any) {
	if p := q.URL.Path; p != "/health" && p != "/ready" {
		if status, out := a.authenticate(q.Header.Get("Authorization")); status != 0 {
			return status, out
		}
	}
	if a.options.CSRF && q.Method != http.MethodGet {
		if reason := a.store.csrf(q.Header, q.at); reason != "" {
			return http.StatusForbidden, refusal{Detail: reason}
		}
	}
	return apiVersion(q.Header.Get("X-PREFECT-API-VERSION"))
}

func (a *API) authenticate(header string) (int, any) {
	scheme, got, _ := strings.Cut(header, " ")
	switch {
	case a.options.Key != "" && (scheme != "Bearer" || got != a.options.Key):
		return http.StatusUnauthorized, refusal{Exception: "Unauthorized"}
	case a.options.AuthString == "" || !a.version.since(withAuthString):
		return 0, nil
	}
	plain, err := base64.StdEncoding.DecodeString(got)
	switch {
	case regexp.MustCompile(`[^\x00-\x7f]`).Match(plain): // the server compares ASCII only
		return http.StatusInternalServerError, refusal{Exception: "Internal Server Error"}
	case scheme != "Basic" || err != nil || string(plain) != a.options.AuthString:
		return http.StatusUnauthorized, refusal{Exception: "Unauthorized"}
	}
	return 0, nil
}

func apiVersion(header string) (int, any) {
	switch {
	case header == "":
		return 0, nil
	case !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(header):
		return http.StatusBadRequest, refusal{Detail: "Invalid X-PREFECT-API-VERSION header format.Expected header in format 'x.y.z' but received " + header}
	case !parseVersion(header).since("0.8.0"):
		return http.StatusBadRequest, refusal{Detail: "The request specified API version " + header + " but this server requires version 0.8.0 or higher."}
	}
	return 0, nil
}

// base is what comes before the routes: a server's, or a Cloud workspace's.
var base = regexp.MustCompile(`^/api(/accounts/[^/]+/workspaces/[^/]+)?`) //nolint:gochecknoglobals // compiled once

// ServeHTTP serves the routes below /api, and below a Cloud workspace.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	below := r.Clone(r.Context())
	prefix := base.FindString(r.URL.Path)
	below.URL.Path = strings.TrimPrefix(r.URL.Path, prefix)
	below.URL.RawPath = strings.TrimPrefix(r.URL.RawPath, prefix)
	if below.URL.Path == "" {
		below.URL.Path = "/"
	}
	if prefix == "" || !a.knows(below) {
		a.stray(w, r, below)
		return
	}
	a.mux.ServeHTTP(w, below)
}

// knows reports whether a request is for a route by its exact spelling.
func (a *API) knows(r *http.Request) bool {
	_, pattern := a.mux.Handler(r)
	return pattern != "" && strings.HasSuffix(pattern, "/{$}") == strings.HasSuffix(r.URL.Path, "/")
}

// stray answers what no route is for: 307 when only the slash at the end is wrong
// (prefect3 §1.6).
func (a *API) stray(w http.ResponseWriter, r, below *http.Request) {
	a.count("stray")
	turned, toggle := below.Clone(r.Context()), func(path string) string {
		if cut, had := strings.CutSuffix(path, "/"); had {
			return cut
		}
		return path + "/"
	}
	turned.URL.Path, turned.URL.RawPath = toggle(below.URL.Path), ""
	if a.knows(turned) {
		to := *r.URL
		to.Path, to.RawPath = toggle(r.URL.Path), ""
		to.Scheme, to.Host = "http", r.Host
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		if turned.Method, turned.URL.Path = method, below.URL.Path; a.knows(turned) {
			send(w, http.StatusMethodNotAllowed, refusal{Detail: "Method Not Allowed"})
			return
		}
	}
	send(w, http.StatusNotFound, refusal{Detail: "Not Found"})
}

// refusal is an answer that says why not. Validation says it in the second form.
type refusal struct {
	Detail    string          `json:"detail,omitempty"`
	Exception string          `json:"exception_message,omitempty"`
	Problems  []problem       `json:"exception_detail,omitempty"`
	Body      json.RawMessage `json:"request_body,omitempty"`
}

// problem is one of the validation's.
type problem struct {
	Type    string         `json:"type"`
	Loc     []any          `json:"loc"`
	Msg     string         `json:"msg"`
	Input   any            `json:"input"`
	Context map[string]any `json:"ctx,omitempty"`
}

// extra is a member that the server does not know.
func extra(loc ...any) problem {
	return problem{Type: "extra_forbidden", Loc: loc, Msg: "Extra inputs are not permitted"}
}

func (q *ask) invalid(p problem) (int, any) {
	p.Loc = append([]any{"body"}, p.Loc...)
	return http.StatusUnprocessableEntity, refusal{Exception: "Invalid request received.", Problems: []problem{p}, Body: q.body}
}

// decode reads the body. Its answer is a refusal, or zero.
func (q *ask) decode(into any) (int, any) {
	if len(bytes.TrimSpace(q.body)) == 0 {
		q.body = []byte("{}")
	}
	if err := json.Unmarshal(q.body, into); err != nil {
		return q.invalid(problem{Type: "value_error", Msg: "Value error, " + err.Error()})
	}
	return 0, nil
}

func missing(format string, args ...any) (int, any) {
	return http.StatusNotFound, refusal{Detail: fmt.Sprintf(format, args...)}
}

func send(w http.ResponseWriter, status int, out any) {
	write(w, status, encode(out))
}

func write(w http.ResponseWriter, status int, text []byte) {
	if text == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(text) //nolint:errcheck // the client may be gone
}

// nothing is an answer of null, unlike no answer at all.
var nothing = json.RawMessage("null") //nolint:gochecknoglobals // a constant
