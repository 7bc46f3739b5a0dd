package control_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest/control"
)

// Every lever works from afar as it does in the process.
func TestLevers(t *testing.T) {
	ctx, api := t.Context(), prefecttest.New(prefecttest.Options{})
	server := httptest.NewServer(api.Control())
	defer server.Close()
	c := control.Client{URL: server.URL + "/"}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	ids, err := c.CreateRuns(ctx, prefecttest.Order{Count: 2, In: prefecttest.Duration(time.Hour), Labels: []string{"gpu"}})
	must(err)
	runs, err := c.Runs(ctx, ids...)
	must(err)
	if d := cmp.Diff(api.Runs(ids...), runs, cmpopts.IgnoreUnexported(prefecttest.StateChange{})); d != "" || len(runs) != 2 {
		t.Errorf("%d runs; here - and from afar +:\n%s", len(runs), d)
	}
	all, err := c.Runs(ctx)
	must(err)
	if len(all) != 2 {
		t.Errorf("without ids %d runs are read, want all of them", len(all))
	}

	must(c.Cancel(ctx, ids[0]))
	states, err := c.States(ctx)
	must(err)
	if d := cmp.Diff(map[string]int{"Cancelled": 1, "Scheduled": 1}, states); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	touched, err := c.Lazarus(ctx)
	must(err)
	if touched != 0 {
		t.Errorf("Lazarus touched %d runs, of which none waits for him", touched)
	}

	faced := httptest.NewServer(api)
	defer faced.Close()
	ask := func() int {
		resp, err := faced.Client().Post(faced.URL, "application/json", strings.NewReader(`{"query":"{ hello }"}`))
		must(err)
		resp.Body.Close()
		return resp.StatusCode
	}
	must(c.Break(ctx, prefecttest.Fault{Status: 503}))
	broken := ask()
	must(c.Mend(ctx))
	if mended := ask(); broken != 503 || mended != 200 {
		t.Errorf("broken it answers %d, mended %d", broken, mended)
	}
	counts, err := c.Counts(ctx)
	must(err)
	if d := cmp.Diff(map[string]int{"requests": 2, "hello": 2}, counts); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestNobodyToControl(t *testing.T) {
	if err := (control.Client{URL: "http://127.0.0.1:1"}).Mend(t.Context()); err == nil {
		t.Error("no error")
	}
	server := httptest.NewServer(prefecttest.New(prefecttest.Options{}))
	defer server.Close()
	if err := (control.Client{URL: server.URL}).Mend(t.Context()); err == nil || !strings.Contains(err.Error(), "405") {
		t.Errorf("the API's own port: %v", err)
	}
}
