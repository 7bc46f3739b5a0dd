package standin

import "time"

// Counter serves one request after another, in the order of their arrival, as a server does
// that is busy.
type Counter struct{ free chan struct{} }

// NewCounter is a counter where nobody waits.
func NewCounter() Counter { return Counter{make(chan struct{}, 1)} }

// Serve waits for the request's turn and for the work on it, whether or not its client is
// still there: the real server too carries out what has arrived. The next turn comes when
// done is called. A request without work does not wait.
func (c Counter) Serve(work time.Duration) (done func()) {
	if work <= 0 {
		return func() {}
	}
	c.free <- struct{}{}
	time.Sleep(work)
	return func() { <-c.free }
}
