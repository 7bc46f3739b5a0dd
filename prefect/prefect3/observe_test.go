package prefect3_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

func observe(t *testing.T, c *prefect3.Client) (o prefect.Observation) {
	t.Helper()
	o, err := c.Observe(t.Context(), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// One look finds what waits in all work pools of our type, and says what holds runs back.
func TestObserveHeldRuns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		api.CreatePool(fake.Pool{Name: "paused", Paused: true})
		api.CreatePool(fake.Pool{Name: "docker", Type: "docker"})
		api.CreatePool(fake.Pool{Name: "limited", Limit: new(1)})
		ago := time.Now().Add(-time.Minute)
		names := map[string]string{}
		run := func(name string, o fake.Order) string {
			ago = ago.Add(time.Second)
			o.At = ago
			id := api.CreateRuns(o)[0]
			names[id] = name
			return id
		}
		run("free", fake.Order{Pool: "k8s"})
		run("paused", fake.Order{Pool: "paused"})
		run("docker", fake.Order{Pool: "docker"})
		run("first", fake.Order{Pool: "limited"})
		run("second", fake.Order{Pool: "limited"})
		deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s", Limit: new(1)})
		occupied := run("occupied", fake.Order{Deployment: deployment})
		waits := run("waits for a slot", fake.Order{Deployment: deployment})
		win(t, c, occupied)
		again := readRun(t, c, waits)
		if r, err := c.Claim(t.Context(), again, claimOf("a", again)); err != nil || r.Answer != prefect.NotNow {
			t.Fatalf("%+v, %v", r, err)
		}
		zero := api.CreateDeployment(fake.Deployment{Pool: "k8s", Limit: new(1)})
		run("limit 0", fake.Order{Deployment: zero})
		api.LimitDeployment(zero, new(0))
		own := run("its own pod waits", fake.Order{Pool: "k8s", Retries: 2, RetryDelay: time.Second})
		api.Begin(own)
		api.End(own, "FAILED", "Oh!")

		look := func() (due, held []string) {
			o := observe(t, c)
			for _, r := range o.Due {
				due = append(due, names[r.ID])
			}
			for _, r := range o.Held {
				held = append(held, names[r.ID]+": "+r.Why)
			}
			slices.Sort(due)
			slices.Sort(held)
			return due, held
		}
		due, held := look()
		if diff := cmp.Diff([]string{"first", "free"}, due); diff != "" {
			t.Errorf("due (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{
			"limit 0: its deployment's concurrency limit 0 has no free slot", "paused: work pool paused is paused",
			"second: work pool limited limit 1 reached", "waits for a slot: its deployment's concurrency limit 1 has no free slot",
		}, held); diff != "" {
			t.Errorf("held (-want +got):\n%s", diff)
		}
		// The server's 30 s are not waited for.
		api.End(occupied, "COMPLETED", "")
		api.CreatePool(fake.Pool{Name: "paused"})
		due, _ = look()
		if diff := cmp.Diff([]string{"first", "free", "paused", "waits for a slot"}, due); diff != "" {
			t.Errorf("due once there is room (-want +got):\n%s", diff)
		}
		win(t, c, waits)
	})
}

// With runs that wait for a slot at the head, those beyond the first page still show.
func TestObserveBeyondTheFirstPage(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		api.CreatePool(fake.Pool{Name: "full", Limit: new(0)})
		api.CreateRuns(fake.Order{Pool: "full", Count: 450, At: time.Now().Add(-time.Hour)})
		id := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now().Add(-time.Minute)})[0]
		o := observe(t, c)
		if len(o.Due) != 1 || o.Due[0].ID != id || len(o.Held) != 450 || o.Truncated {
			t.Errorf("%d are due, %d held, truncated %v", len(o.Due), len(o.Held), o.Truncated)
		}
		found, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 10})
		if err != nil || len(found.Runs) != 1 || found.Runs[0].ID != id || found.More {
			t.Errorf("%+v, %v", found, err)
		}
		// More than is read in one look.
		api.CreateRuns(fake.Order{Pool: "full", Count: 1000, At: time.Now().Add(-2 * time.Hour)})
		if o := observe(t, c); len(o.Due) > 0 || !o.Truncated {
			t.Errorf("%d are due, truncated %v: the run beyond may be launched", len(o.Due), o.Truncated)
		}
		api.Cancel(id)
		if o := observe(t, c); len(o.Due) > 0 || o.Truncated {
			t.Errorf("%d are due, truncated %v: all that is beyond is held back too", len(o.Due), o.Truncated)
		}
	})
}

