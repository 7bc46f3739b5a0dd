package scaler

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// limited closes new connections at once while max connections are open.
type limited struct {
	net.Listener
	max    int64
	hungUp prometheus.Counter
	log    *slog.Logger

	open   atomic.Int64
	saying seldom
}

func (s *Server) limited(l net.Listener) net.Listener {
	return &limited{Listener: l, max: maxConnections, hungUp: s.service.metrics.hungUp, log: s.options.Logger}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.max {
			return &counted{Conn: c, closed: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		_ = c.Close() // nobody could handle the error
		l.hungUp.Inc()
		if l.saying.due(time.Now()) {
			l.log.Warn("too many connections are open, so new ones are closed at once; check who can reach the scaler's port", "limit", l.max, "address", c.RemoteAddr().String())
		}
	}
}

// counted is one of the open connections.
type counted struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
