package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
)

// stage is how far a request got.
type stage int32

const (
	resolving stage = iota
	connecting
	shaking
	waiting
)

// traced follows a request on its way. A proxy's stages count as well as the
// server's own, which is what who asks has to mend.
func traced(ctx context.Context) (context.Context, func() stage) {
	var at atomic.Int32
	reached := func(s stage) {
		for {
			was := at.Load()
			if int32(s) <= was || at.CompareAndSwap(was, int32(s)) {
				return
			}
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectStart:      func(string, string) { reached(connecting) },
		TLSHandshakeStart: func() { reached(shaking) },
		GotConn:           func(httptrace.GotConnInfo) { reached(waiting) },
	}), func() stage { return stage(at.Load()) }
}

// unreached says where a request to address ended, and what to do about it.
func unreached(err error, at stage, address, setting string) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL, which the reader knows
	}
	host := address
	if u, parseErr := url.Parse(address); parseErr == nil && u.Host != "" {
		host = u.Host
	}
	unknownHost, noName := errors.AsType[*net.DNSError](err)
	switch {
	case noName || at == resolving:
		name := host
		if noName {
			name = unknownHost.Name
		}
		return failed(fmt.Errorf("DNS: %w", err), "find out why the name %s does not resolve here, or correct %s; a Service is known as NAME.NAMESPACE inside its cluster only", name, setting)
	case at == connecting:
		return failed(fmt.Errorf("TCP: %w", err), "see that something listens at %s and that no firewall, NetworkPolicy or proxy setting (HTTPS_PROXY, NO_PROXY) is between, or correct %s", host, setting)
	case errors.Is(err, http.ErrSchemeMismatch):
		return failed(fmt.Errorf("TLS: %w", err), "%s speaks plain HTTP: write http:// in %s", host, setting)
	case at == shaking:
		advice := "see that %s offers TLS, and write http:// in %s if it does not"
		if _, distrusted := errors.AsType[*tls.CertificateVerificationError](err); distrusted {
			advice = "have %s show a certificate for that name whose CA is trusted here: SSL_CERT_FILE names a file (PEM) of CAs to trust; or correct %s"
		}
		return failed(fmt.Errorf("TLS: %w", err), advice, host, setting)
	}
	return failed(fmt.Errorf("HTTP: %w", err), "the connection stands but no answer comes: see that %s is an HTTP server (https:// if it wants TLS) and is not overloaded, or correct %s", host, setting)
}
