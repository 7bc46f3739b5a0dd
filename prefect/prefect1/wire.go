package prefect1

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/Khan/genqlient/graphql"

	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// wire carries one GraphQL request to the API and its answer back. It is the
// client that generated code calls, and the only place that knows HTTP.
type wire struct {
	identity
	*exchange.Carrier

	endpoint  string
	authorize func(http.Header)
	hasKey    bool
	hide      func(string) string
	userAgent string
}

func newWire(o Options) (*wire, error) {
	through := o.HTTPTransport
	if through == nil {
		through = exchange.Connections()
	}
	carrier, err := exchange.New(exchange.Options{Through: through, Timeout: o.RequestTimeout, MaxAnswer: o.MaxAnswer, Registerer: o.Registerer})
	if err != nil {
		return nil, err
	}
	endpoint, authorize, hide := access(o)
	w := &wire{
		Carrier:   carrier,
		endpoint:  endpoint,
		userAgent: o.UserAgent,
		authorize: authorize,
		hasKey:    o.Key != "",
		hide:      hide,
	}
	if o.TenantID != "" {
		w.tenant.Store(&o.TenantID)
	}
	return w, nil
}

// MakeRequest implements graphql.Client. Every error it returns is an *Error.
func (w *wire) MakeRequest(ctx context.Context, req *graphql.Request, resp *graphql.Response) error {
	started := time.Now()
	err := w.exchange(ctx, req, resp)
	result := "ok"
	if err != nil {
		err.Operation = req.OpName
		// First hide, then shorten: half a key is no longer recognised.
		err.detail = exchange.Shorten(w.hide(err.detail))
		result = err.kind.String()
	}
	w.Count(req.OpName, result, time.Since(started))
	if err != nil {
		return err
	}
	return nil
}

func (w *wire) exchange(ctx context.Context, req *graphql.Request, resp *graphql.Response) *Error {
	// Exactly these two members, as the original client sends. Variables go as
	// an object, where the original sends a string holding JSON; the server
	// takes both.
	body, err := exchange.Encode(struct {
		Query     string `json:"query"`
		Variables any    `json:"variables"`
	}{req.Query, req.Variables})
	if err != nil {
		return &Error{kind: rejected, detail: "encode the request", cause: err}
	}
	var failed *Error
	request := exchange.Request{Method: http.MethodPost, URL: w.endpoint, Head: w.setHeaders, Body: body}
	if unanswered := w.Do(ctx, request, func(answer *http.Response, text []byte) { failed = decodeAnswer(answer, text, resp) }); unanswered != nil {
		return errorOf(unanswered)
	}
	return failed
}

func (w *wire) setHeaders(h http.Header) {
	w.authorize(h)
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json")
	h.Set("User-Agent", w.userAgent)
	h.Set("X-PREFECT-CORE-VERSION", coreVersion)
	if tenant := w.tenantID(); tenant != "" && w.hasKey {
		h.Set("X-PREFECT-TENANT-ID", tenant)
	}
	if agent := w.agentID(); agent != "" {
		h.Set("X-PREFECT-AGENT-ID", agent)
	}
}

// decodeAnswer looks at the errors before the status: the API reports most of what
// goes wrong with status 200.
func decodeAnswer(answer *http.Response, text []byte, resp *graphql.Response) *Error {
	var envelope struct {
		Data   json.RawMessage `json:"data"`
		Errors json.RawMessage `json:"errors"`
	}
	isJSON := json.Unmarshal(text, &envelope) == nil
	if e := classify(answer, text, isJSON, envelope.Errors); e != nil {
		e.retryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now())
		if e.status == http.StatusRequestEntityTooLarge && e.retryAfter > 0 {
			e.kind = throttled // a request too large for ever comes without a time (prefect1 §7.3)
		}
		return e
	}
	if !isPresent(envelope.Data) {
		return &Error{kind: malformed, status: answer.StatusCode, detail: "the answer holds neither data nor errors"}
	}
	if err := json.Unmarshal(envelope.Data, resp.Data); err != nil {
		return &Error{kind: malformed, status: answer.StatusCode, detail: "the answer is not what was asked for", cause: err}
	}
	return nil
}

func isPresent(raw json.RawMessage) bool {
	return len(raw) > 0 && !bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}

// retryAfter reads the header's two forms; zero when there is none to follow.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return time.Duration(min(max(0, seconds), int(exchange.MaxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, at.Sub(now)), exchange.MaxRetryAfter)
	}
	return 0
}
