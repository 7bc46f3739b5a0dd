package prefect3

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// wire carries one request to the API and its answer back. It is the only place that
// knows HTTP.
type wire struct {
	*exchange.Carrier

	base      string
	authorize func(http.Header)
	hide      func(string) string
	// token, of the stream of events, closes over the credentials as authorize and hide do.
	token      func() string
	userAgent  string
	workerName string
	csrf       *csrfToken // nil if tokens are not wanted
}

func newWire(o Options) (*wire, error) {
	through, err := transport(o)
	if err != nil {
		return nil, err
	}
	carrier, err := exchange.New(exchange.Options{Through: through, Timeout: o.RequestTimeout, MaxAnswer: o.MaxAnswer, Registerer: o.Registerer})
	if err != nil {
		return nil, err
	}
	authorize, hide, token := access(o)
	w := &wire{
		Carrier: carrier, base: o.API, authorize: authorize, hide: hide, token: func() string { return token },
		userAgent: o.UserAgent, workerName: o.WorkerName,
	}
	if !o.NoCSRF {
		w.csrf = newCSRFToken()
	}
	return w, nil
}

// call is a request, encoded once, so that all tries send the same body.
type call struct {
	op, method, path string
	body             []byte
}

// newCall encodes a body; nil is none.
func newCall(op, method, path string, body any) (call, error) {
	c := call{op: op, method: method, path: path}
	if body == nil {
		return c, nil
	}
	var err error
	if c.body, err = exchange.Encode(body); err != nil {
		return c, &Error{Operation: op, kind: rejected, detail: "encode the request", cause: err}
	}
	return c, nil
}

// isSafe reports whether a request does without a CSRF token.
func (c call) isSafe() bool { return c.method == http.MethodGet || c.method == http.MethodHead }

// once sends a request, and decodes its answer unless into is nil. Every error is an
// *Error.
func (w *wire) once(ctx context.Context, c call, into any) error {
	began := time.Now()
	err := w.withToken(ctx, c, into)
	result := "ok"
	if err != nil {
		err.Operation = c.op
		// First hide, then shorten: half a key is no longer recognised.
		err.detail = exchange.Shorten(w.hide(err.detail))
		result = err.kind.String()
	}
	w.Count(c.op, result, time.Since(began))
	if err != nil {
		return err
	}
	return nil
}

// withToken sends a request with the CSRF token that the server may demand.
func (w *wire) withToken(ctx context.Context, c call, into any) *Error {
	if w.csrf == nil || c.isSafe() {
		return w.exchange(ctx, c, "", into)
	}
	token := w.csrf.known(time.Now())
	err := w.exchange(ctx, c, token, into)
	if err == nil || err.kind != csrf {
		return err
	}
	token, failed := w.csrf.renew(ctx, w, token)
	if failed != nil {
		return failed
	}
	return w.exchange(ctx, c, token, into)
}

func (w *wire) exchange(ctx context.Context, c call, token string, into any) *Error {
	var failed *Error
	request := exchange.Request{Method: c.method, URL: w.base + c.path, Head: func(h http.Header) { w.setHeaders(h, c, token) }, Body: c.body}
	if unanswered := w.Do(ctx, request, func(answer *http.Response, text []byte) { failed = decodeAnswer(answer, text, into) }); unanswered != nil {
		return errorOf(unanswered)
	}
	return failed
}

// decodeAnswer decodes an answer that is no error, unless into is nil.
func decodeAnswer(answer *http.Response, text []byte, into any) *Error {
	if failed := classify(answer, text); failed != nil {
		return failed
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return &Error{kind: malformed, status: answer.StatusCode, detail: "the answer is not what was asked for but: " + string(text), cause: err}
	}
	return nil
}

func (w *wire) setHeaders(h http.Header, c call, token string) {
	w.authorize(h)
	if c.body != nil {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Accept", "application/json")
	h.Set("User-Agent", w.userAgent)
	h.Set("X-Prefect-Worker-Name", headerText(w.workerName))
	if token != "" {
		h.Set("Prefect-Csrf-Token", token)
		h.Set("Prefect-Csrf-Client", w.csrf.client)
	}
}

// headerText is a text that HTTP can carry.
func headerText(s string) string { return url.PathEscape(s) }

// retryAfter reads the header's two forms, of which the API writes seconds with a
// fraction; zero when there is none to follow.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseFloat(header, 64); err == nil && !math.IsNaN(seconds) {
		return time.Duration(min(max(0, seconds), exchange.MaxRetryAfter.Seconds()) * float64(time.Second))
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, at.Sub(now)), exchange.MaxRetryAfter)
	}
	return 0
}
