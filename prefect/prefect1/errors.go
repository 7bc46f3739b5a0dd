package prefect1

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// kind is the meaning of an error to us; its text is a metric label.
type kind int

const (
	// unclear: we know neither the error nor whether the write happened.
	unclear kind = iota
	// transient: the API or the way to it is away.
	transient
	// malformed: no valid answer (HTML, empty, other data).
	malformed
	// throttled: refused before anything was done; come back later.
	throttled
	// unsent: the request did not leave in time, so nothing was done.
	unsent
	// cancelled: our caller gave up.
	cancelled
	// auth: the key or tenant was refused.
	auth
	// rejected: the request itself is wrong and would be wrong again.
	rejected
	// notFound: the request names a run that does not exist.
	notFound
	// submitted: Server's lock of 30 s on a run that was submitted before.
	submitted
	// answerTooLarge: the answer is more than we hold.
	answerTooLarge
	// requestTooLarge: a state, or the request, is more than the API takes.
	requestTooLarge
	// locked: Cloud's version lock; somebody else changed the run first.
	locked
)

func (k kind) String() string {
	return [...]string{
		"unclear", "transient", "malformed", "throttled", "unsent", "cancelled",
		"auth", "rejected", "not_found", "submitted", "answer_too_large", "request_too_large", "locked",
	}[k]
}

// Error is a request that failed. errors.Is tells prefect.ErrAuth and
// prefect.ErrNotFound. An error does not prove that nothing was written: the API may fail
// after the write.
type Error struct {
	// Operation is the request's name in queries.graphql.
	Operation string

	kind       kind
	status     int
	detail     string
	retryAfter time.Duration
	cause      error
}

// Error is one line, shortened, without secrets.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Operation + ": ")
	switch {
	case e.kind == auth:
		b.WriteString("the Prefect API refused the key or tenant, check both: ")
	case e.kind == rejected && e.status == http.StatusNotFound:
		b.WriteString("nothing answers GraphQL at the API URL, check it: ")
	case e.kind == rejected && e.status >= 300 && e.status < 400:
		b.WriteString("the API URL redirects elsewhere, set it to the final address: ")
	}
	if e.status != 0 && e.status != http.StatusOK {
		fmt.Fprintf(&b, "HTTP %d: ", e.status)
	}
	b.WriteString(e.detail)
	if e.cause != nil {
		fmt.Fprintf(&b, ": %v", e.cause)
	}
	return strings.TrimSuffix(b.String(), ": ")
}

// Unwrap is the cause below HTTP (a time-out, a refused connection), if any.
func (e *Error) Unwrap() error { return e.cause }

// Is lets callers branch on prefect.ErrAuth and prefect.ErrNotFound.
func (e *Error) Is(target error) bool {
	return target == prefect.ErrAuth && e.kind == auth || target == prefect.ErrNotFound && e.kind == notFound
}

// Temporary reports whether the same request may succeed later.
func (e *Error) Temporary() bool { return e.kind <= unsent }

// Away names the service of a Prefect Server that was away: Apollo, which answered,
// passes on its address (prefect1-server §b).
func (e *Error) Away() string {
	if e.kind != transient {
		return ""
	}
	_, rest, asked := strings.Cut(e.detail, "request to http")
	if !asked {
		return ""
	}
	address, _, _ := strings.Cut("http"+rest, " ")
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "":
		return ""
	case strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/v1/graphql"), strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/v1alpha1/graphql"):
		return fmt.Sprintf("Hasura (%s), by which the Server reads its database,", u.Host)
	}
	return fmt.Sprintf("the Server's GraphQL service (%s)", u.Host)
}

// is reports whether err is an *Error of that kind.
func (k kind) is(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.kind == k
}

// RetryAfter is the wait that the API asked for, at most exchange.MaxRetryAfter, or zero.
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// errorOf is the error of a request without an answer.
func errorOf(f *exchange.Failure) *Error {
	k := map[exchange.Kind]kind{
		exchange.Away: transient, exchange.Unsent: unsent, exchange.Cancelled: cancelled, exchange.TooLarge: answerTooLarge, exchange.Unusable: rejected,
	}[f.Kind]
	return &Error{kind: k, status: f.Status, detail: f.Detail, cause: f.Cause}
}

