// Package standin lets tests reach a stand-in for a Prefect API, over a network or without
// one. It knows no Prefect.
package standin

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Serve serves an API on a loopback port until the test ends, and returns its URL. hangUp
// ends the connections that the API has taken from the server.
func Serve(t testing.TB, api http.Handler, hangUp func()) string {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(func() {
		hangUp()
		server.CloseClientConnections() // a delayed request would hold the test up
		server.Close()
	})
	return server.URL
}

// Transport reaches an API without a network, for tests with a clock of their own. It
// serves any host.
func Transport(api http.Handler) http.RoundTripper { return transport{api} }

type transport struct{ api http.Handler }

// RoundTrip implements http.RoundTripper. A request whose body cannot be read has not left.
// One that has left is served, even if its client gives up.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r, err := sent(r)
	if err != nil {
		return nil, err
	}
	answered := make(chan *http.Response, 1)
	go func() {
		defer close(answered)
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
				panic(p)
			}
		}()
		w := httptest.NewRecorder()
		t.api.ServeHTTP(w, r)
		answered <- w.Result()
	}()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case resp, ok := <-answered:
		if !ok {
			return nil, fmt.Errorf("the stand-in API dropped the connection: %w", io.ErrUnexpectedEOF)
		}
		return resp, nil
	}
}

// sent is the request as the API gets it, with its whole body.
func sent(r *http.Request) (*http.Request, error) {
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody
		return r, nil
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r, nil
}
