package cluster

import (
	"context"
	"os"
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
	dir     string // of the module, or of a package that needs only the standard library
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

// nodeComponents are what a node runs.
func nodeComponents() (all []component) {
	for _, name := range []string{"kubeadm", "kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		all = append(all, kubernetesComponent(name))
	}
	return append(all,
		component{name: "etcd", dir: kubernetesModule, pkg: "go.etcd.io/etcd/server/v3"},
		component{name: "coredns", dir: kubernetesModule, pkg: "./coredns"},
		component{name: "pause", dir: kubernetesModule, pkg: "./pause"},
	)
}

// reducedRuntime is what Docker runs containers with where the machine allows it less.
func reducedRuntime() component {
	return component{name: "runc-reduced", dir: "e2e/cluster/cmd/runc-reduced", pkg: "."}
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

// sources are the files of ours that a component is built from.
func (e *env) sources(c component) (files []string) {
	for _, name := range []string{"go.mod", "go.sum", filepath.Join(c.pkg, "main.go")} {
		path := filepath.Join(e.root, c.dir, name)
		if _, err := os.Stat(path); err == nil {
			files = append(files, path)
		}
	}
	return files
}

// build returns the path of the component's static binary.
func (e *env) build(ctx context.Context, c component) (string, error) {
	inputs, err := fileInputs(e.sources(c)...)
	if err != nil {
		return "", err
	}
	inputs = append(inputs, c.pkg, c.ldflags, e.goVersion)
	return e.artifact("build "+c.name+" from Go modules", c.name, inputs, func(path string) error {
		_, err := run(ctx, command{
			name: "go", dir: filepath.Join(e.root, c.dir), env: []string{"CGO_ENABLED=0", "GOFLAGS=-mod=readonly"},
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
