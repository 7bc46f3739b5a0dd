//go:build kedaversions

package kedaversions

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/prefect-keda/prefect-keda/e2e/reach"
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
	must(t, reach.WriteKubeconfig(config, kubernetes.URL))
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

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := reach.FreeAddress()
	must(t, err)
	return address
}
