package source

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// freshFor is how long an answer serves without another question: a burst of
	// runs with the same template asks once.
	freshFor = 5 * time.Second
	// maxPages bounds the cache; each page is small.
	maxPages = 64
	// maxFailing bounds what is known of locations that fail.
	maxFailing = 256
	// A location that fails is left alone for firstHold, then twice as long each
	// time, up to maxHold: one that hangs must not occupy whoever names it.
	firstHold = 5 * time.Second
	maxHold   = 30 * time.Second
	// staleAfter is longer than those who name a location that fails leave it alone.
	staleAfter = 2 * time.Minute
)

// page is what a location had when it was asked.
type page struct {
	body []byte
	// tag tells versions apart (an ETag); empty if the server gives none.
	tag   string
	asked time.Time
}

// fetch gets what is at a location, or errSame when that still has the tag.
type fetch func(ctx context.Context, location, tag string) (page, error)

var errSame = errors.New("not modified")

// cache keeps pages that are fresh, or that a server can confirm. One that cannot
// be confirmed is never served: the author may have mended it.
type cache struct {
	flights singleflight.Group

	mu      sync.Mutex
	pages   map[string]page
	failing map[string]failure
}

// failure is what a location last failed with, and since when it has.
type failure struct {
	err   *job.AwayError
	held  time.Duration
	until time.Time
	// asking: somebody finds out whether it still fails.
	asking bool
}

// get returns a fresh page's body. Who asks while another does waits for the
// same answer, unless the last one was a failure: then that is the answer. Errors
// of the author's are not held, since what they mended must count at once.
func (c *cache) get(location string, ask func(tag string) (page, error)) ([]byte, error) {
	if p := c.page(location); time.Since(p.asked) < freshFor {
		return p.body, nil
	}
	if err := c.held(location); err != nil {
		return nil, err
	}
	body, err, _ := c.flights.Do(location, func() (any, error) {
		old, asked := c.page(location), time.Now()
		p, err := ask(old.tag)
		err = c.answered(location, err)
		switch {
		case errors.Is(err, errSame):
			p = old
		case err != nil:
			return []byte(nil), err
		}
		p.asked = asked
		c.keep(location, p)
		return p.body, nil
	})
	return body.([]byte), err
}

// held is the failure to repeat, or nil if the caller is to ask.
func (c *cache) held(location string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, failed := c.failing[location]
	if !failed {
		return nil
	}
	if f.asking || time.Now().Before(f.until) {
		return f.err
	}
	f.asking = true
	c.failing[location] = f
	return nil
}

// answered takes note of how a location answers, and tells who is to blame.
func (c *cache) answered(location string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, authors := errors.AsType[*prefect.AuthorError](err)
	if err == nil || errors.Is(err, errSame) || authors {
		delete(c.failing, location)
		return err
	}
	now, last := time.Now(), c.failing[location]
	away := &job.AwayError{Since: now, Err: err}
	if !last.stale(now) {
		away.Since = last.err.Since
	}
	hold := min(max(firstHold, 2*last.held), maxHold)
	c.failing[location] = failure{err: away, held: hold, until: now.Add(hold)}
	if len(c.failing) > maxFailing {
		c.forget(now)
	}
	return away
}

// stale: nobody has asked for so long that nothing is known of the time between.
func (f failure) stale(now time.Time) bool { return now.Sub(f.until) > staleAfter }

// forget makes room: what has failed for the longest time is the closest to being
// given up.
func (c *cache) forget(now time.Time) {
	least := ""
	for l, f := range c.failing {
		switch other, chosen := c.failing[least]; {
		case f.stale(now):
			delete(c.failing, l)
		case !chosen || f.err.Since.After(other.err.Since):
			least = l
		}
	}
	if len(c.failing) > maxFailing {
		delete(c.failing, least)
	}
}

func (c *cache) page(location string) page {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pages[location]
}

func (c *cache) keep(location string, p page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages[location] = p
	if len(c.pages) <= maxPages {
		return
	}
	oldest := location
	for l, p := range c.pages {
		if p.asked.Before(c.pages[oldest].asked) {
			oldest = l
		}
	}
	delete(c.pages, oldest)
}
