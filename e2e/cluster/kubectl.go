package cluster

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
)

// adminConfig is where kubeadm leaves a kubeconfig in the node.
const adminConfig = "/etc/kubernetes/admin.conf"

// kubectl is the node's own, so it always has the cluster's version.
func kubectl(args ...string) []string {
	return append([]string{"exec", "-i", node, "kubectl", "--kubeconfig", adminConfig}, args...)
}

// Kubectl runs kubectl in the node and returns its standard output.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.KubectlInput(ctx, nil, args...)
}

// KubectlInput is Kubectl with something to read.
func (c *Cluster) KubectlInput(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return run(ctx, command{name: "docker", args: kubectl(args...), stdin: stdin})
}

// Copy puts a directory into the node, where kubectl finds it, and returns its
// path there.
func (c *Cluster) Copy(ctx context.Context, dir string) (string, error) {
	there := "/root/" + filepath.Base(dir)
	// Files of an earlier copy must not stay.
	if _, err := c.env.docker(ctx, "exec", node, "rm", "-rf", there); err != nil {
		return "", err
	}
	_, err := c.env.docker(ctx, "cp", dir+"/.", node+":"+there)
	return there, err
}

// KubectlHint is the line that gives a person's shell a kubectl for the cluster.
func (c *Cluster) KubectlHint() string {
	if _, err := exec.LookPath("kubectl"); err == nil {
		return "export KUBECONFIG=" + c.Kubeconfig
	}
	return "alias kubectl='docker exec -i " + node + " kubectl --kubeconfig " + adminConfig + "'"
}

// ForwardHint are the lines with which a person's browser reaches a Service.
func (c *Cluster) ForwardHint(namespace, service string, port int) string {
	forward := fmt.Sprintf("    kubectl -n %s port-forward svc/%s %d", namespace, service, port)
	if _, err := exec.LookPath("kubectl"); err == nil {
		return fmt.Sprintf("%s     # and open http://localhost:%d", forward, port)
	}
	// That kubectl is in the node, where nobody's browser is.
	return fmt.Sprintf("%s --address 0.0.0.0     # and open http://$(docker inspect -f '{{.NetworkSettings.Networks.kind.IPAddress}}' %s):%d", forward, node, port)
}