// graphQLError has the members that all servers agree on.
type graphQLError struct {
	Message    string `json:"message"`
	Extensions struct {
		Code string `json:"code"`
	} `json:"extensions"`
}

// classify finds the error in an answer, if there is one. This is the one place
// that reads the API's words (prefect1 §7.4, §7.5; prefect1-server §a, §b).
func classify(answer *http.Response, text []byte, isJSON bool, rawErrors json.RawMessage) *Error {
	e := &Error{status: answer.StatusCode}
	if isJSON && isPresent(rawErrors) {
		list := decodeErrors(rawErrors)
		if len(list) > 0 {
			e.kind = kindOfErrors(list)
			e.detail = describe(list)
			if k, certain := kindOfStatus(e.status); certain && e.kind == unclear {
				e.kind = k
			}
			return e
		}
	}
	if e.status != http.StatusOK {
		e.kind, _ = kindOfStatus(e.status)
		e.detail = http.StatusText(e.status)
		if location := answer.Header.Get("Location"); location != "" {
			e.detail += " to " + location
		} else if !isJSON && e.kind != transient {
			e.detail += ": " + string(text)
		}
		return e
	}
	if !isJSON {
		e.kind = malformed
		e.detail = "the answer is not JSON but: " + string(text)
		return e
	}
	return nil
}

// kindOfStatus judges by the HTTP status alone. It is certain if that outweighs an error
// text we do not know.
func kindOfStatus(status int) (k kind, certain bool) {
	switch {
	case status == http.StatusOK:
		return unclear, false
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return auth, true
	case status == http.StatusTooManyRequests:
		return throttled, true
	case status == http.StatusRequestEntityTooLarge:
		return requestTooLarge, true
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status >= 500:
		return transient, true
	case status >= 200 && status < 300:
		return malformed, false
	default: // 3xx and faults of the request: 400, 404, 405, …
		return rejected, true
	}
}

// kindOfErrors reads a list of GraphQL errors; the first rule that fits any of
// them decides.
func kindOfErrors(list []graphQLError) kind {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(list, func(g graphQLError) bool {
			return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(g.Message, p) })
		})
	}
	code := func(codes ...string) bool {
		return slices.ContainsFunc(list, func(g graphQLError) bool { return slices.Contains(codes, g.Extensions.Code) })
	}
	switch {
	case code("UNAUTHENTICATED", "FORBIDDEN", "invalid-jwt", "access-denied"),
		has("UNAUTHENTICATED", "Malformed Authorization header"):
		return auth
	case code("VERSION_LOCKING_ERROR"), has("but current version is"):
		return locked
	case has("already been submitted"):
		return submitted
	case has("Foreign key violation"), isUnknownRun(list):
		return notFound
	case has("State payload is too large"):
		return requestTooLarge
	case code("API_ERROR"), has("API_ERROR"), has("request to http"):
		return transient
	case code("GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "BAD_USER_INPUT", "validation-failed", "parse-failed"),
		has("got invalid value", "Unsupported value", "Missing data for required field",
			"Invalid data type", "Invalid UUID", "invalid input syntax", "Uniqueness violation", "No tenant found", "provided a running state"):
		return rejected
	}
	return unclear
}

// isUnknownRun recognises the one wording that gives no reason after the id:
// `State update failed for flow run ID <id>`.
func isUnknownRun(list []graphQLError) bool {
	return slices.ContainsFunc(list, func(g graphQLError) bool {
		for _, of := range []string{"flow", "task"} {
			id, ok := strings.CutPrefix(g.Message, "State update failed for "+of+" run ID ")
			if ok && isUUID(strings.TrimRight(id, ".")) {
				return true
			}
		}
		return false
	})
}

// decodeErrors never fails: errors of an unknown shape become one error with their text.
func decodeErrors(raw json.RawMessage) []graphQLError {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		items = []json.RawMessage{raw}
	}
	list := make([]graphQLError, 0, len(items))
	for _, item := range items {
		var g graphQLError
		if json.Unmarshal(item, &g) != nil || g.Message == "" {
			g.Message = string(item)
		}
		list = append(list, g)
	}
	return list
}

func describe(list []graphQLError) string {
	texts := make([]string, 0, len(list))
	for _, g := range list {
		if !slices.Contains(texts, g.Message) {
			texts = append(texts, g.Message)
		}
	}
	return strings.Join(texts, "; ")
}
