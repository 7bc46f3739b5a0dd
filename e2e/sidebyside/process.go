package sidebyside

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a contender that runs.
type Process struct {
	cmd *exec.Cmd
	log bytes.Buffer
	// ended is closed when it has ended, with why.
	ended chan struct{}
	err   error
	// last is what Use said last.
	last Use
}

// Start starts a program with nothing of this machine's own settings. It ends with ctx.
func Start(ctx context.Context, env []string, stdin io.Reader, program string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(ctx, program, args...), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdin = env, stdin
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 20 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// End asks the process to end, and waits for it. It returns why it had ended before, and what
// it said, if it had.
func (p *Process) End() error {
	select {
	case <-p.ended:
		if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
			if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGTERM {
				return nil // it was asked before
			}
		}
		if p.err != nil {
			return fmt.Errorf("%w; its last words:\n%s", p.err, p.log.Bytes()[max(0, p.log.Len()-4000):])
		}
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill() // it may just have ended
		<-p.ended
	}
	return nil
}

// Use is what a process has used so far.
type Use struct {
	CPU time.Duration
	// Own is the memory that is its own now, in bytes: pages of files do not count. Peak is
	// the most it ever had.
	Own, Peak uint64
}

// ticksPerSecond is how Linux counts CPU time for people, on every machine.
const ticksPerSecond = 100

// Use is what the kernel says. Of a process that has ended it knows the CPU, and Use the memory
// that it said last. It is for one goroutine.
func (p *Process) Use() (Use, error) {
	dir := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	stat, err1 := os.ReadFile(dir + "stat")
	status, err2 := os.ReadFile(dir + "status")
	if err := errors.Join(err1, err2); err == nil {
		if u, err := readUse(string(stat), string(status)); err == nil {
			p.last = u
			return u, nil
		}
	}
	// It has ended, or it ends now.
	select {
	case <-p.ended:
		p.last.CPU = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
		return p.last, p.err
	case <-time.After(5 * time.Second):
		return Use{}, errors.New("the kernel does not tell what the process uses")
	}
}

// readUse reads a process' stat and status files.
func readUse(stat, status string) (Use, error) {
	var u Use
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // the name before it may hold anything
	if len(fields) < 13 {
		return u, fmt.Errorf("the kernel's stat file has the unknown form %q", stat)
	}
	for _, field := range fields[11:13] { // user and system
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, fmt.Errorf("CPU time in the kernel's stat file: %w", err)
		}
		u.CPU += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	kilobytes := map[string]uint64{}
	for line := range strings.Lines(status) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.HasSuffix(strings.TrimSpace(value), " kB") {
			n, err := strconv.ParseUint(strings.Fields(value)[0], 10, 64)
			if err != nil {
				return u, fmt.Errorf("%s in the kernel's status file: %w", name, err)
			}
			kilobytes[name] = n
		}
	}
	if kilobytes["VmHWM"] == 0 {
		return u, errors.New("the kernel's status file tells no memory; has the process ended?")
	}
	u.Own = kilobytes["RssAnon"] << 10
	u.Peak = (kilobytes["VmHWM"] - min(kilobytes["VmHWM"], kilobytes["RssFile"])) << 10
	return u, nil
}
