// Package prefectapi does with a real Prefect 3 server what people do in its UI and with its
// command line: it makes pools, deployments and flow runs, reads them, cancels and pauses. It
// must not know how the server was started, and nothing of what is tested with it.
package prefectapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 32 << 20

// Client is a client of one server. It may be shared.
type Client struct {
	url, auth, id string
	http          *http.Client
	// mu keeps the server's token for writes: a second one makes the first invalid.
	mu    sync.Mutex
	token string
}

// New is a client of the API at a URL that ends in /api, with an auth string that may be empty.
func New(url, authString string, transport http.RoundTripper) *Client {
	c := &Client{url: url, id: uuid(), http: &http.Client{Transport: transport, Timeout: time.Minute}}
	if authString != "" {
		c.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(authString))
	}
	return c
}

// StatusError is an answer that is no success.
type StatusError struct {
	Code int
	Text string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Code, e.Text) }

// call sends a request and reads the answer into out, unless it is nil. A server that is busy is
// asked again with the same body, as Prefect's own client does.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	for try := 0; ; try++ {
		answer, err := c.once(ctx, method, path, body)
		again := false
		if status, ok := errors.AsType[*StatusError](err); ok {
			if status.Code == http.StatusForbidden {
				c.forget()
			}
			again = status.Code == http.StatusForbidden || status.Code == http.StatusServiceUnavailable
		}
		switch {
		case again && try < 5:
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s %s: %w", method, path, ctx.Err())
			case <-time.After(time.Duration(try+1) * 200 * time.Millisecond):
			}
			continue
		case err != nil:
			return fmt.Errorf("%s %s: %w", method, path, err)
		case out == nil || len(answer) == 0:
			return nil
		}
		if err := json.Unmarshal(answer, out); err != nil {
			return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
		}
		return nil
	}
}

func (c *Client) once(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if method != http.MethodGet {
		token, err := c.csrf(ctx)
		if err != nil {
			return nil, err
		}
		if token != "" {
			req.Header.Set("Prefect-Csrf-Token", token)
			req.Header.Set("Prefect-Csrf-Client", c.id)
		}
	}
	return c.send(req)
}

func (c *Client) send(req *http.Request) ([]byte, error) {
	if c.auth != "" {
		req.Header.Set("Authorization", c.auth)
	}
	req.Header.Set("User-Agent", "prefect-keda-e2e")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, &StatusError{resp.StatusCode, string(answer)}
	}
	return answer, nil
}

// csrf is the token that writes need; empty where the server asks for none.
func (c *Client) csrf(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" {
		return c.token, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/csrf-token?client="+url.QueryEscape(c.id), nil)
	if err != nil {
		return "", err
	}
	answer, err := c.send(req)
	if status, ok := errors.AsType[*StatusError](err); ok && (status.Code == http.StatusUnprocessableEntity || status.Code == http.StatusNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("get a CSRF token: %w", err)
	}
	var got struct{ Token string }
	if err := json.Unmarshal(answer, &got); err != nil {
		return "", fmt.Errorf("get a CSRF token: %w", err)
	}
	c.token = got.Token
	return c.token, nil
}

func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = ""
}

// Ready asks whether the server and its database answer.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/ready", nil, nil)
}

// uuid is a random one.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
