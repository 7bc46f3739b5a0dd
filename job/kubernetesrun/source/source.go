// Package source reads Job templates that are given by location: local files,
// http(s), S3 and Google Cloud Storage. It is the only I/O near templates; it
// does not know what a template means.
//
// Locations and schemes are those of prefect1 §4.1, but a page that is not
// 200 OK is an error here instead of a template. Credentials are ambient, as the
// clouds' own tools find them, and looked for when a location first needs them.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	locations "github.com/prefect-keda/prefect-keda/location"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxBytes is far above any Job and far below what would hurt.
	maxBytes = 1 << 20
	// maxLocation is far above any path or signed URL, and little to remember.
	maxLocation = 8 << 10
	// timeout bounds one fetch, the search for credentials included.
	timeout = 10 * time.Second
)

// Reader reads templates. Many may use it at once.
type Reader struct {
	remote map[string]fetch // by scheme
	cache  cache
}

// New is a Reader that speaks HTTP through client; nil is http.DefaultClient.
func New(client *http.Client) *Reader {
	if client == nil {
		client = http.DefaultClient
	}
	web, gs := &web{client}, &gs{client: client}
	return &Reader{
		remote: map[string]fetch{"http": web.fetch, "https": web.fetch, "s3": newS3(client).fetch, "gs": gs.fetch, "gcs": gs.fetch},
		cache:  cache{texts: map[string]text{}, failing: map[string]failure{}},
	}
}

// Read returns the template at location, which is not to be changed. What only
// the author can mend (a path that is not there, a scheme we do not speak) is a
// *prefect.AuthorError; a server that does not answer is a *job.AwayError.
func (r *Reader) Read(ctx context.Context, location string) ([]byte, error) {
	if len(location) > maxLocation {
		return nil, authorError(nil, "the location of the job template has %d bytes, and may have %d: %.60s…", len(location), maxLocation, locations.Shown(location))
	}
	scheme, path := split(location)
	switch scheme {
	case "", "file", "local", "agent":
		return readFile(path)
	}
	fetch, ok := r.remote[scheme]
	if !ok {
		return nil, authorError(nil, "Unsupported file scheme %s: use a path, http://, https://, s3:// or gs://", locations.Shown(location))
	}
	return r.cache.get(location, func(tag string) (text, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return fetch(ctx, location, tag)
	})
}

func authorError(err error, format string, args ...any) error {
	return &prefect.AuthorError{Message: fmt.Sprintf(format, args...), Err: err}
}

// readFile reads anew each time: a mounted ConfigMap changes. A pipe or a device
// could keep its reader for ever, so opening does not wait either.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, authorError(fs.ErrNotExist, "Job template doesn't exist at %s: the path is looked up in the launcher's container", locations.Shown(path))
	}
	if err != nil {
		if inner, ok := errors.AsType[*fs.PathError](err); ok {
			err = inner.Err // the path is shown as far as it may be
		}
		return nil, authorError(err, "the job template %s cannot be read: %v", locations.Shown(path), err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, authorError(err, "the job template %s is not a file", locations.Shown(path))
	}
	return limited(f, locations.Shown(path))
}

func limited(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxBytes {
		return nil, authorError(nil, "the job template %s is larger than 1 MiB", name)
	}
	return b, nil
}

// object splits s3://bucket/key. The key is what is written, percent signs and
// all, as the agent took it.
func object(location string) (bucket, key string, err error) {
	scheme, rest, _ := strings.Cut(location, "://")
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	bucket, key, _ = strings.Cut(rest, "/")
	if bucket == "" || key == "" || strings.ContainsAny(bucket, "@:") {
		// With a user and a password it is no bucket either: credentials are ambient.
		return "", "", authorError(nil, "the job template location %s names no object: write %s://BUCKET/KEY", locations.Shown(location), scheme)
	}
	return bucket, key, nil
}
