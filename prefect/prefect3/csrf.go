package prefect3

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// csrfEarly is how long before it expires a token is no longer used.
const csrfEarly = time.Minute

// csrfToken is the process's one CSRF token. Fetching another with the same client id
// would end this one at once (prefect3 §7.1), so one goroutine fetches at a time.
type csrfToken struct {
	client   string
	fetching chan struct{}
	current  atomic.Pointer[issuedToken]
}

type issuedToken struct {
	Token      string    `json:"token"`
	Expiration time.Time `json:"expiration"`
}

func newCSRFToken() *csrfToken {
	return &csrfToken{client: uuid.NewString(), fetching: make(chan struct{}, 1)}
}

// known is the token to send, empty if the server has not demanded one yet.
func (t *csrfToken) known(now time.Time) string {
	if have := t.current.Load(); have != nil && (have.Expiration.IsZero() || now.Before(have.Expiration.Add(-csrfEarly))) {
		return have.Token
	}
	return ""
}

// renew fetches a token in place of the one that was refused, unless somebody else has
// done so meanwhile.
func (t *csrfToken) renew(ctx context.Context, w *wire, refused string) (string, *Error) {
	select {
	case t.fetching <- struct{}{}:
		defer func() { <-t.fetching }()
	case <-ctx.Done():
		return "", errorOf(exchange.NoAnswer(ctx, ctx.Err()))
	}
	if now := t.known(time.Now()); now != "" && now != refused {
		return now, nil
	}
	began := time.Now()
	var issued issuedToken
	err := w.exchange(ctx, call{method: http.MethodGet, path: "/csrf-token?client=" + t.client}, "", &issued)
	result := "ok"
	if err != nil {
		result = err.kind.String()
	}
	w.Count("csrf_token", result, time.Since(began))
	if err != nil {
		return "", err
	}
	t.current.Store(&issued)
	return issued.Token, nil
}
