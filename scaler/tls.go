package scaler

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// certificates serves a certificate from files that are replaced while we run.
// The files are looked at when a client connects, which is rare, so there is
// nothing to run beside it. gRPC's own pemfile provider is not used: it writes
// the key into its log when a pair does not match.
type certificates struct {
	files TLS
	log   *slog.Logger

	mu     sync.Mutex
	stamps [3]stamp
	config *tls.Config

	refusing seldom
}

// stamp tells one version of a file from another.
type stamp struct {
	at   time.Time
	size int64
}

// ErrCertificate is in New's error when the files of Options.TLS cannot be used.
var ErrCertificate = errors.New("the certificate cannot be used")

func newCertificates(files TLS, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return c, nil
}

// server is the configuration to listen with.
func (c *certificates) server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

// current is the newest configuration that can be used. While the files are
// half replaced, that is the one before.
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

// load reads all files. The stamps are taken first: a file that is replaced
// while it is read is read again by the next client.
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
		// Not VerifyPeerCertificate, which a resumed session does not get to.
		config.VerifyConnection = c.checkClient
	}
	c.config, c.stamps = config, stamps
	return nil
}

// checkClient refuses a client that is signed for and has another name. TLS tells
// it no more than that, so the reason is in our log.
func (c *certificates) checkClient(state tls.ConnectionState) error {
	client := state.PeerCertificates[0] // there is one, and the CA's: it was verified
	names := slices.Clone(client.DNSNames)
	for _, u := range client.URIs {
		names = append(names, u.String())
	}
	if slices.ContainsFunc(names, func(n string) bool { return slices.Contains(c.files.ClientNames, n) }) {
		return nil
	}
	err := fmt.Errorf("its certificate is for %q, none of %q", names, c.files.ClientNames)
	if c.refusing.due(time.Now()) {
		c.log.Warn("a client was refused; issue KEDA a certificate with a name that is let in, or let in one that it has", "err", cut(err.Error(), maxRefusal))
	}
	return err
}
