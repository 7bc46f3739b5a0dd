package kedaversions

import (
	"bytes"
	"context"
	_ "embed" // the driver
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed testdata/driver/main.go
var driverSource []byte

// clientPackage has all of KEDA's scalers, and clientFiles the client of external ones.
const clientPackage = "pkg/scalers"

func clientFiles() []string { return []string{"external_scaler.go", "scaler.go"} }

// sharedConstants are those that these files use and another scaler's file declares.
func sharedConstants() []string { return []string{"externalMetricType"} }

// compilerFlags are those with which the cluster's KEDA is compiled, so that both share what
// Go keeps.
func compilerFlags() []string {
	return []string{"-mod=readonly", "-trimpath", "-gcflags=all=-dwarf=false -l", "-ldflags=-s -w"}
}

// Build compiles the driver with the client of that version of KEDA, in a folder of dir, and
// returns the path of the program. What has been built before takes a second.
func Build(ctx context.Context, dir, version string) (string, error) {
	root := filepath.Join(dir, version)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	source, err := moduleDir(ctx, root, version)
	if err != nil {
		return "", err
	}
	constants, err := constantsOf(filepath.Join(source, clientPackage), sharedConstants())
	if err != nil {
		return "", err
	}
	// Go reads these only through the overlay, so they are no packages of that folder.
	written := map[string][]byte{"driver.txt": driverSource, "constants.txt": constants}
	replace, err := overlay(source, root)
	if err != nil {
		return "", err
	}
	replace[filepath.Join(root, "driver", "main.go")] = filepath.Join(root, "driver.txt")
	replace[filepath.Join(root, clientPackage, "constants.go")] = filepath.Join(root, "constants.txt")
	if written["overlay.json"], err = json.Marshal(map[string]any{"Replace": replace}); err != nil {
		return "", err
	}
	for name, text := range written {
		if err := os.WriteFile(filepath.Join(root, name), text, 0o600); err != nil {
			return "", err
		}
	}
	program := filepath.Join(root, "program")
	_, err = goCommand(ctx, root, append(append([]string{"build", "-overlay", filepath.Join(root, "overlay.json")}, compilerFlags()...), "-o", program, "./driver")...)
	if err != nil {
		return "", fmt.Errorf("compile the client of KEDA %s (if it uses more of its package by now, add to clientFiles or sharedConstants): %w", version, err)
	}
	return program, nil
}

// moduleDir is where KEDA's source is, after it was downloaded.
func moduleDir(ctx context.Context, dir, version string) (string, error) {
	out, err := goCommand(ctx, dir, "mod", "download", "-json", "github.com/kedacore/keda/v2@v"+version)
	var module struct{ Dir, Error string }
	if bad := json.Unmarshal(out, &module); err == nil {
		err = bad
	}
	if module.Error != "" {
		err = errors.New(module.Error)
	}
	if err != nil {
		return "", fmt.Errorf("download KEDA %s as a Go module: %w", version, err)
	}
	return module.Dir, nil
}

// goCommand runs go apart from any module, workspace and flags of whoever calls.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", args[0], err, bytes.TrimSpace(errs.Bytes()))
	}
	return out, err
}

// overlay makes root a module like the one in source, for the go command: all its packages,
// of clientPackage only clientFiles, and its go.mod, which decides all other versions. It
// cannot be used where it is, because Go lets no overlay change its module cache.
func overlay(source, root string) (map[string]string, error) {
	replace := map[string]string{}
	err := filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		slashed := filepath.ToSlash(name)
		in, base := path.Split(slashed)
		switch {
		case slashed == "go.mod" || slashed == "go.sum":
		case path.Ext(base) != ".go" || strings.HasSuffix(base, "_test.go"):
			return nil
		case in == clientPackage+"/" && !slices.Contains(clientFiles(), base):
			return nil
		}
		replace[filepath.Join(root, name)] = file
		return nil
	})
	return replace, err
}

// constantsOf is a file that declares the constants of these names as the package in dir does.
func constantsOf(dir string, names []string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	var pkg string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		pkg = f.Name.Name
		for _, d := range f.Decls {
			general, ok := d.(*ast.GenDecl)
			if !ok || general.Tok != token.CONST {
				continue
			}
			for _, s := range general.Specs {
				constant, ok := s.(*ast.ValueSpec)
				if !ok || len(constant.Names) != len(constant.Values) {
					continue
				}
				for i, name := range constant.Names {
					if literal, ok := constant.Values[i].(*ast.BasicLit); ok && slices.Contains(names, name.Name) {
						found[name.Name] = literal.Value
					}
				}
			}
		}
	}
	text := fmt.Appendf(nil, "package %s\n", pkg)
	for _, name := range names {
		if found[name] == "" {
			return nil, fmt.Errorf("no file in %s declares the constant %s", dir, name)
		}
		text = fmt.Appendf(text, "\nconst %s = %s\n", name, found[name])
	}
	return text, nil
}
