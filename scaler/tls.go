package scaler

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// certificates serves a certificate from files that may be replaced while we run. It
// checks the files when a client connects, which is rare, so it needs no goroutine. We do
// not use gRPC's own pemfile provider, which writes the key into its log when a pair does
// not match.
type certificates struct {
	files TLS
	log   *slog.Logger

	mu     sync.Mutex
	stamps [3]stamp
	config *tls.Config

	refusing, refused seldom
}

// stamp tells one version of a file from another.
type stamp struct {
	at   time.Time
	size int64
}

// ErrCertificate is in New's error if the files of Options.TLS cannot be used.
var ErrCertificate = errors.New("the certificate cannot be used")

func newCertificates(files TLS, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return c, nil
}

// server is the configuration for the listener.
func (c *certificates) server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

// current is the newest usable configuration. While files are being replaced, it is the
// previous one.
func (c *certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stamped() == c.stamps {
		return c.config
	}
	if err := c.load(); err != nil {
		c.log.Warn("the new certificate cannot be used, keeping the old one", "err", err)
		return c.config
	}
	c.log.Info("certificate replaced")
	return c.config
}

func (c *certificates) stamped() [3]stamp {
	var out [3]stamp
	for i, name := range []string{c.files.CertFile, c.files.KeyFile, c.files.ClientCAFile} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			out[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return out
}

// load reads all files. It takes the stamps first, so that the next client reads a file
// again that was replaced meanwhile.
func (c *certificates) load() error {
	stamps := c.stamped()
	pair, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		return fmt.Errorf("load certificate %s and key %s: %w", c.files.CertFile, c.files.KeyFile, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{pair}}
	if c.files.ClientCAFile != "" {
		pem, err := os.ReadFile(c.files.ClientCAFile)
		if err != nil {
			return fmt.Errorf("load client CA: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return errors.New("load client CA " + c.files.ClientCAFile + ": no certificate in it")
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if len(c.files.ClientNames) > 0 {
		// Not VerifyPeerCertificate, which resumed sessions skip.
		config.VerifyConnection = c.checkClient
	}
	c.config, c.stamps = config, stamps
	return nil
}

// checkClient refuses a client whose certificate is signed but has another name. TLS does
// not tell the client why, so our log does.
func (c *certificates) checkClient(state tls.ConnectionState) error {
	client := state.PeerCertificates[0] // verified before, so it exists and is from the CA
	names := slices.Clone(client.DNSNames)
	for _, u := range client.URIs {
		names = append(names, u.String())
	}
	if slices.ContainsFunc(names, func(n string) bool { return slices.Contains(c.files.ClientNames, n) }) {
		return nil
	}
	err := fmt.Errorf("its certificate is for %q, none of %q", names, c.files.ClientNames)
	if c.refusing.due(time.Now()) {
		c.log.Warn("a client was refused; give KEDA a certificate with an accepted name, or accept a name that it has", "err", cut(err.Error(), maxRefusal))
	}
	return err
}

// telling logs when a client does not trust our certificate; otherwise only KEDA's log has
// it.
type telling struct {
	credentials.TransportCredentials
	certificates *certificates
}

// ServerHandshake implements credentials.TransportCredentials.
func (t telling) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := t.TransportCredentials.ServerHandshake(raw)
	// This is crypto/tls's name for the client's message before it hung up.
	if told, ok := errors.AsType[*net.OpError](err); ok && told.Op == "remote error" && t.certificates.refused.due(time.Now()) {
		t.certificates.log.Warn("a client does not take our certificate. If it is KEDA: has the ca.crt of its TriggerAuthentication signed our certificate, and is the certificate for the host in scalerAddress? "+
			"If the ScaledObject was created first, KEDA keeps an empty TriggerAuthentication for good: delete the ScaledObject and apply it again", "err", told)
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (t telling) Clone() credentials.TransportCredentials {
	return telling{t.TransportCredentials.Clone(), t.certificates}
}
