package source

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/prefect-keda/prefect-keda/backoff"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// freshFor is how long an answer serves without another question: a burst of
	// runs with the same template asks once.
	freshFor = 5 * time.Second
	// maxTexts bounds the cache; each text is small.
	maxTexts = 64
	// maxFailing bounds what is known of locations that fail.
	maxFailing = 256
	// A location that fails is left alone for firstBackoff, then twice as long each
	// time, up to maxBackoff: one that hangs must not occupy whoever names it.
	firstBackoff = 5 * time.Second
	maxBackoff   = 30 * time.Second
	// staleAfter is longer than those who name a location that fails leave it alone.
	staleAfter = 2 * time.Minute
)

// text is the content of a location when it was read.
type text struct {
	body []byte
	// tag tells versions apart (an ETag); empty if the server gives none.
	tag   string
	asked time.Time
}

// fetch gets what is at a location, or errSame when that still has the tag.
type fetch func(ctx context.Context, location, tag string) (text, error)

var errSame = errors.New("not modified")

// cache keeps texts that are fresh, or that a server can confirm. One that cannot
// be confirmed is never served: the author may have fixed it.
type cache struct {
	flights singleflight.Group

	mu      sync.Mutex
	texts   map[string]text
	failing map[string]failure
}

// failure is the last error of a location, and since when it fails.
type failure struct {
	err *job.AwayError
	// times in a row that it was asked.
	times int
	until time.Time
	// asking: somebody finds out whether it still fails.
	asking bool
}

// get returns a fresh text's body. Who asks while another does waits for the
// same answer, unless the last one was a failure: then that is the answer. Errors
// of the author's are not repeated, because a correction must count at once.
func (c *cache) get(location string, ask func(tag string) (text, error)) ([]byte, error) {
	if t := c.text(location); time.Since(t.asked) < freshFor {
		return t.body, nil
	}
	if err := c.failed(location); err != nil {
		return nil, err
	}
	body, err, _ := c.flights.Do(location, func() (any, error) {
		old, asked := c.text(location), time.Now()
		t, err := ask(old.tag)
		err = c.answered(location, err)
		switch {
		case errors.Is(err, errSame):
			t = old
		case err != nil:
			return []byte(nil), err
		}
		t.asked = asked
		c.keep(location, t)
		return t.body, nil
	})
	return body.([]byte), err
}

// failed is the failure to repeat, or nil if the caller is to ask.
func (c *cache) failed(location string) error {
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
	pause := backoff.Growing{First: firstBackoff, Longest: maxBackoff}.After(last.times + 1)
	c.failing[location] = failure{err: away, times: last.times + 1, until: now.Add(pause)}
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

func (c *cache) text(location string) text {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.texts[location]
}

func (c *cache) keep(location string, t text) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.texts[location] = t
	if len(c.texts) <= maxTexts {
		return
	}
	byAge := func(a, b string) int { return c.texts[a].asked.Compare(c.texts[b].asked) }
	delete(c.texts, slices.MinFunc(slices.Collect(maps.Keys(c.texts)), byAge))
}
