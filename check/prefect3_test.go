package check_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// checks3 are those of a Prefect 3 with a client of ours.
func checks3(t *testing.T, o prefect3.Options, change func(*check.Prefect3Options)) []check.Check {
	t.Helper()
	client, err := prefect3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	options := check.Prefect3Options{
		Address: o.API, Client: client, Secret: "auth string",
		Pools: func(ctx context.Context, names ...string) ([]check.Pool, error) {
			found, err := client.WorkPools(ctx, names...)
			var pools []check.Pool
			for _, p := range found {
				pools = append(pools, check.Pool{Name: p.Name, Type: p.Type, Paused: p.Paused, Limit: p.Limit})
			}
			return pools, err
		},
		Settings: check.Prefect3Settings{
			API: "PREFECT_API_URL", Key: "PREFECT_API_KEY", AuthString: "PREFECT_API_AUTH_STRING",
			Pools: "PREFECT_KEDA_WORK_POOLS", CSRF: "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", Events: "PREFECT_KEDA_EVENTS",
		},
	}
	change(&options)
	return check.OfPrefect3(options)
}

// What older servers do not have is named, and what is too old is refused.
func TestVersionOfPrefect3(t *testing.T) {
	const slots = "slots of a deployment's limit that last until a slow pod has started (3.4.11)"
	const pending = "the state InfrastructurePending for runs whose pod does not start yet (3.6.22)"
	for version, want := range map[string]string{
		"3.9.1":   "Prefect 3.9.1",
		"3.6.22":  "Prefect 3.6.22",
		"3.6.3":   "Prefect 3.6.3, which works, but does not have: " + pending,
		"3.4.10":  "Prefect 3.4.10, which works, but does not have: " + slots + "; " + pending,
		"2.20.26": "Prefect 2.20.26, which works, but does not have: concurrency limits of deployments; labels of runs, which show the launcher in the UI; " + slots + "; " + pending,
	} {
		api := fake.New(fake.Options{Version: version})
		api.CreatePool(fake.Pool{Name: "etl"})
		got, _ := results(t, checks3(t, prefect3.Options{API: api.Start(t)}, func(*check.Prefect3Options) {}))
		if d := cmp.Diff(check.Result{Check: "version", Status: check.OK, Detail: want}, got[3]); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
}

func TestScalersCheckOfPrefect3(t *testing.T) {
	api := fake.New(fake.Options{AuthString: "u:p"})
	limit := 1
	api.CreatePool(fake.Pool{Name: "etl", Limit: &limit})
	api.CreateRuns(fake.Order{Pool: "etl", Count: 3})
	got, failures := results(t, checks3(t, prefect3.Options{API: api.Start(t), AuthString: "u:p"}, func(o *check.Prefect3Options) {
		o.Anywhere, o.NoEvents, o.Connection = true, true, "team-a"
	}))
	want := []check.Result{
		{Check: "team-a: due flow runs", Status: check.OK, Detail: "1; 2 held back: work pool etl limit 1 reached"},
		{Check: "team-a: event stream", Status: check.Skip, Detail: "turned off by PREFECT_KEDA_EVENTS"},
	}
	if d := cmp.Diff(want, got[len(got)-2:]); d != "" || failures != 0 {
		t.Errorf("%d failures, -want +got:\n%s", failures, d)
	}
}

// Without events everything still works, only later.
func TestEventsAreNoFailure(t *testing.T) {
	got, failures := results(t, checks3(t, prefect3.Options{API: fake.New(fake.Options{}).Start(t)}, func(o *check.Prefect3Options) {
		o.Client = deaf{o.Client}
	}))
	last := got[len(got)-1]
	if last.Status != check.OK || !strings.HasPrefix(last.Detail, "not to be had, so runs are found by polls alone") {
		t.Errorf("%d failures, %+v", failures, last)
	}
	if pools := got[4]; pools.Status != check.Fail || pools.Advice != "create one: prefect work-pool create NAME --type kubernetes" {
		t.Errorf("without a pool: %+v", pools)
	}
}

type deaf struct{ check.Prefect3 }

func (deaf) TryEvents(context.Context) error { return errors.New("HTTP 403") }
