package exchange

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

// ErrUnsent says that a request had not left by its prefect.SendBy, so the API has not got it.
var ErrUnsent = errors.New("it could not be sent in time")

// punctual lets a request leave by its prefect.SendBy or not at all. It refuses the
// request's body when net/http asks for it too late, after a wait for a connection, a
// dial or another try. Without its whole body the API ignores a request.
type punctual struct {
	ctx  context.Context //nolint:containedctx // the request's own
	stop context.CancelCauseFunc
	text []byte

	mu   sync.Mutex
	sent bool // all of the body was handed out
}

// punctually gives the request such a body if its context bounds when it is sent. Then
// the answer may come at any time; release ends that.
func punctually(post *http.Request, text []byte) (bounded *http.Request, release func()) {
	at, isBounded := prefect.SendBy(post.Context())
	if !isBounded {
		return post, func() {}
	}
	p := &punctual{text: text}
	p.ctx, p.stop = context.WithCancelCause(post.Context())
	timer := time.AfterFunc(time.Until(at), p.giveUp)
	post = post.WithContext(p.ctx) //nolint:contextcheck // made of the request's own
	// net/http sends a request again, with another body, if its connection turned out
	// closed before anything was written.
	post.GetBody = p.body
	post.Body, _ = p.body()
	return post, func() { timer.Stop(); p.stop(nil) }
}

// giveUp stops a request that still waits for its connection.
func (p *punctual) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.sent {
		p.stop(ErrUnsent)
	}
}

func (p *punctual) body() (io.ReadCloser, error) {
	return io.NopCloser(&pages{punctual: p, left: bytes.NewReader(p.text)}), nil
}

// pages are the body, read once. They hide the reader's WriteTo, which would hand out
// everything unasked.
type pages struct {
	*punctual
	left *bytes.Reader
}

// Read implements io.Reader.
func (p *pages) Read(into []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left.Len() > 0 && prefect.TooLateToSend(p.ctx) {
		p.stop(ErrUnsent)
		return 0, ErrUnsent
	}
	n, err := p.left.Read(into)
	p.sent = p.left.Len() == 0
	return n, err
}
