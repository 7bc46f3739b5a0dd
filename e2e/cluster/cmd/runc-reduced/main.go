// Command runc-reduced is a container runtime for Docker: runc, asked for
// everything but CAP_SYS_RESOURCE. A machine that does not hold that capability
// (many sandboxes) cannot grant it, and plain runc then refuses every privileged
// container, kind's nodes among them. It uses the standard library only, so that
// its source is all that decides what it does.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const dropped = "CAP_SYS_RESOURCE"

func main() {
	// On success this process has become runc and nothing below runs.
	fmt.Fprintln(os.Stderr, "runc-reduced:", run(os.Args[1:]))
	os.Exit(1)
}

func run(args []string) error {
	for _, f := range files(args) {
		if err := reduceFile(f); err != nil {
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	return syscall.Exec(runc, append([]string{"runc"}, args...), os.Environ())
}

// file is one of runc's inputs that lists capabilities.
type file struct {
	path   string
	bundle bool // a whole container, whose process is one of its fields
}

// files finds them in runc's arguments: the bundle of create, run and restore,
// and the process of exec.
func files(args []string) []file {
	var found []file
	for i := range args {
		flag, value, joined := strings.Cut(args[i], "=")
		if !joined {
			if i+1 == len(args) {
				break
			}
			value = args[i+1]
		}
		switch flag {
		case "--bundle", "-b":
			found = append(found, file{path: filepath.Join(value, "config.json"), bundle: true})
		case "--process", "-p":
			found = append(found, file{path: value})
		}
	}
	return found
}

func reduceFile(f file) error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	in, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	out, err := reduce(in, f.bundle)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return os.WriteFile(f.path, out, info.Mode().Perm())
}

// reduce removes the capability from every list and leaves all else as it is.
func reduce(spec []byte, bundle bool) ([]byte, error) {
	if bundle {
		return edit(spec, "process", func(process []byte) ([]byte, error) { return reduce(process, false) })
	}
	return edit(spec, "capabilities", func(capabilities []byte) ([]byte, error) {
		var lists map[string][]string
		if err := json.Unmarshal(capabilities, &lists); err != nil {
			return nil, err
		}
		for name, list := range lists {
			lists[name] = slices.DeleteFunc(list, func(c string) bool { return c == dropped })
		}
		return json.Marshal(lists)
	})
}

// edit replaces one field of a JSON object, if it is there.
func edit(object []byte, name string, change func([]byte) ([]byte, error)) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, err
	}
	field, ok := fields[name]
	if !ok {
		return object, nil
	}
	changed, err := change(field)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	fields[name] = changed
	return json.Marshal(fields)
}
