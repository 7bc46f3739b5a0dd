//go:build kedaversions

package kedaversions

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/jobs/informer/crowd"
)

// buildProduct compiles the scaler.
func buildProduct(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "prefect-keda")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/prefect-keda").CombinedOutput()
	if err != nil {
		t.Fatalf("compile the scaler: %v\n%s", err, out)
	}
	return program
}

// process is the scaler, on the same ports whenever it is started.
type process struct {
	t       *testing.T
	program string
	env     []string
	// grpc is the address for KEDA, ops the one for people.
	grpc, ops string

	cmd *exec.Cmd
	log output
}

// output is what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(text)
}

// newProcess is a scaler that is not started yet, beside a Kubernetes without Jobs.
func newProcess(t *testing.T, program string, env ...string) *process {
	t.Helper()
	kubernetes := httptest.NewServer(&crowd.Crowd{})
	t.Cleanup(kubernetes.Close)
	config := filepath.Join(t.TempDir(), "kubeconfig")
	write(t, config, fmt.Appendf(nil, `{"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": {"server": %q}}],
		"users": [{"name": "u", "user": {}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "flows"}}]}`, kubernetes.URL))
	p := &process{t: t, program: program, grpc: freeAddress(t), ops: freeAddress(t)}
	p.env = append([]string{
		"KUBECONFIG=" + config, "NAMESPACE=flows", "HOME=" + t.TempDir(),
		"PREFECT_KEDA_LISTEN=" + p.grpc, "PREFECT_KEDA_OPS_LISTEN=" + p.ops, "PREFECT_KEDA_POLL_INTERVAL=1s",
	}, env...)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the scaler's log:\n%s", p.log.text.String())
		}
	})
	return p
}

// start returns once it is ready.
func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.program, "scaler")
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env, &p.log, &p.log
	must(p.t, p.cmd.Start())
	await(p.t, "the scaler is ready", func() bool {
		r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.ops+"/readyz", http.NoBody)
		must(p.t, err)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// stop asks it to leave, as a rollout does, and waits for that.
func (p *process) stop() {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the scaler leaves with %v, want 0", err)
	}
	p.cmd = nil
}

// kill ends it at once, as the loss of its node does.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

// freeAddress is a port of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	must(t, os.WriteFile(path, text, 0o600))
}

// authority signs certificates for 127.0.0.1.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{t: t, cert: forAnHour("a CA of the test")}
	a.cert.IsCA, a.cert.BasicConstraintsValid, a.cert.KeyUsage = true, true, x509.KeyUsageCertSign
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	must(t, err)
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func (a authority) sign(name string) (cert, key string) {
	a.t.Helper()
	template := forAnHour(name)
	template.IPAddresses, template.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{name}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, own.Public(), a.key)
	must(a.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	must(a.t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func forAnHour(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
}
