package prefect3

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The first servers with a feature (prefect3 §7.3).
const (
	withLabels       = "3.1.6"
	withLeases       = "3.4.11"
	withNamedPending = "3.6.22"
)

// versionFor is how long a server's version is believed: it may be upgraded.
const versionFor = time.Hour

// serverVersion is the server's version, asked for when somebody needs it.
type serverVersion struct {
	asking chan struct{} // held while it is asked for

	mu    sync.Mutex
	text  string
	until time.Time
}

func (v *serverVersion) known(now time.Time) (string, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.text, now.Before(v.until)
}

func (v *serverVersion) learn(text string, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.text, v.until = text, now.Add(versionFor)
}

// ServerVersion is the version of Prefect's server; empty for Cloud, which does not say.
func (c *Client) ServerVersion(ctx context.Context) (string, error) {
	if c.isCloud {
		return "", nil
	}
	if text, ok := c.server.known(time.Now()); ok {
		return text, nil
	}
	select {
	case c.server.asking <- struct{}{}:
		defer func() { <-c.server.asking }()
	case <-ctx.Done():
		return "", fmt.Errorf("ask for the server's version: %w", ctx.Err())
	}
	if text, ok := c.server.known(time.Now()); ok {
		return text, nil
	}
	var text string
	err := c.wire.get(ctx, "version", "/admin/version", &text)
	if err != nil && !noRoute.is(err) && !notFound.is(err) {
		return "", fmt.Errorf("ask for the server's version: %w", err)
	}
	c.server.learn(text, time.Now())
	return text, nil
}

// since reports whether the server has a feature that came with a version. Cloud has them
// all, and a server that does not answer is taken for a new one: what an old one lacks, it
// refuses.
func (c *Client) since(ctx context.Context, version string) bool {
	text, err := c.ServerVersion(ctx)
	return err != nil || text == "" || !less(text, version)
}

// less compares versions number by number. Development versions count as their release.
func less(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if x, y := numberAt(as, i), numberAt(bs, i); x != y {
			return x < y
		}
	}
	return false
}

// numberAt is the leading number of a part: 9 of "9rc1", zero of none.
func numberAt(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	digits := parts[i]
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, _ := strconv.Atoi(digits)
	return n
}
