package sidebyside

import (
	"context"
	"net"
	"time"
)

// piece is what came from one side, and when the other side gets it.
type piece struct {
	bytes []byte
	due   time.Time
}

// piecesUnderWay bounds what a connection holds: further bytes wait with their sender.
const piecesUnderWay = 256

// Far has a server be as far away as a round trip says: it returns an address of this machine
// that leads to target until ctx ends. What is sent over one connection stays in order, and
// nothing waits for what was sent before it, as in a network with enough bandwidth.
func Far(ctx context.Context, target string, roundTrip time.Duration) (address string, err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go connect(ctx, near, target, roundTrip/2)
		}
	}()
	return l.Addr().String(), nil
}

// connect carries one connection until either side or ctx ends it.
func connect(ctx context.Context, near net.Conn, target string, delay time.Duration) {
	defer near.Close()
	far, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	there := make(chan struct{})
	go func() {
		defer close(there)
		carry(far, near, delay)
	}()
	carry(near, far, delay)
	<-there
}

// carry sends what comes from one side to the other after a delay, and then ends both.
func carry(to, from net.Conn, delay time.Duration) {
	pieces := make(chan piece, piecesUnderWay)
	go func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				pieces <- piece{buffer[:n], time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	defer to.Close()
	failed := false
	for p := range pieces {
		if failed {
			continue // until the reader notices
		}
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			failed = true
			from.Close()
		}
	}
}
