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

// stage says how far a request got.
type stage int32

const (
	resolving stage = iota
	connecting
	shaking
	waiting
)

// traced follows a request on its way. The stages of a proxy count like the server's: the
// reader has to repair either.
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
		err = u.Err // the reader knows the URL
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
		return failed(fmt.Errorf("DNS: %w", err), "find out why the name %s does not resolve here, or correct %s; the name NAME.NAMESPACE of a Service works only inside its cluster", name, setting)
	case at == connecting:
		return failed(fmt.Errorf("TCP: %w", err), "check that something listens at %s and that no firewall, NetworkPolicy or proxy setting (HTTPS_PROXY, NO_PROXY) is in the way, or correct %s", host, setting)
	case errors.Is(err, http.ErrSchemeMismatch):
		return failed(fmt.Errorf("TLS: %w", err), "%s speaks plain HTTP: write http:// in %s", host, setting)
	case at == shaking:
		advice := "check that %s offers TLS, and write http:// in %s if it does not"
		if _, distrusted := errors.AsType[*tls.CertificateVerificationError](err); distrusted {
			advice = "give %s a certificate for that name, from a CA that is trusted here (SSL_CERT_FILE names a PEM file of CAs to trust); or correct %s"
		}
		return failed(fmt.Errorf("TLS: %w", err), advice, host, setting)
	}
	return failed(fmt.Errorf("HTTP: %w", err), "the connection stands but no answer comes: check that %s is an HTTP server (https:// if it wants TLS) and is not overloaded, or correct %s", host, setting)
}
