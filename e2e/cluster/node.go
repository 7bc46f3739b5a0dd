package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// KillAPIServer ends the API server at once; the kubelet starts it again.
func (c *Cluster) KillAPIServer(ctx context.Context) error {
	return onNode(ctx, "pkill -KILL kube-apiserver")
}

// StopKubelet makes the node as good as dead to Kubernetes, until StartKubelet.
func (c *Cluster) StopKubelet(ctx context.Context) error {
	return onNode(ctx, "systemctl stop kubelet")
}

// StartKubelet ends StopKubelet.
func (c *Cluster) StartKubelet(ctx context.Context) error {
	return onNode(ctx, "systemctl start kubelet")
}

// Freeze stops all processes of a pod, as a node does that hangs.
func (c *Cluster) Freeze(ctx context.Context, podUID string) error {
	// systemd spells the UID in a cgroup's name with underscores.
	return onNode(ctx, fmt.Sprintf(`found=1; for p in /proc/[0-9]*; do grep -qE '%s|%s' $p/cgroup 2>/dev/null && kill -STOP ${p#/proc/} && found=0; done; exit $found`,
		podUID, strings.ReplaceAll(podUID, "-", "_")))
}

// Silence drops all packets from and to an address of a pod, as of a node that has lost its
// network. hear ends it.
func (c *Cluster) Silence(ctx context.Context, address string) (hear func(context.Context) error, err error) {
	rules := func(do string) string {
		return fmt.Sprintf("iptables -t raw %s PREROUTING -s %s -j DROP && iptables -t raw %s PREROUTING -d %s -j DROP && iptables -t raw %s OUTPUT -d %s -j DROP",
			do, address, do, address, do, address)
	}
	return func(ctx context.Context) error { return onNode(ctx, rules("-D")) }, onNode(ctx, rules("-I"))
}

func onNode(ctx context.Context, command string) error {
	if text, err := exec.CommandContext(ctx, "docker", "exec", node, "sh", "-c", command).CombinedOutput(); err != nil {
		return fmt.Errorf("on the node: %s: %w: %s", command, err, text)
	}
	return nil
}
