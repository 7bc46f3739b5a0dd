package chaos

import (
	"fmt"
	"net"
	"os"
)

// writeKubeconfig writes a kubeconfig for an API server without credentials.
func writeKubeconfig(path, server string) error {
	return os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: chaos
clusters: [{name: chaos, cluster: {server: %q}}]
users: [{name: chaos, user: {}}]
contexts: [{name: chaos, context: {cluster: chaos, user: chaos}}]
`, server), 0o600)
}

// freeAddress is a port of this machine that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
