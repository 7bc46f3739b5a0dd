package cluster

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const kedaVersion = "2.21.0"

const (
	kedaImage        = "ghcr.io/kedacore/keda:" + kedaVersion
	kedaAdapterImage = "ghcr.io/kedacore/keda-metrics-apiserver:" + kedaVersion
)

// installKEDA applies KEDA's own minimal manifests (no webhooks) from its Go
// module, at the version the product is built against.
func (c *Cluster) installKEDA(ctx context.Context) error {
	source, err := c.env.moduleDir(ctx, c.env.root, "github.com/kedacore/keda/v2")
	if err != nil {
		return err
	}
	if !c.pulls {
		if err := c.buildKEDA(ctx, source); err != nil {
			return err
		}
	}
	err = c.env.say.step("install KEDA", func() error {
		config, err := c.Copy(ctx, filepath.Join(source, "config"))
		if err != nil {
			return err
		}
		manifests, err := c.Kubectl(ctx, "kustomize", config+"/minimal")
		if err != nil {
			return err
		}
		// Server-side: the ScaledJob CRD is too large for the annotation client-side apply keeps.
		_, err = c.KubectlInput(ctx, strings.NewReader(pinKEDA(manifests)), "apply", "--server-side", "--force-conflicts", "-f", "-")
		return err
	})
	if err != nil {
		return err
	}
	return c.env.say.step("wait for KEDA", func() error { return c.kedaAvailable(ctx, "5m") })
}

// pinKEDA replaces the module's development images by the released ones, and lets the node
// use loaded images.
func pinKEDA(manifests string) string {
	return strings.NewReplacer(
		"ghcr.io/kedacore/keda:main", kedaImage,
		"ghcr.io/kedacore/keda-metrics-apiserver:main", kedaAdapterImage,
		"imagePullPolicy: Always", "imagePullPolicy: IfNotPresent",
	).Replace(manifests)
}

// kedaAvailable waits until the operator runs and its metrics can be asked for.
func (c *Cluster) kedaAvailable(ctx context.Context, timeout string) error {
	for _, d := range []string{"keda-operator", "keda-metrics-apiserver"} {
		if _, err := c.Kubectl(ctx, "-n", "keda", "rollout", "status", "deployment/"+d, "--timeout="+timeout); err != nil {
			return err
		}
	}
	const metrics = "apiservice/v1beta1.external.metrics.k8s.io"
	if _, err := c.Kubectl(ctx, "wait", "--for=condition=Available", metrics, "--timeout="+timeout); err != nil {
		why, _ := c.Kubectl(ctx, "get", metrics, "-o", "jsonpath={.status.conditions[*].message}")
		return fmt.Errorf("%w\n%s", err, why)
	}
	return nil
}

func (c *Cluster) buildKEDA(ctx context.Context, source string) error {
	for _, image := range []struct{ ref, pkg, binary string }{
		{kedaImage, "./cmd/operator", "keda"},
		{kedaAdapterImage, "./cmd/adapter", "keda-adapter"},
	} {
		inputs := append([]string{kedaVersion, c.env.goVersion}, keptTriggers()...)
		path, err := c.env.artifact("build "+image.binary+" from Go modules", image.binary, inputs, func(path string) error {
			dir, err := os.MkdirTemp(c.env.cache, "keda-*")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			if err := copyKEDA(dir, source); err != nil {
				return err
			}
			// Built inside KEDA's own module, because its go.mod has a replace that only counts there.
			_, err = run(ctx, command{
				name: "go", env: []string{"CGO_ENABLED=0", "GOFLAGS="},
				args: []string{
					"build", "-C", dir, "-mod=readonly", "-trimpath", quick,
					"-ldflags", "-s -w -X github.com/kedacore/keda/v2/version.Version=" + kedaVersion, "-o", path, image.pkg,
				},
			})
			return err
		})
		if err != nil {
			return err
		}
		layout := imageLayout{files: map[string]string{"/" + image.binary: path}, entrypoint: "/" + image.binary, user: "65532:65532"}
		if err := c.env.ensureImage(ctx, image.ref, layout); err != nil {
			return err
		}
		if err := c.Load(ctx, image.ref); err != nil {
			return err
		}
	}
	return nil
}

// keptTriggers are the types of triggers of a KEDA that is built here: those that need nothing
// but the cluster, and ours. The others bring the clients of sixty services, which are more than
// half of all packages that KEDA is compiled from.
func keptTriggers() []string { return []string{"cpu", "cron", "external", "external-push", "memory"} }

// copyKEDA copies KEDA's module without the scalers of other triggers, and takes these out of
// the one switch that knows all. Nothing else of KEDA differs.
func copyKEDA(dir, source string) error {
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		return err
	}
	scalers, err := filepath.Glob(filepath.Join(dir, "pkg", "scalers", "*_scaler.go"))
	if err != nil {
		return err
	}
	// The last has a constant of all external metrics.
	kept := []string{"cpu_memory_scaler.go", "cron_scaler.go", "external_scaler.go", "azure_queue_scaler.go"}
	for _, path := range scalers {
		if slices.Contains(kept, filepath.Base(path)) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	builder := filepath.Join(dir, "pkg", "scaling", "scalers_builder.go")
	text, err := os.ReadFile(builder)
	if err != nil {
		return err
	}
	if text, err = keepTriggers(text); err != nil {
		return fmt.Errorf("read %s of KEDA %s, whose triggers shall be fewer: %w", filepath.Base(builder), kedaVersion, err)
	}
	return os.WriteFile(builder, text, 0o600)
}

// keepTriggers drops the cases of all other triggers from the switch that builds scalers.
func keepTriggers(source []byte) ([]byte, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	kept := 0
	for node := range ast.Preorder(file) {
		if choice, ok := node.(*ast.SwitchStmt); ok && isNamed(choice.Tag, "triggerType") {
			choice.Body.List = slices.DeleteFunc(choice.Body.List, func(s ast.Stmt) bool {
				when := s.(*ast.CaseClause).List //nolint:forcetypeassert // a switch has nothing else
				isKept := slices.ContainsFunc(when, isKeptTrigger)
				if isKept {
					kept++
				}
				return when != nil && !isKept
			})
		}
	}
	if want := len(keptTriggers()); kept != want {
		return nil, fmt.Errorf("of %d triggers to keep (%s) it knows %d", want, strings.Join(keptTriggers(), ", "), kept)
	}
	var out bytes.Buffer
	err = format.Node(&out, files, file)
	return out.Bytes(), err
}

func isNamed(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func isKeptTrigger(e ast.Expr) bool {
	text, ok := e.(*ast.BasicLit)
	if !ok {
		return false
	}
	name, err := strconv.Unquote(text.Value)
	return err == nil && slices.Contains(keptTriggers(), name)
}
