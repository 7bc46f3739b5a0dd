package prefect1

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// errUnsent is why a request with a prefect.SendBy was given up: it had not been
// sent by then, so the API has not got it.
var errUnsent = errors.New("it could not be sent in time")

// punctual sees to it that a request leaves by its prefect.SendBy or not at all. It
// hands out the request's body, and without a body there is no request: whatever
// net/http does before (wait for a connection, dial, try another one), a body that
// is asked for too late is not given, and a part of one is nothing to the API.
type punctual struct {
	ctx  context.Context //nolint:containedctx // the request's own
	stop context.CancelCauseFunc
	text []byte

	mu   sync.Mutex
	sent bool // all of the body was handed out
}

// punctually is the request with such a body, if its context bounds when it is sent.
// Once it has been sent its answer may come at any time; release ends that.
func punctually(post *http.Request, text []byte) (bounded *http.Request, release func()) {
	at, isBounded := prefect.SendBy(post.Context())
	if !isBounded {
		return post, func() {}
	}
	p := &punctual{text: text}
	p.ctx, p.stop = context.WithCancelCause(post.Context())
	timer := time.AfterFunc(time.Until(at), p.giveUp)
	post = post.WithContext(p.ctx) //nolint:contextcheck // made of the request's own
	// net/http sends a request again if nothing of it was written to a connection that
	// turned out closed; then it asks for another body.
	post.GetBody = p.body
	post.Body, _ = p.body()
	return post, func() { timer.Stop(); p.stop(nil) }
}

// giveUp stops a request that still waits for its connection.
func (p *punctual) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.sent {
		p.stop(errUnsent)
	}
}

func (p *punctual) body() (io.ReadCloser, error) {
	return io.NopCloser(&pages{punctual: p, left: bytes.NewReader(p.text)}), nil
}

// pages are the body, read once. They are not the reader itself, whose WriteTo hands
// out everything unasked.
type pages struct {
	*punctual
	left *bytes.Reader
}

// Read is that of io.Reader.
func (p *pages) Read(into []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left.Len() > 0 && prefect.TooLateToSend(p.ctx) {
		p.stop(errUnsent)
		return 0, errUnsent
	}
	n, err := p.left.Read(into)
	p.sent = p.left.Len() == 0
	return n, err
}
