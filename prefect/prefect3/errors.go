package prefect3

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// kind is the meaning of an error to us; its text is a metric label.
type kind int

const (
	// transient: the API or the way to it is away, and may have done what was asked.
	transient kind = iota
	// malformed: no valid answer (HTML, empty, other data).
	malformed
	// throttled: refused before anything was done; come back later.
	throttled
	// unsent: the request did not leave in time, so nothing was done.
	unsent
	// cancelled: our caller gave up.
	cancelled
	// auth: the key or password was refused.
	auth
	// csrf: the token is missing or no longer valid.
	csrf
	// rejected: the request itself is wrong and would be wrong again.
	rejected
	// notFound: the request names something that does not exist.
	notFound
	// noRoute: nothing at the API has that path.
	noRoute
	// gone: a lease that has expired.
	gone
	// answerTooLarge: the answer is more than we hold.
	answerTooLarge
)

func (k kind) String() string {
	return [...]string{
		"transient", "malformed", "throttled", "unsent", "cancelled", "auth", "csrf", "rejected", "not_found", "no_route", "gone", "answer_too_large",
	}[k]
}

// Error is a request that failed. errors.Is tells prefect.ErrAuth and prefect.ErrNotFound.
type Error struct {
	// Operation names the request, as the metrics do.
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
		b.WriteString("the Prefect API refused the key or auth string, check it: ")
	case e.kind == csrf:
		b.WriteString("the Prefect API refused the CSRF token: ")
	case e.kind == noRoute:
		b.WriteString("nothing answers at this path of the API URL, check that the URL ends in /api or in the workspace's id: ")
	case e.status >= 300 && e.status < 400:
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
	return target == prefect.ErrAuth && (e.kind == auth || e.kind == csrf) || target == prefect.ErrNotFound && e.kind == notFound
}

// Temporary reports whether the same request may succeed later.
func (e *Error) Temporary() bool { return e.kind <= unsent }

// RetryAfter is the wait that the API asked for, at most exchange.MaxRetryAfter, or zero.
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// is reports whether err is an *Error of that kind.
func (k kind) is(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.kind == k
}

// errorOf is the error of a request without an answer.
func errorOf(f *exchange.Failure) *Error {
	k := map[exchange.Kind]kind{
		exchange.Away: transient, exchange.Unsent: unsent, exchange.Cancelled: cancelled, exchange.TooLarge: answerTooLarge, exchange.Unusable: rejected,
	}[f.Kind]
	return &Error{kind: k, status: f.Status, detail: f.Detail, cause: f.Cause}
}

// classify finds the error in an answer, if there is one. This is the one place that reads
// the API's words (prefect3 §7.1).
func classify(answer *http.Response, text []byte) *Error {
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return nil
	}
	e := &Error{status: answer.StatusCode, detail: wordsOf(text)}
	switch status := answer.StatusCode; {
	case status == http.StatusForbidden && (strings.Contains(e.detail, "CSRF") || strings.Contains(e.detail, "client identifier")):
		e.kind = csrf
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.kind = auth
	case status == http.StatusTooManyRequests:
		e.kind = throttled
	case status == http.StatusNotFound && e.detail == "Not Found", status == http.StatusMethodNotAllowed:
		e.kind = noRoute
	case status == http.StatusNotFound:
		e.kind = notFound
	case status == http.StatusGone:
		e.kind = gone
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status >= 500:
		e.kind = transient
	default: // 3xx and faults of the request: 400, 409, 413, 422, …
		e.kind = rejected
	}
	e.retryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now())
	return e
}

// wordsOf is what an answer says is wrong: in one member or another, in a list of problems,
// or in no JSON at all.
func wordsOf(text []byte) string {
	var said struct {
		Detail    json.RawMessage `json:"detail"`
		Exception string          `json:"exception_message"`
		Problems  json.RawMessage `json:"exception_detail"`
	}
	if json.Unmarshal(text, &said) != nil {
		return string(text)
	}
	var words string
	if json.Unmarshal(said.Detail, &words) != nil {
		words = string(said.Detail)
	}
	return strings.TrimSpace(strings.Join([]string{words, said.Exception, string(said.Problems)}, " "))
}
