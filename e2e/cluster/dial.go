package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"time"
)

// Dial connects to an address inside the cluster, from the node. The API server's proxy
// would do for HTTP, but it keeps Authorization headers for itself.
func (c *Cluster) Dial(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	// The connection outlives the request that first needs it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	const join = `exec 4<&0 3<>"/dev/tcp/$0/$1" && { cat <&4 >&3 & cat <&3; kill $!; }`
	cmd := exec.CommandContext(ctx, "docker", "exec", "-i", node, "bash", "-c", join, host, port)
	cmd.WaitDelay = time.Second
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		cancel()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return &tunnel{Reader: out, WriteCloser: in, close: sync.OnceFunc(func() {
		in.Close()
		cancel()
		_ = cmd.Wait() // it was killed
	})}, nil
}

// Transport sends every HTTP request to an address inside the cluster.
func (c *Cluster) Transport(address string) http.RoundTripper {
	return &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx, address) },
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     3 * time.Second, // Prefect's server closes a connection that was idle for five
	}
}

// tunnel is a connection through a process. It knows no deadlines: the HTTP client closes it.
type tunnel struct {
	io.Reader
	io.WriteCloser
	close func()
}

func (t *tunnel) Close() error {
	t.close()
	return nil
}

// LocalAddr is that of net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr is that of net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// SetDeadline is that of net.Conn.
func (t *tunnel) SetDeadline(time.Time) error { return nil }

// SetReadDeadline is that of net.Conn.
func (t *tunnel) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is that of net.Conn.
func (t *tunnel) SetWriteDeadline(time.Time) error { return nil }