// Claims, and runs that are being cancelled, are read more rarely than what is due, and
// hardly at all while there is nothing.
func TestIdleCost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		for n := range 50 {
			name := fmt.Sprint("pool-", n)
			api.CreatePool(fake.Pool{Name: name})
			api.CreateRuns(fake.Order{Pool: name, At: time.Now().Add(time.Hour)})
		}
		minute := func() int {
			before := api.Counts()["requests"]
			for n := range 60 {
				observe(t, c)
				if n%30 == 0 {
					if _, err := c.Supervise(t.Context(), nil, nil); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(time.Second)
			}
			return api.Counts()["requests"] - before
		}
		minute()
		if n := minute(); n > 66 {
			t.Errorf("%d requests a minute while nothing is due", n)
		}
		id := api.CreateRuns(fake.Order{Pool: "pool-0", At: time.Now()})[0]
		observe(t, c)
		win(t, c, id)
		time.Sleep(6 * time.Second)
		if o := observe(t, c); len(o.Claimed) != 1 {
			t.Errorf("6 s after the claim: %+v", o.Claimed)
		}
		api.Cancel(id)
		time.Sleep(6 * time.Second)
		if o := observe(t, c); len(o.Claimed) != 0 || len(o.Ending) != 1 || !o.Ending[0].NeverBegan {
			t.Errorf("6 s after the cancel: %+v, %+v", o.Claimed, o.Ending)
		}
	})
}

// offered are the runs that the server hands a worker.
func offered(t *testing.T, api *fake.API, pool string) (ids []string) {
	t.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"scheduled_before":%q}`, time.Now().UTC().Format(time.RFC3339Nano)))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://prefect.example/api/work_pools/"+pool+"/get_scheduled_flow_runs", body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := api.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Run struct{ ID string } `json:"flow_run"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		ids = append(ids, row.Run.ID)
	}
	return ids
}

// Launchers get what the server would offer, in its order.
func TestDueIsTheServersOffer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		api.CreatePool(fake.Pool{Name: "k8s", Limit: new(4)})
		for n, q := range []fake.Queue{{Name: "hi", Priority: 1}, {Name: "lo", Priority: 9, Limit: new(1)}, {Name: "off", Priority: 2, Paused: true}} {
			q.Pool = "k8s"
			api.CreateQueue(q)
			for late := range 2 {
				api.CreateRuns(fake.Order{Pool: "k8s", Queue: q.Name, At: time.Now().Add(-time.Duration(10*n+late+1) * time.Second)})
			}
		}
		api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now().Add(-10 * time.Second)})
		api.Begin(api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0])
		want := offered(t, api, "k8s")
		found, err := c.Due(t.Context(), prefect.DueQuery{Scope: prefect.Scope{Pools: []string{"k8s"}}, Until: time.Now(), Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range found.Runs {
			got = append(got, r.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) != 3 {
			t.Errorf("-offered +due:\n%s", diff)
		}
	})
}

// A look that cannot read what holds runs back is no look at all, also where the list goes on
// after the rows it judges: a launcher that took it for "nothing is due" would leave.
func TestDueFailsWithWhatHoldsRunsBack(t *testing.T) {
	for name, runs := range map[string]int{"one page": 1, "two pages": 250} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				api := fake.New(fake.Options{})
				api.CreatePool(fake.Pool{Name: "k8s"})
				c := clientOf(t, api, prefect3.Options{})
				api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now().Add(-time.Second), Count: runs})
				due := func() (prefect.DueRuns, error) {
					return c.Due(t.Context(), prefect.DueQuery{Scope: prefect.Scope{Pools: []string{"k8s"}}, Until: time.Now(), Limit: 300})
				}
				api.Break(fake.Fault{Route: "POST /work_queues/filter", Status: 500})
				if found, err := due(); err == nil {
					t.Errorf("found %d runs", len(found.Runs))
				}
				api.Mend()
				if found, err := due(); err != nil || len(found.Runs) != runs {
					t.Errorf("mended: found %d runs, %v", len(found.Runs), err)
				}
			})
		})
	}
}
