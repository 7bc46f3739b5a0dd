package prefecttest

import "time"

// counter serves one request after another, in the order of their arrival.
type counter struct {
	free chan struct{}
	each time.Duration
}

func newCounter(each time.Duration) *counter {
	return &counter{free: make(chan struct{}, 1), each: each}
}

// serve waits for the request's turn and for the work on it. Whether its client is
// still there does not matter, as with the real server: what has arrived is carried
// out. The next one's turn comes when done is called.
func (c *counter) serve() (done func()) {
	if c.each <= 0 {
		return func() {}
	}
	c.free <- struct{}{}
	time.Sleep(c.each)
	return func() { <-c.free }
}
