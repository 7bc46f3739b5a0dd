// Package exchange carries one request to a Prefect API and its whole answer back, for the
// client of every Prefect: a request leaves in time or not at all, few large answers are
// held at once, and each request is counted.
//
// It knows HTTP and nothing of any Prefect's protocol: what an answer means, and whether a
// request may be sent again, is for the clients.
package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxLarge answers above a sixteenth of the limit are held at once.
	maxLarge = 2
	// maxBuffer is the largest buffer that is used again, in bytes. A page of flow runs has some
	// 600 KB.
	maxBuffer = 1 << 20
	// idleConns is how many connections wait for the next burst of claims.
	idleConns = 32
	// idleTime is shorter than the 5 s after which the servers (Node, uvicorn) hang up: what
	// became of a claim sent into a closing connection is unknown.
	idleTime = 4 * time.Second
	// MaxRetryAfter is the longest we stay away because an API asked for it: a proxy's
	// mistake or a wrong clock must not stop us for a day.
	MaxRetryAfter = 5 * time.Minute
)

// Options are the settings of a Carrier.
type Options struct {
	// Through carries the bytes; Connections make one.
	Through http.RoundTripper
	// Timeout bounds one request and its answer.
	Timeout time.Duration
	// MaxAnswer bounds the bytes held of one answer.
	MaxAnswer int
	// Registerer receives the metrics; nil keeps them to ourselves. Several Carriers on one
	// Registerer count together.
	Registerer prometheus.Registerer
}

// Connections are a pool of connections, for its owner to change before the first request.
func Connections() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.IdleConnTimeout = idleConns, idleTime
	return t
}

// Carrier is safe for concurrent use, keeps its connections and starts no goroutine.
type Carrier struct {
	http      *http.Client
	timeout   time.Duration
	maxAnswer int
	large     chan struct{} // taken while a large answer is held
	buffers   sync.Pool     // of *bytes.Buffer, for the answers to come
	metrics   *metrics
}

// New makes a Carrier.
func New(o Options) (*Carrier, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the Prefect client's metrics: %w", err)
	}
	return &Carrier{
		http: &http.Client{
			Transport: o.Through,
			// A redirect would hand the key to another host, and turns a POST into a GET:
			// better an error that says where the API went.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: o.Timeout, maxAnswer: o.MaxAnswer, large: make(chan struct{}, maxLarge), metrics: m,
		buffers: sync.Pool{New: func() any { return &bytes.Buffer{} }},
	}, nil
}

// MaxAnswer is that of the options.
func (c *Carrier) MaxAnswer() int { return c.maxAnswer }

// Through is that of the options.
func (c *Carrier) Through() http.RoundTripper { return c.http.Transport }

// Count counts a request by its operation and result.
func (c *Carrier) Count(operation, result string, took time.Duration) {
	c.metrics.observe(operation, result, took)
}

// Request is what Do sends.
type Request struct {
	Method, URL string
	// Head sets the headers.
	Head func(http.Header)
	Body []byte
}

// Do sends a request once, within the timeout and by its prefect.SendBy, and lets read have
// the answer, whose text is another one's afterwards.
func (c *Carrier) Do(ctx context.Context, r Request, read func(answer *http.Response, text []byte)) *Failure {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	sent, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return &Failure{Kind: Unusable, Detail: "the API URL is not usable", Cause: withoutURL(err)}
	}
	r.Head(sent.Header)
	sent, release := punctually(sent, r.Body)
	defer release()

	answer, err := c.http.Do(sent)
	if err != nil {
		return NoAnswer(sent.Context(), withoutURL(err)) //nolint:contextcheck // it tells why punctually gave the request up
	}
	defer answer.Body.Close()
	text, done, err := c.receive(ctx, answer.Body)
	defer done()
	if err != nil {
		return NoAnswer(ctx, fmt.Errorf("read the answer: %w", err))
	}
	if len(text) > c.maxAnswer {
		return &Failure{Kind: TooLarge, Status: answer.StatusCode, Detail: fmt.Sprintf("the answer is larger than %d MiB", c.maxAnswer>>20)}
	}
	read(answer, text)
	return nil
}

// receive reads an answer. It reads large ones, and holds them until done, a few at a
// time: all workers may ask for one at once, and decoding needs several times its size.
func (c *Carrier) receive(ctx context.Context, body io.Reader) (text []byte, done func(), err error) {
	buffer, _ := c.buffers.Get().(*bytes.Buffer)
	done = func() {
		if buffer.Cap() <= maxBuffer {
			buffer.Reset()
			c.buffers.Put(buffer)
		}
	}
	small := int64(c.maxAnswer / 16)
	if n, err := buffer.ReadFrom(io.LimitReader(body, small+1)); err != nil || n <= small {
		return buffer.Bytes(), done, err
	}
	select {
	case c.large <- struct{}{}:
		done = func() { <-c.large } // its buffer is not used again
	case <-ctx.Done():
		return nil, done, ctx.Err()
	}
	_, err = buffer.ReadFrom(io.LimitReader(body, int64(c.maxAnswer)-small))
	return buffer.Bytes(), done, err
}

// withoutURL drops the URL that net/http puts into its errors: it is long, the same every
// time, and may hold a password.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
