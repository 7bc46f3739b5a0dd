package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// trial runs tests on mutants.
type trial struct {
	out      io.Writer
	parallel int
	until    time.Time
	last     string        // slow tests
	took     time.Duration // the time of the package's tests, with nothing broken

	mu                    sync.Mutex
	tried, lived, unbuilt int
}

// errNotBuilt means that a breakage does not compile, so it does not count.
var errNotBuilt = errors.New("it does not compile")

// try tries all mutants and prints those that no test notices.
func (t *trial) try(ctx context.Context, all []mutant) error {
	began, before := time.Now(), [...]int{t.tried, t.lived, t.unbuilt}
	workers, working := errgroup.WithContext(ctx)
	workers.SetLimit(t.parallel)
	for _, m := range all {
		if working.Err() != nil || time.Now().After(t.until) {
			break
		}
		workers.Go(func() error {
			noticed, err := t.isNoticed(working, m)
			t.mu.Lock()
			defer t.mu.Unlock()
			switch {
			case errors.Is(err, errNotBuilt) && m.test == "":
				t.unbuilt++
			case err != nil:
				return fmt.Errorf("%s: %w", m, err)
			case !noticed:
				t.lived++
				fmt.Fprintf(t.out, "LIVES  %s\n", m)
			}
			if t.tried++; (t.tried-before[0])%20 == 0 {
				fmt.Fprintf(t.out, "%d of %d tried in %s\n", t.tried-before[0], len(all), time.Since(began).Round(time.Second))
			}
			return nil
		})
	}
	err := errors.Join(workers.Wait(), ctx.Err())
	fmt.Fprintf(t.out, "%d of %d breakages tried in %s: %d not noticed, %d do not compile\n",
		t.tried-before[0], len(all), time.Since(began).Round(time.Second), t.lived-before[1], t.unbuilt-before[2])
	return err
}

// isNoticed builds the tests with the mutant in them and runs them.
func (t *trial) isNoticed(ctx context.Context, m mutant) (bool, error) {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return false, fmt.Errorf("make a folder to build in: %w", err)
	}
	defer os.RemoveAll(dir)
	src, err := os.ReadFile(m.file)
	if err != nil {
		return false, fmt.Errorf("read the file to break: %w", err)
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return false, fmt.Errorf("find the file to break: %w", err)
	}
	broken, overlay, tests := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "tests")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: broken}})
	if err := errors.Join(err, os.WriteFile(broken, m.apply(src), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return false, fmt.Errorf("write the mutant: %w", err)
	}
	if out, err := command(ctx, "", "go", "test", "-c", "-vet=off", "-ldflags=-w", "-overlay", overlay, "-o", tests, "./"+m.pkg); err != nil {
		return false, errors.Join(ctx.Err(), fmt.Errorf("%w: %w\n%s", errNotBuilt, err, out))
	}
	stages := []string{"-test.skip=" + t.last, "-test.run=" + t.last}
	if m.test != "" {
		stages = []string{"-test.run=^" + m.test + "$"}
	}
	for _, which := range stages {
		// A broken program may use all memory, or never end.
		const limited = `ulimit -v 8000000 2>/dev/null; exec "$@"`
		_, err := command(ctx, m.pkg, "sh", "-c", limited, "sh", tests, "-test.failfast", "-test.timeout="+(4*t.took+time.Minute).String(), which)
		if err != nil {
			return true, ctx.Err()
		}
	}
	return false, nil
}

// lines is a range of lines of a file that tests reach.
type lines map[string][][2]int

func (l lines) has(m mutant) bool {
	for _, r := range l[m.file] {
		if r[0] <= m.line && m.line <= r[1] {
			return true
		}
	}
	return false
}

// unbroken runs a package's tests with nothing broken.
func (t *trial) unbroken(ctx context.Context, pkg string) (lines, error) {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the profile: %w", err)
	}
	defer os.RemoveAll(dir)
	profile := filepath.Join(dir, "profile")
	began := time.Now()
	if out, err := command(ctx, "", "go", "test", "-count=1", "-coverprofile", profile, pkg); err != nil {
		return nil, errors.Join(ctx.Err(), fmt.Errorf("the tests of %s fail with nothing broken: %w\n%s", pkg, err, out))
	}
	t.took = time.Since(began)
	text, err := os.ReadFile(profile)
	if err != nil {
		return nil, fmt.Errorf("read what the tests reach: %w", err)
	}
	return parseProfile(pkg, string(text)), nil
}

// parseProfile reads lines as "module/file.go:3.5,8.2 4 1", of which the last number
// is how often they ran.
func parseProfile(pkg, text string) lines {
	block := regexp.MustCompile(`^\S+/(\S+\.go):(\d+)\.\d+,(\d+)\.\d+ \d+ [1-9]`)
	reached := lines{}
	for line := range strings.Lines(text) {
		if m := block.FindStringSubmatch(line); m != nil {
			from, _ := strconv.Atoi(m[2])
			to, _ := strconv.Atoi(m[3])
			file := filepath.Join(pkg, m[1])
			reached[file] = append(reached[file], [2]int{from, to})
		}
	}
	return reached
}

// command runs one that ends with all its children when ctx does.
func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return out.Bytes(), err
}
