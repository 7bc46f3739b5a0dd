// Package control works the levers of a stand-in API anywhere else.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Client speaks to the control side at URL.
type Client struct {
	URL  string
	HTTP *http.Client // nil for http.DefaultClient
}

// CreateRuns creates flow runs and returns their ids.
func (c Client) CreateRuns(ctx context.Context, o prefecttest.Order) (ids []string, err error) {
	return ids, c.call(ctx, http.MethodPost, "runs", o, &ids)
}

// Runs returns the runs with these ids, or all of them.
func (c Client) Runs(ctx context.Context, ids ...string) (runs []prefecttest.Run, err error) {
	return runs, c.call(ctx, http.MethodGet, "runs?"+url.Values{"id": ids}.Encode(), nil, &runs)
}

// States counts the runs in each state.
func (c Client) States(ctx context.Context) (counts map[string]int, err error) {
	return counts, c.call(ctx, http.MethodGet, "states", nil, &counts)
}

// Counts says how often each operation was asked for.
func (c Client) Counts(ctx context.Context) (counts map[string]int, err error) {
	return counts, c.call(ctx, http.MethodGet, "counts", nil, &counts)
}

// Break makes something go wrong from now on; Mend ends it.
func (c Client) Break(ctx context.Context, f prefecttest.Fault) error {
	return c.call(ctx, http.MethodPost, "faults", f, nil)
}

// Mend clears all faults.
func (c Client) Mend(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "faults", nil, nil)
}

// Cancel is the UI's cancel button.
func (c Client) Cancel(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, "cancel?id="+url.QueryEscape(id), nil, nil)
}

// Lazarus does one round of the Lazarus process.
func (c Client) Lazarus(ctx context.Context) (touched int, err error) {
	return touched, c.call(ctx, http.MethodPost, "lazarus", nil, &touched)
}

func (c Client) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.URL, "/")+"/control/"+path, &body)
	if err != nil {
		return err
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("control the stand-in API: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("control the stand-in API: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("control the stand-in API: %s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
