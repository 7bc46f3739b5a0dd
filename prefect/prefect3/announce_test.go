package prefect3_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// The pools of the scope stay ready for as long as somebody announces them.
func TestAnnounce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{WorkerName: "keda"})
		for _, name := range []string{"Größe 2", "b", "other"} {
			api.CreatePool(fake.Pool{Name: name})
		}
		scope := prefect.Scope{Pools: []string{"Größe 2", "b", "none"}}
		for range 12 {
			if err := c.Announce(t.Context(), scope); err != nil {
				t.Fatal(err)
			}
			for pool, want := range map[string]bool{"Größe 2": true, "b": true, "other": false} {
				workers := api.Workers(pool)
				is := len(workers) == 1 && workers[0].Name == "keda" && workers[0].Online && workers[0].Interval == 5*time.Minute
				if is != want {
					t.Errorf("pool %s: %+v", pool, workers)
				}
			}
			time.Sleep(5*time.Minute - time.Second)
		}
	})
}

// However many pools there are and however often they are announced, it costs few requests,
// and pools that somebody else keeps ready cost none at first.
func TestAnnounceCostsLittle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		for n := range 150 {
			api.CreatePool(fake.Pool{Name: fmt.Sprint("pool-", n)})
		}
		scaler, launcher := clientOf(t, api, prefect3.Options{}), clientOf(t, api, prefect3.Options{})
		minutes := func(c *prefect3.Client, n int) int {
			before := api.Counts()["requests"]
			for range n {
				if err := c.Announce(t.Context(), prefect.Scope{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
			}
			return api.Counts()["requests"] - before
		}
		minutes(scaler, 15)
		if n := minutes(scaler, 120); n > 120*5 {
			t.Errorf("%d requests in two hours", n)
		}
		for n := range 150 {
			if pool := fmt.Sprint("pool-", n); len(api.Workers(pool)) != 1 || !api.Workers(pool)[0].Online {
				t.Errorf("pool %s: %+v", pool, api.Workers(pool))
			}
		}
		if n := minutes(launcher, 3); n > 3 {
			t.Errorf("%d requests of a launcher beside a scaler", n)
		}
	})
}
