package scaler

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// authority signs certificates for 127.0.0.1.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	a := authority{}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue signs for 127.0.0.1 and the other names, of which those with a colon are URIs.
func (a authority) issue(t *testing.T, name string, others ...string) (cert, key []byte) {
	t.Helper()
	k := newKey(t)
	var hosts []string
	var uris []*url.URL
	for _, other := range others {
		if u, err := url.Parse(other); err == nil && u.Scheme != "" {
			uris = append(uris, u)
		} else {
			hosts = append(hosts, other)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		DNSNames: hosts, URIs: uris,
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// connect asks once over a connection of its own and returns whom it talked to.
func connect(t *testing.T, address string, creds credentials.TransportCredentials) (string, error) {
	t.Helper()
	var server string
	if c, ok := creds.(interface {
		Clone() credentials.TransportCredentials
	}); ok {
		creds = c.Clone()
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(noting{creds, &server}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = externalscaler.NewExternalScalerClient(conn).GetMetricSpec(ctx, ref("etl"))
	return server, err
}

// noting remembers the name in the server's certificate.
type noting struct {
	credentials.TransportCredentials
	server *string
}

func (n noting) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := n.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if i, ok := info.(credentials.TLSInfo); ok && err == nil {
		*n.server = i.State.PeerCertificates[0].Subject.CommonName
	}
	return c, info, err
}

func TestTLSAndRotationWithoutRestart(t *testing.T) {
	dir := t.TempDir()
	files := TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), ClientCAFile: filepath.Join(dir, "ca.crt")}
	serverCA, clientCA, nextClientCA := newAuthority(t, "servers"), newAuthority(t, "clients"), newAuthority(t, "next clients")
	put := func(ca authority, name string) {
		cert, key := serverCA.issue(t, name)
		write(t, files.CertFile, cert)
		write(t, files.KeyFile, key)
		write(t, files.ClientCAFile, ca.pem)
	}
	put(clientCA, "one")

	o := options(&fakeSource{})
	o.TLS = &files
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	roots := x509.NewCertPool()
	roots.AddCert(serverCA.cert)
	client := func(ca *authority, max uint16) credentials.TransportCredentials {
		c := &tls.Config{RootCAs: roots, MaxVersion: max, MinVersion: tls.VersionTLS10} //nolint:gosec // an old client is what is tested
		if ca != nil {
			pair, err := tls.X509KeyPair(ca.issue(t, "keda"))
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
		return credentials.NewTLS(c)
	}
	address := l.Addr().String()
	good := client(&clientCA, 0)
	if name, err := connect(t, address, good); err != nil || name != "one" {
		t.Fatalf("talked to %q, %v", name, err)
	}
	if name, err := connect(t, address, client(&clientCA, tls.VersionTLS12)); err != nil || name != "one" {
		t.Errorf("TLS 1.2: talked to %q, %v", name, err)
	}
	for what, creds := range map[string]credentials.TransportCredentials{
		"without a client certificate":     client(nil, 0),
		"with somebody else's":             client(&nextClientCA, 0),
		"in plain text":                    insecure.NewCredentials(),
		"with a version of TLS too old":    client(&clientCA, tls.VersionTLS11),
		"that does not know our authority": credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}),
	} {
		if _, err := connect(t, address, creds); status.Code(err) != codes.Unavailable {
			t.Errorf("a client %s: %v, want it refused", what, err)
		}
	}

	// Half replaced: the certificate is new, the key is not.
	cert, key := serverCA.issue(t, "two")
	write(t, files.CertFile, cert)
	if name, err := connect(t, address, good); err != nil || name != "one" {
		t.Errorf("half replaced: talked to %q, %v; want the old certificate", name, err)
	}
	write(t, files.KeyFile, key)
	if name, err := connect(t, address, good); err != nil || name != "two" {
		t.Errorf("replaced: talked to %q, %v", name, err)
	}

	put(nextClientCA, "three")
	if name, err := connect(t, address, client(&nextClientCA, 0)); err != nil || name != "three" {
		t.Errorf("new client CA: talked to %q, %v", name, err)
	}
	if _, err := connect(t, address, good); status.Code(err) != codes.Unavailable {
		t.Errorf("a client of the old CA: %v, want it refused", err)
	}
}

// Of those the CA signed for, only the ones with a name that is let in get through,
// also when they go on with a session.
func TestClientsMustHaveTheName(t *testing.T) {
	dir := t.TempDir()
	files := TLS{
		CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), ClientCAFile: filepath.Join(dir, "ca.crt"),
		ClientNames: []string{"keda", "spiffe://cluster.local/ns/keda/sa/keda-operator"},
	}
	ca := newAuthority(t, "everybody")
	cert, key := ca.issue(t, "server", "scaler")
	write(t, files.CertFile, cert)
	write(t, files.KeyFile, key)
	write(t, files.ClientCAFile, ca.pem)
	var log strings.Builder
	c, err := newCertificates(files, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	sessions, serving := tls.NewLRUClientSessionCache(1), c.server()
	handshake := func(config *tls.Config) error {
		// Not net.Pipe, on which two that write at a time wait for each other.
		l := bufconn.Listen(64 << 10)
		defer l.Close()
		served := make(chan error, 1)
		go func() {
			ours, err := l.Accept()
			if err != nil {
				served <- err
				return
			}
			defer ours.Close()
			server := tls.Server(ours, serving)
			if err = server.HandshakeContext(t.Context()); err == nil {
				_, err = server.Write([]byte("x")) // and with it what a session goes on by
			}
			served <- err
		}()
		theirs, err := l.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer theirs.Close()
		_, _ = tls.Client(theirs, config).Read(make([]byte, 1))
		return <-served
	}
	for _, tc := range []struct {
		names []string
		in    bool
	}{
		{[]string{"keda"}, true},
		{[]string{"other", "keda"}, true},
		{[]string{"spiffe://cluster.local/ns/keda/sa/keda-operator"}, true},
		{nil, false},
		{[]string{"scaler"}, false},
		{[]string{"*"}, false},
		{[]string{"keda.example.com", "spiffe://cluster.local/ns/keda/sa/other"}, false},
	} {
		pair, err := tls.X509KeyPair(ca.issue(t, "keda", tc.names...)) // the common name is nobody's
		if err != nil {
			t.Fatal(err)
		}
		config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: "scaler", Certificates: []tls.Certificate{pair}}
		if err := handshake(config); (err == nil) != tc.in {
			t.Errorf("%q: %v, want in: %v", tc.names, err, tc.in)
		}
	}
	const says = `level=WARN msg="a client was refused; give KEDA a certificate with an accepted name, or accept a name that it has" err="its certificate is for [], none of [\"keda\" \"spiffe://cluster.local/ns/keda/sa/keda-operator\"]"`
	if _, line, _ := strings.Cut(strings.TrimSpace(log.String()), " "); line != says {
		t.Errorf("log %s, want once:\n%s", log.String(), says)
	}

	pair, err := tls.X509KeyPair(ca.issue(t, "keda", "keda"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: "scaler", Certificates: []tls.Certificate{pair}, ClientSessionCache: sessions}
	if err := handshake(config); err != nil {
		t.Fatal(err)
	}
	c.files.ClientNames = []string{"another"}
	if err := handshake(config); err == nil {
		t.Error("a session goes on under a name that is no longer let in")
	}
}

// TestClientsThatDoNotTrustUsAreTold: KEDA has it in its own log only, where nobody looks.
func TestClientsThatDoNotTrustUsAreTold(t *testing.T) {
	dir := t.TempDir()
	files := TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	cert, key := newAuthority(t, "ours").issue(t, "server", "scaler")
	write(t, files.CertFile, cert)
	write(t, files.KeyFile, key)
	var log strings.Builder
	c, err := newCertificates(files, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ours := telling{credentials.NewTLS(c.server()), c}.Clone()
	handshake := func(theirs func(net.Conn)) {
		l := bufconn.Listen(64 << 10)
		defer l.Close()
		var client sync.WaitGroup
		client.Go(func() {
			conn, err := l.DialContext(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			theirs(conn)
		})
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, _, err := ours.ServerHandshake(conn); err == nil {
			t.Error("the client trusts whom it does not know")
		}
		client.Wait()
	}
	handshake(func(c net.Conn) { _, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n")) }) // a stranger is no news
	if log.String() != "" {
		t.Errorf("said: %s", log.String())
	}
	for range 2 {
		handshake(func(c net.Conn) {
			_ = tls.Client(c, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool(), ServerName: "scaler"}).HandshakeContext(t.Context())
		})
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "delete the ScaledObject and apply it again") || !strings.Contains(text, "level=WARN") {
		t.Errorf("want one warning that says what to do, got: %s", text)
	}
}

func TestUnusableCertificatesAreSaidAtTheStart(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "servers")
	cert, key := ca.issue(t, "one")
	_, otherKey := ca.issue(t, "two")
	name := func(n string) string { return filepath.Join(dir, n) }
	write(t, name("crt"), cert)
	write(t, name("key"), key)
	write(t, name("other"), otherKey)
	write(t, name("empty"), nil)
	for says, files := range map[string]TLS{
		"no such file":                {CertFile: name("crt"), KeyFile: name("gone")},
		"private key does not match":  {CertFile: name("crt"), KeyFile: name("other")},
		"load client CA":              {CertFile: name("crt"), KeyFile: name("key"), ClientCAFile: name("gone")},
		"empty: no certificate in it": {CertFile: name("crt"), KeyFile: name("key"), ClientCAFile: name("empty")},
	} {
		o := options(&fakeSource{})
		o.TLS = &files
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want it to say %q", err, says)
		}
	}
}

// TestKeyIsNeverLogged: a pair that does not match is exactly when one is
// tempted to show it.
func TestKeyIsNeverLogged(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "servers")
	files := TLS{CertFile: filepath.Join(dir, "crt"), KeyFile: filepath.Join(dir, "key")}
	cert, key := ca.issue(t, "one")
	write(t, files.CertFile, cert)
	write(t, files.KeyFile, key)
	var log strings.Builder
	c, err := newCertificates(files, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey := ca.issue(t, "two")
	write(t, files.KeyFile, append(otherKey, '\n'))
	c.current()
	line := strings.Split(string(otherKey), "\n")[1]
	if !strings.Contains(log.String(), "keeping the old one") || strings.Contains(log.String(), line) {
		t.Errorf("log:\n%s", log.String())
	}
}
