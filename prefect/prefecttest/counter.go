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

// serve waits for the request's turn and for the work on it, whether or not its client is
// still there: the real server too carries out what has arrived. The next turn comes when
// done is called.
func (c *counter) serve() (done func()) {
	if c.each <= 0 {
		return func() {}
	}
	c.free <- struct{}{}
	time.Sleep(c.each)
	return func() { <-c.free }
}
