package prefect1_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
)

const wonAnswer = `{"data":{"set_flow_run_states":{"states":[{"id":"` + runID + `","status":"SUCCESS","message":null}]}}}`

// network is a client's way to a server in this process, with a time for a dial and one
// for an answer.
type network struct {
	dials, answers time.Duration
	conns          chan net.Conn
	requests       []string
}

func (n *network) Accept() (net.Conn, error) {
	c, open := <-n.conns
	if !open {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (n *network) Close() error   { return nil }
func (n *network) Addr() net.Addr { return &net.IPAddr{} }

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	select {
	case <-time.After(n.dials):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	near, far := net.Pipe()
	n.conns <- far
	return near, nil
}

// ServeHTTP implements http.Handler.
func (n *network) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	n.requests = append(n.requests, string(body))
	time.Sleep(n.answers)
	w.Write([]byte(wonAnswer)) //nolint:errcheck // the client tells
}

func punctualClient(t *testing.T, transport http.RoundTripper) *prefect1.Client {
	t.Helper()
	c, err := prefect1.New(prefect1.Options{API: "http://prefect", Backend: prefect1.Server, TenantID: tenantID, HTTPTransport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func claimWithin(t *testing.T, c *prefect1.Client, bound time.Duration) prefect.Answer {
	t.Helper()
	run := prefect.FlowRun{ID: runID, Revision: "1", State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}
	r, err := c.Claim(prefect.WithSendBy(t.Context(), time.Now().Add(bound)), run, prefect.Claim{Attempt: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	return r.Answer
}

// The bound is on when a claim leaves. A slow answer to a claim that left in time is no
// reason to give it up: the API goes on and applies it.
func TestClaimIsSentInTimeAndAwaitedForLonger(t *testing.T) {
	for name, tc := range map[string]struct {
		dials, answers time.Duration
		answer         prefect.Answer
		took           time.Duration
		arrived        int
	}{
		"answered late":          {0, 10 * time.Second, prefect.Won, 10 * time.Second, 1},
		"never answered":         {0, time.Minute, prefect.Unknown, 15 * time.Second, 1},
		"no connection in time":  {5 * time.Second, 0, prefect.NotNow, 3 * time.Second, 0},
		"a connection just then": {2 * time.Second, 2 * time.Second, prefect.Won, 4 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{dials: tc.dials, answers: tc.answers, conns: make(chan net.Conn, 1)}
				server := &http.Server{Handler: n, ReadHeaderTimeout: time.Hour}
				go server.Serve(n) //nolint:errcheck // it ends with the test
				transport := &http.Transport{DialContext: n.dial}
				began := time.Now()
				if got := claimWithin(t, punctualClient(t, transport), 3*time.Second); got != tc.answer {
					t.Errorf("the claim is %s, want %s", got, tc.answer)
				}
				if took := time.Since(began); took != tc.took {
					t.Errorf("known after %s, want %s", took, tc.took)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(n.requests) != tc.arrived {
					t.Errorf("%d claims arrived, want %d", len(n.requests), tc.arrived)
				}
				transport.CloseIdleConnections()
				close(n.conns)
				server.Close() //nolint:errcheck // nothing depends on it
			})
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Whatever net/http does on the way, and however late it notices that it should stop, it
// has no body to send any more.
func TestClaimIsNotSentLate(t *testing.T) {
	for name, way := range map[string]func(*http.Request, func(io.Reader)){
		"stopped before it is sent": func(r *http.Request, send func(io.Reader)) {
			time.Sleep(5 * time.Second)
			send(r.Body)
		},
		"stopped in the midst of it": func(r *http.Request, send func(io.Reader)) {
			send(io.LimitReader(r.Body, 20))
			time.Sleep(5 * time.Second)
			send(r.Body)
		},
		"sent to a connection that was closed, and again later": func(r *http.Request, send func(io.Reader)) {
			_, _ = io.Copy(io.Discard, r.Body)
			time.Sleep(5 * time.Second)
			again, err := r.GetBody()
			if err != nil {
				return
			}
			send(again)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent strings.Builder
				var failed error
				c := punctualClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
					way(r, func(body io.Reader) {
						_, err := io.Copy(&sent, body)
						failed = errors.Join(failed, err)
					})
					if failed != nil {
						return nil, failed
					}
					return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(wonAnswer))}, nil
				}))
				if got := claimWithin(t, c, 3*time.Second); got != prefect.NotNow {
					t.Errorf("the claim is %s, want %s", got, prefect.NotNow)
				}
				if strings.Contains(sent.String(), runID) {
					t.Errorf("it was sent after all: %s", sent.String())
				}
			})
		})
	}
}
