package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	locations "github.com/prefect-keda/prefect-keda/location"
)

type web struct{ client *http.Client }

func (w *web) fetch(ctx context.Context, location, tag string) (text, error) {
	u, err := url.Parse(location)
	if err != nil {
		return text{}, authorError(nil, "the job template's URL is not one")
	}
	return get(ctx, w.client, u, tag, locations.Shown(location), "check the URL and who may read it")
}

// get is one conditional GET. An answer that no other try would change is the
// author's, with the advice for it.
func get(ctx context.Context, client *http.Client, u *url.URL, tag, name, advice string) (text, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return text{}, authorError(nil, "the job template's URL is not one: %s", name)
	}
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	resp, err := client.Do(req)
	if err != nil {
		// The error would repeat the URL with its query, which may hold a signature.
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return text{}, fmt.Errorf("get %s: %w", name, err)
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		body, err := limited(resp.Body, name)
		return text{body: body, tag: resp.Header.Get("ETag")}, err
	case code == http.StatusNotModified && tag != "":
		return text{}, errSame
	case code >= 500 || code == http.StatusTooManyRequests:
		return text{}, fmt.Errorf("get %s: %s", name, resp.Status)
	}
	return text{}, authorError(nil, "the job template at %s answers %s: %s", name, resp.Status, advice)
}
