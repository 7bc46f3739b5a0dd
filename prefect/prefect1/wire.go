package prefect1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Khan/genqlient/graphql"
)

const (
	// maxLarge answers of more than a sixteenth of what one may be are held at once.
	maxLarge = 2
	// idleConns is how many connections wait for the next burst of claims.
	idleConns = 32
	// maxRetryAfter is the longest we stay away because the API asked for it: a
	// proxy's mistake or a wrong clock must not stop us for a day.
	maxRetryAfter = 5 * time.Minute
	// idleTime is shorter than the 5 s after which Node, and so the API, hangs
	// up: a claim sent into a closing connection would be an Unknown.
	idleTime = 4 * time.Second
)

// wire carries one GraphQL request to the API and its answer back. It is the
// client that generated code calls, and the only place that knows HTTP.
type wire struct {
	identity

	endpoint string
	http     *http.Client
	timeout  time.Duration
	metrics  *metrics
	// authorize and hide close over the key, so that printing a client with
	// %+v cannot print the key.
	authorize func(http.Header)
	hide      func(string) string
	userAgent string
	maxAnswer int
	large     chan struct{} // taken while a large answer is held
}

func newWire(o Options, m *metrics) *wire {
	transport := o.HTTPTransport
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = idleConns
		t.IdleConnTimeout = idleTime
		transport = t
	}
	key := o.Key
	w := &wire{
		endpoint: o.API,
		http: &http.Client{
			Transport: transport,
			// A redirected POST turns into a GET and would hand the key to
			// another host: better an error that says where the API went.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout:   o.RequestTimeout,
		metrics:   m,
		userAgent: o.UserAgent,
		maxAnswer: o.MaxAnswer,
		large:     make(chan struct{}, maxLarge),
		authorize: func(h http.Header) {
			if key != "" {
				h.Set("Authorization", "Bearer "+key)
			}
		},
		hide: func(s string) string {
			if key == "" {
				return s
			}
			return strings.ReplaceAll(s, key, "[hidden]")
		},
	}
	if o.TenantID != "" {
		w.tenant.Store(&o.TenantID)
	}
	return w
}

// MakeRequest implements graphql.Client. Every error it returns is an *Error.
func (w *wire) MakeRequest(ctx context.Context, req *graphql.Request, resp *graphql.Response) error {
	started := time.Now()
	err := w.exchange(ctx, req, resp)
	result := "ok"
	if err != nil {
		err.Operation = req.OpName
		// First hide, then shorten: half a key is no longer recognised.
		err.detail = shorten(w.hide(err.detail))
		result = err.kind.String()
	}
	w.metrics.observe(req.OpName, result, time.Since(started))
	if err != nil {
		return err
	}
	return nil
}

func (w *wire) exchange(ctx context.Context, req *graphql.Request, resp *graphql.Response) *Error {
	// Exactly these two members, as the original client sends. Variables go as
	// an object, where the original sends a string holding JSON; the server
	// takes both.
	body, err := encode(struct {
		Query     string `json:"query"`
		Variables any    `json:"variables"`
	}{req.Query, req.Variables})
	if err != nil {
		return &Error{kind: rejected, detail: "encode the request", cause: err}
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, w.endpoint, bytes.NewReader(body))
	if err != nil {
		return &Error{kind: rejected, detail: "the API URL is not usable", cause: withoutURL(err)}
	}
	w.setHeaders(post.Header)
	post, release := punctually(post, body)
	defer release()

	answer, err := w.http.Do(post)
	if err != nil {
		return networkError(post.Context(), withoutURL(err)) //nolint:contextcheck // it tells why punctually gave the request up
	}
	defer answer.Body.Close()
	text, done, err := w.receive(ctx, answer.Body)
	defer done()
	if err != nil {
		return networkError(ctx, fmt.Errorf("read the answer: %w", err))
	}
	if len(text) > w.maxAnswer {
		return &Error{kind: answerTooLarge, status: answer.StatusCode, detail: fmt.Sprintf("the answer is larger than %d MiB", w.maxAnswer>>20)}
	}
	return decodeAnswer(answer, text, resp)
}

// receive reads an answer. Large ones are read, and held until done, a few at a
// time: all workers may ask for one at once, and several times its size is needed
// until it is decoded.
func (w *wire) receive(ctx context.Context, body io.Reader) (text []byte, done func(), err error) {
	done = func() {}
	small := w.maxAnswer / 16
	text, err = io.ReadAll(io.LimitReader(body, int64(small+1)))
	if err != nil || len(text) <= small {
		return text, done, err
	}
	select {
	case w.large <- struct{}{}:
		done = func() { <-w.large }
	case <-ctx.Done():
		return nil, done, ctx.Err()
	}
	rest, err := io.ReadAll(io.LimitReader(body, int64(w.maxAnswer+1-len(text))))
	return append(text, rest...), done, err
}

// encode is json.Marshal without what makes JSON safe inside HTML: it makes six
// bytes of one, and the server takes only so many.
func encode(v any) (json.RawMessage, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

func (w *wire) setHeaders(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json")
	h.Set("User-Agent", w.userAgent)
	h.Set("X-PREFECT-CORE-VERSION", coreVersion)
	w.authorize(h)
	if tenant := w.tenantID(); tenant != "" && h.Get("Authorization") != "" {
		h.Set("X-PREFECT-TENANT-ID", tenant)
	}
	if agent := w.agentID(); agent != "" {
		h.Set("X-PREFECT-AGENT-ID", agent)
	}
}

// decodeAnswer looks at the errors before the status: the API says most of what
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
			e.kind = throttled // what will be too large for ever has no time to it (prefect1-spec §7.3)
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

// withoutURL drops the URL that net/http puts into its errors: it is long, the
// same every time, and may hold a password.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// retryAfter reads the header's two forms; zero when there is none to follow.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return time.Duration(min(max(0, seconds), int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}
