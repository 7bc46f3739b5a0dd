package prefecttest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Requests that come together are answered one after another, and one whose client has
// left takes its turn and effect all the same.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := prefecttest.New(prefecttest.Options{OneAtATime: time.Second})
		run := api.CreateRuns(prefecttest.Order{})[0]
		client, began := &http.Client{Transport: api.Transport()}, time.Now()
		post := func(ctx context.Context, body string) time.Duration {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://prefect", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return 0
			}
			if resp, err := client.Do(r); err == nil {
				io.Copy(io.Discard, resp.Body) //nolint:errcheck // it is in memory
				resp.Body.Close()
			}
			return time.Since(began)
		}
		impatient, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		took := make([]time.Duration, 3)
		var all sync.WaitGroup
		for i, ask := range []func() time.Duration{
			func() time.Duration { return post(t.Context(), `{"query":"{ hello }"}`) },
			func() time.Duration { return post(impatient, strings.ReplaceAll(submitting, "RUN", run)) },
			func() time.Duration { return post(t.Context(), `{"query":"{ hello }"}`) },
		} {
			all.Go(func() { took[i] = ask() })
			synctest.Wait() // in this order
		}
		all.Wait()
		if diff := cmp.Diff([]time.Duration{time.Second, 500 * time.Millisecond, 3 * time.Second}, took); diff != "" {
			t.Errorf("answered or given up after (-want +got):\n%s", diff)
		}
		if state := api.Runs(run)[0].State; state != "Submitted" {
			t.Errorf("the run is %s", state)
		}
	})
}
