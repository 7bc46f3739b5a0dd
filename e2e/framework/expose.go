package framework

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// Expose lets pods reach an API that is served on this machine's loopback, and returns the URL
// for them.
func (s *Suite) Expose(t *testing.T, api string) string {
	t.Helper()
	target, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := s.Cluster.Gateway(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(gateway, "0"))
	if err != nil {
		t.Fatalf("listen where pods can reach this machine, which has to be Docker's own: %v", err)
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: &httputil.ReverseProxy{
			Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host}) },
			ErrorLog: log.New(io.Discard, "", 0), // a process that ends leaves requests behind
		},
	}
	go server.Serve(listener)            //nolint:errcheck // it ends by Close
	t.Cleanup(func() { server.Close() }) //nolint:errcheck // nothing is left to lose
	return fmt.Sprintf("http://%s%s", listener.Addr(), target.Path)
}
