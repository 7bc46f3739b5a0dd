package main

import (
	"crypto/x509"
	"slices"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"
	"golang.org/x/net/http/httpproxy"
)

// trustPublicRoots has TLS know the public certificate authorities where the system has none,
// as in our image. It is called once in a process.
func trustPublicRoots() { x509.SetFallbackRoots(publicRoots()) }

func publicRoots() *x509.CertPool {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		switch {
		case err != nil: // nobody has a certificate of such a one
		case root.Constraint != nil:
			pool.AddCertWithConstraint(certificate, root.Constraint)
		default:
			pool.AddCert(certificate)
		}
	}
	return pool
}

// needsRoots reports whether a scaler reaches a Prefect by TLS. The public authorities take a
// tenth of its memory for as long as it stands by, and Kubernetes has one of its own.
func needsRoots(all []connection) bool {
	return strings.HasPrefix(httpproxy.FromEnvironment().HTTPProxy, "https:") ||
		slices.ContainsFunc(all, func(c connection) bool { return !strings.HasPrefix(c.prefect.Address().Reveal(), "http:") })
}
