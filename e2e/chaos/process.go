package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a launcher or a scaler: a slot that a kubelet keeps filled as long as it is
// wanted.
type Process struct {
	Name string

	command []string
	log     string

	mu      sync.Mutex
	env     []string
	wanted  bool
	cmd     *exec.Cmd
	changed chan struct{} // closed when wanted changes
	ends    []string
}

// NewProcess is not wanted yet. All that it prints goes to the file log.
func NewProcess(name, log string, env []string, command ...string) *Process {
	return &Process{Name: name, command: command, log: log, env: env, changed: make(chan struct{})}
}

// Keep starts the process whenever it is wanted and not there, until ctx ends. Then it is
// killed.
func (p *Process) Keep(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for ctx.Err() == nil {
		p.mu.Lock()
		wanted, changed := p.wanted, p.changed
		p.mu.Unlock()
		if !wanted {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		p.mu.Lock()
		cmd := exec.Command(p.command[0], p.command[1:]...) //nolint:gosec // the binary that the test built
		cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
		fmt.Fprintf(log, "==== %s %s\n", time.Now().Format(time.RFC3339Nano), p.Name)
		err := cmd.Start()
		p.cmd = cmd
		p.mu.Unlock()
		if err != nil {
			return fmt.Errorf("start %s: %w", p.Name, err)
		}
		ended := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			p.signal(syscall.SIGCONT)
			p.signal(syscall.SIGTERM)
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				p.signal(syscall.SIGKILL)
			}
		})
		err = cmd.Wait()
		close(ended)
		stop()
		p.mu.Lock()
		p.cmd = nil
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() && ctx.Err() == nil {
			p.ends = append(p.ends, fmt.Sprintf("%s %s", time.Now().Format(moment), exit))
		}
		p.mu.Unlock()
		pause(ctx, time.Second) // the kubelet's first back-off is longer
	}
	return nil
}

// Want starts the process, or has it leave, as a Deployment's replicas do.
func (p *Process) Want(wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted == wanted {
		return
	}
	p.wanted = wanted
	close(p.changed)
	p.changed = make(chan struct{})
	if !wanted && p.cmd != nil {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may just have ended
	}
}

// Configure gives it the environment from its next start on.
func (p *Process) Configure(env []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.env = env
}

// Roll has the process leave, and come back if it is wanted.
func (p *Process) Roll() bool { return p.signal(syscall.SIGTERM) }

// Kill ends the process at once.
func (p *Process) Kill() bool { return p.signal(syscall.SIGKILL) }

// Stop stops the process for a while, as a node that is short of CPU or memory does.
func (p *Process) Stop(ctx context.Context, d time.Duration) bool {
	if !p.signal(syscall.SIGSTOP) {
		return false
	}
	pause(ctx, d)
	p.signal(syscall.SIGCONT)
	return true
}

// Ends are the exits that nobody asked for.
func (p *Process) Ends() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ends
}

func (p *Process) signal(s syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil && p.cmd.Process.Signal(s) == nil
}
