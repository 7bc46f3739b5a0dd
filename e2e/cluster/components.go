package cluster

import (
	"context"
	"path/filepath"
	"strings"
)

// kubernetesVersion is the node's version. From 1.35 on the kubelet refuses cgroup v1,
// which machines without a registry often still have.
const kubernetesVersion = "v1.34.4"

// component is one binary built from the Go module proxy, in a module apart, so that its
// dependencies stay out of the product's.
type component struct {
	name    string // of the binary
	dir     string // of the module
	pkg     string // import path of the main package, or its folder in the module
	ldflags string
}

// kubernetesModule holds all that a node runs, so that etcd and CoreDNS share what they link
// with Kubernetes, and the compiler's time.
const kubernetesModule = "e2e/cluster/modules/kubernetes"

func kubernetesComponent(name string) component {
	const version = "k8s.io/component-base/version."
	parts := strings.Split(strings.TrimPrefix(kubernetesVersion, "v"), ".")
	return component{
		name: name, dir: kubernetesModule, pkg: "k8s.io/kubernetes/cmd/" + name,
		// kubeadm refuses a binary without a version.
		ldflags: "-X " + version + "gitVersion=" + kubernetesVersion + " -X " + version + "gitMajor=" + parts[0] +
			" -X " + version + "gitMinor=" + parts[1] + " -X " + version + "gitTreeState=clean" +
			" -X " + version + "buildDate=1970-01-01T00:00:00Z",
	}
}

// kindCommand makes the cluster, on every machine.
func kindCommand() component {
	return component{name: "kind", dir: "e2e/cluster/modules/kind", pkg: "sigs.k8s.io/kind"}
}

// Flags of the compiler that make it faster. lean leaves out what the linker strips anyway;
// quick also saves a quarter of the time, for a program that is a little slower.
const (
	lean  = "-gcflags=all=-dwarf=false"
	quick = "-gcflags=all=-dwarf=false -l"
)

// build returns the path of the component's static binary.
func (e *env) build(ctx context.Context, c component) (string, error) {
	dir := filepath.Join(e.root, c.dir)
	files := []string{filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")}
	if strings.HasPrefix(c.pkg, ".") {
		files = append(files, filepath.Join(dir, c.pkg, "main.go"))
	}
	inputs, err := fileInputs(files...)
	if err != nil {
		return "", err
	}
	inputs = append(inputs, c.pkg, c.ldflags, e.goVersion)
	return e.artifact("build "+c.name+" from Go modules", c.name, inputs, func(path string) error {
		_, err := run(ctx, command{
			name: "go", dir: dir, env: []string{"CGO_ENABLED=0", "GOFLAGS=-mod=readonly"},
			args: []string{"build", "-trimpath", lean, "-ldflags", "-s -w " + c.ldflags, "-o", path, c.pkg},
		})
		return err
	})
}

// moduleDir is where the Go module cache keeps a module of one of our modules' graphs.
func (e *env) moduleDir(ctx context.Context, in, module string) (string, error) {
	if _, err := run(ctx, command{name: "go", dir: in, args: []string{"mod", "download", module}, env: []string{"GOFLAGS=-mod=readonly"}}); err != nil {
		return "", err
	}
	out, err := run(ctx, command{name: "go", dir: in, args: []string{"list", "-m", "-f", "{{.Dir}}", module}, env: []string{"GOFLAGS=-mod=readonly"}})
	return strings.TrimSpace(out), err
}
