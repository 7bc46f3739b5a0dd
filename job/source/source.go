// Package source reads Job templates that are given by location: local files
// and http(s). It is the only I/O near templates; it does not know what a
// template means.
//
// Locations and schemes are those of prefect1-spec §4.1, but a page that is not
// 200 OK is an error here instead of a template.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// maxBytes is far above any Job and far below what would hurt.
const maxBytes = 1 << 20

// timeout bounds one fetch.
const timeout = 10 * time.Second

// Reader reads templates. The zero value is ready.
type Reader struct {
	// Client for http(s); nil for http.DefaultClient.
	Client *http.Client
}

// Read returns the template at location. What only the author can mend (a path
// that is not there, a scheme we do not speak) is a *prefect.AuthorError; a
// server that does not answer is not.
func (r Reader) Read(ctx context.Context, location string) ([]byte, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, &prefect.AuthorError{Message: fmt.Sprintf("the job template location %q is neither a path nor a URL", location), Err: err}
	}
	switch u.Scheme {
	case "", "file", "local", "agent":
		return readFile(u.Path)
	case "http", "https":
		return r.get(ctx, u)
	}
	return nil, &prefect.AuthorError{Message: fmt.Sprintf("Unsupported file scheme %s: use a path, http:// or https://", location)}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &prefect.AuthorError{Message: fmt.Sprintf("Job template doesn't exist at %s: the path is looked up in the launcher's container", path), Err: err}
	}
	if err != nil {
		return nil, &prefect.AuthorError{Message: "the job template cannot be read: " + err.Error(), Err: err}
	}
	defer f.Close()
	return limited(f, path)
}

func (r Reader) get(ctx context.Context, u *url.URL) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, &prefect.AuthorError{Message: "the job template's URL is not one: " + shown(u)}
	}
	client := r.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		// The error would repeat the URL with its query, which may hold a signature.
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return nil, fmt.Errorf("get %s: %w", shown(u), err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		return limited(resp.Body, shown(u))
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("get %s: %s", shown(u), resp.Status)
	}
	return nil, &prefect.AuthorError{Message: fmt.Sprintf("the job template at %s answers %s: check the URL and who may read it", shown(u), resp.Status)}
}

func limited(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxBytes {
		return nil, &prefect.AuthorError{Message: fmt.Sprintf("the job template %s is larger than 1 MiB", name)}
	}
	return b, nil
}

// shown is a URL without what may be secret in it.
func shown(u *url.URL) string {
	c := *u
	c.User, c.RawQuery, c.Fragment = nil, "", ""
	return c.String()
}
