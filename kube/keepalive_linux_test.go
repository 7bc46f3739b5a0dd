package kube_test

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/kube"
)

// What the setting is for is on the sockets to the API server (prefect1 §5.3).
func TestKeepAlive(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	type probing struct{ On, Idle, Interval, Count int }
	probed := func(keepAlive bool) (p probing) {
		config, _, err := kube.Config(kube.Options{Kubeconfig: path, KeepAlive: keepAlive})
		if err != nil {
			t.Fatal(err)
		}
		connection, err := config.Dial(t.Context(), "tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		raw, err := connection.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			for level, options := range map[int]map[int]*int{
				syscall.SOL_SOCKET:  {syscall.SO_KEEPALIVE: &p.On},
				syscall.IPPROTO_TCP: {syscall.TCP_KEEPIDLE: &p.Idle, syscall.TCP_KEEPINTVL: &p.Interval, syscall.TCP_KEEPCNT: &p.Count},
			} {
				for option, value := range options {
					if *value, err = syscall.GetsockoptInt(int(fd), level, option); err != nil {
						t.Error(err)
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if d := cmp.Diff(probing{On: 1, Idle: 6, Interval: 30, Count: 6}, probed(true)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got := probed(false); got.Idle == 6 {
		t.Errorf("without the setting: %+v", got)
	}
}
