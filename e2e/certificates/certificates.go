// Package certificates makes certificates for tests of TLS. It must not know who uses them.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// Authority signs certificates for an hour.
type Authority struct {
	// PEM is its own certificate.
	PEM         []byte
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

// NewAuthority is one that nobody knows yet.
func NewAuthority() Authority {
	template := validForAnHour("a CA of the test")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	key := newKey()
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return Authority{encode("CERTIFICATE", der), key, must(x509.ParseCertificate(der))}
}

// Sign makes a certificate, for servers and clients, and its key as PEM. It is for a DNS name and
// for addresses.
func (a Authority) Sign(name string, addresses ...net.IP) (certificate, key []byte) {
	template := validForAnHour(name)
	template.DNSNames, template.IPAddresses, template.KeyUsage = []string{name}, addresses, x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	own := newKey()
	der := must(x509.CreateCertificate(rand.Reader, template, a.certificate, own.Public(), a.key))
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(own)))
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func validForAnHour(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// must panics on errors that only a broken source of randomness causes.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
