package prefect1_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Without an order the server answers tenants in any, and two of our processes might work
// for two of them.
func TestTheOldestOfSeveralTenantsIsChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := prefecttest.New(prefecttest.Options{})
		time.Sleep(time.Hour)
		second := api.CreateTenant("team-b")
		time.Sleep(time.Hour)
		third := api.CreateTenant("team-c")
		var log bytes.Buffer
		c, err := prefect1.New(prefect1.Options{
			Backend: prefect1.Server, HTTPTransport: api.Transport(), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"default (" + api.Tenant() + ")", "team-b (" + second + ")", "team-c (" + third + ")"}
		for range 2 {
			if _, err := c.Observe(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
			if id, err := c.TenantID(t.Context()); id != api.Tenant() || err != nil {
				t.Errorf("chose %q, %v; want %s", id, err, api.Tenant())
			}
			id, from, err := c.Tenant(t.Context())
			if diff := cmp.Diff(want, from); id != api.Tenant() || err != nil || diff != "" {
				t.Errorf("%q, %v; from (-want +got):\n%s", id, err, diff)
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), fmt.Sprintf("tenants=%q", fmt.Sprint(want))) {
			t.Errorf("want one line that names all:\n%s", log.String())
		}
	})
}

// replaced is an API that another one replaces.
type replaced struct{ *prefecttest.API }

func (r *replaced) RoundTrip(request *http.Request) (*http.Response, error) {
	return r.Transport().RoundTrip(request)
}

// A launcher asks four questions at first, which need one and the same tenant.
func TestTheTenantIsLookedUpOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := prefecttest.New(prefecttest.Options{OneAtATime: time.Second})
		c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		var asking sync.WaitGroup
		for range 4 {
			asking.Go(func() {
				if id, err := c.TenantID(t.Context()); id != api.Tenant() || err != nil {
					t.Errorf("%q, %v; want %s", id, err, api.Tenant())
				}
			})
		}
		time.Sleep(time.Second / 2)
		given, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.TenantID(given); !errors.Is(err, context.Canceled) {
			t.Errorf("who does not wait is told %v", err)
		}
		asking.Wait()
		if n := api.Counts()["tenant"]; n != 1 {
			t.Errorf("%d look-ups, want 1", n)
		}
	})
}

// An API that was set up anew has another tenant, and answers for ours with no runs.
func TestATenantThatIsGoneIsAskedForAgain(t *testing.T) {
	for name, look := range map[string]func(context.Context, *prefect1.Client) (int, error){
		"observing": func(ctx context.Context, c *prefect1.Client) (int, error) {
			o, err := c.Observe(ctx, time.Now())
			return len(o.Due), err
		},
		"reading what is due": func(ctx context.Context, c *prefect1.Client) (int, error) {
			found, err := c.Due(ctx, prefect.DueQuery{Until: time.Now(), Limit: 10})
			return len(found.Runs), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &replaced{prefecttest.New(prefecttest.Options{})}
				c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: api})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Announce(t.Context(), prefect.Scope{}); err != nil {
					t.Fatal(err)
				}
				looks := func(n int) (due []int) {
					for range n {
						n, err := look(t.Context(), c)
						if err != nil {
							t.Fatal(err)
						}
						due = append(due, n)
						time.Sleep(10 * time.Second)
					}
					return due
				}
				looks(63)
				if asked := api.Counts()["tenant"]; asked != 11 {
					t.Errorf("the tenant was asked for %d times in ten and a half minutes in which nothing was due, want 11", asked)
				}
				api.API = prefecttest.New(prefecttest.Options{})
				api.CreateRuns(prefecttest.Order{Count: 4})
				if due := looks(8); due[0] != 0 || due[7] != 4 {
					t.Errorf("due: %v; want that of the new tenant after a minute", due)
				}
				if err := c.Announce(t.Context(), prefect.Scope{}); err != nil || len(api.Agents()) != 1 || api.Agents()[0].LastQueried.IsZero() {
					t.Errorf("agents of the new tenant: %+v, %v", api.Agents(), err)
				}
				asked := api.Counts()["tenant"]
				looks(60)
				if again := api.Counts()["tenant"] - asked; again != 0 {
					t.Errorf("while runs were due the tenant was asked for %d times", again)
				}
			})
		})
	}
}

// A tenant that does not exist is an error, not a tenant with nothing to do.
func TestNoRunsOfATenantThatIsNotThereAreAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := prefecttest.New(prefecttest.Options{})
		c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, TenantID: tenantID, HTTPTransport: api.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, err := c.Observe(t.Context(), time.Now())
			_, dueErr := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 10})
			if !errors.Is(err, prefect.ErrNotFound) || !errors.Is(dueErr, prefect.ErrNotFound) {
				t.Errorf("%v, %v; want both to say that the tenant is not found", err, dueErr)
			}
			time.Sleep(time.Second)
		}
	})
}

// A Server that has no tenant yet, or that loses it, says so at every poll.
func TestServerWithoutATenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone bool
		api := prefecttest.New(prefecttest.Options{})
		c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, HTTPTransport: transport(func(r *http.Request) (*http.Response, error) {
			if gone {
				return says(200, `{"data":{"tenant":[],"due":[],"retrying":[],"claimed":[]}}`)()
			}
			return api.Transport().RoundTrip(r)
		})})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Observe(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		gone = true
		time.Sleep(2 * time.Minute)
		for range 3 {
			if _, err := c.Observe(t.Context(), time.Now()); err == nil || !strings.Contains(err.Error(), "has no tenant yet") {
				t.Errorf("a Server without tenants: %v", err)
			}
			time.Sleep(time.Second)
		}
		gone = false
		if _, err := c.Observe(t.Context(), time.Now()); err != nil {
			t.Errorf("the tenant is back: %v", err)
		}
	})
}

// A Cloud key has one tenant, and Cloud refuses keys of tenants that are gone.
func TestCloudIsNotAskedForItsTenantAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := prefecttest.New(prefecttest.Options{Key: "k"})
		c, err := prefect1.New(prefect1.Options{Backend: prefect1.Cloud, Key: "k", API: "http://cloud", HTTPTransport: api.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, err := c.Observe(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := api.Counts(); n["auth_info"] != 1 || n["tenant"] != 0 {
			t.Errorf("asked for: %v", n)
		}
	})
}
