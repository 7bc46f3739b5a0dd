package source

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// freshFor is how long an answer serves without another question: a burst of
	// runs with the same template asks once.
	freshFor = 5 * time.Second
	// maxPages bounds the cache; each page is small.
	maxPages = 64
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

	mu    sync.Mutex
	pages map[string]page
}

// get returns a fresh page's body. Who asks while another does waits for the
// same answer.
func (c *cache) get(location string, ask func(tag string) (page, error)) ([]byte, error) {
	if p := c.page(location); time.Since(p.asked) < freshFor {
		return p.body, nil
	}
	body, err, _ := c.flights.Do(location, func() (any, error) {
		old, asked := c.page(location), time.Now()
		p, err := ask(old.tag)
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
