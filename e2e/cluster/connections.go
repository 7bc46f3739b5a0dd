package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
)

// Gateway is the address of this machine for pods of the cluster.
func (c *Cluster) Gateway(ctx context.Context) (string, error) {
	out, err := c.env.docker(ctx, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}", node)
	if err != nil {
		return "", err
	}
	for address := range strings.FieldsSeq(out) {
		if net.ParseIP(address) != nil {
			return address, nil
		}
	}
	return "", errors.New("the node's network has no gateway, so its pods cannot reach this machine")
}

// Cache is the folder for what is built once.
func (c *Cluster) Cache() string { return c.env.cache }

// Connections are the established TCP connections of a pod: to a port of its own, and those that
// it has opened itself.
func (c *Cluster) Connections(ctx context.Context, podUID string, port int) (inbound, outbound int, err error) {
	// All processes of a pod have one network; systemd spells the UID in a cgroup's name with underscores.
	script := fmt.Sprintf(`for p in /proc/[0-9]*; do grep -qE '%s|%s' $p/cgroup 2>/dev/null && cat $p/net/tcp $p/net/tcp6 && exit 0; done; exit 1`,
		podUID, strings.ReplaceAll(podUID, "-", "_"))
	out, err := exec.CommandContext(ctx, "docker", "exec", node, "sh", "-c", script).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("read the connections of pod %s: %w", podUID, err)
	}
	inbound, outbound = connections(string(out), port)
	return inbound, outbound, nil
}

// connections counts in the text of /proc/net/tcp. What comes in at another port that is listened
// at is left out.
func connections(text string, port int) (inbound, outbound int) {
	const listening, established = "0A", "01"
	listens, open := map[uint64]bool{}, []uint64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		local, err := strconv.ParseUint(fields[1][strings.LastIndexByte(fields[1], ':')+1:], 16, 16)
		if err != nil {
			continue // the header
		}
		switch fields[3] {
		case listening:
			listens[local] = true
		case established:
			open = append(open, local)
		}
	}
	for _, local := range open {
		switch {
		case local == uint64(port): //nolint:gosec // a port
			inbound++
		case !listens[local]:
			outbound++
		}
	}
	return inbound, outbound
}
