// Package reach is how processes of this machine find each other in tests: a kubeconfig for an
// API server, and a port. It must not know what the processes are.
package reach

import (
	"fmt"
	"net"
	"os"
)

// WriteKubeconfig writes a kubeconfig for an API server that asks for no credentials. Go and
// Python read it.
func WriteKubeconfig(path, server string) error {
	return os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: %q}}]
users: [{name: test, user: {}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
`, server), 0o600)
}

// FreeAddress is a port of this machine that nobody listens on.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
