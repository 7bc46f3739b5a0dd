package prefect3_test

import (
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

// What may hold runs back is read with each look, and what holds nothing back seldom.
func TestPoolsAreReadAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		pool       fake.Pool
		deployment fake.Deployment
		// often: with each of six looks, one each second.
		often bool
	}{
		"free":                         {},
		"a paused pool":                {pool: fake.Pool{Paused: true}, often: true},
		"a limited pool":               {pool: fake.Pool{Limit: new(50)}, often: true},
		"a deployment that has one":    {deployment: fake.Deployment{}},
		"a deployment that is limited": {deployment: fake.Deployment{Limit: new(50)}, often: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				api := fake.New(fake.Options{})
				c := clientOf(t, api, prefect3.Options{})
				tc.pool.Name, tc.deployment.Pool = "k8s", "k8s"
				api.CreatePool(tc.pool)
				api.CreateRuns(fake.Order{Deployment: api.CreateDeployment(tc.deployment), At: time.Now().Add(-time.Hour)})
				look := func() prefect.DueRuns {
					due, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 10})
					if err != nil {
						t.Fatal(err)
					}
					return due
				}
				for range 6 {
					look()
					time.Sleep(time.Second + time.Millisecond)
				}
				want := 2
				if tc.often {
					want = 6
				}
				for _, route := range []string{"POST /work_pools/filter", "POST /work_queues/filter", "POST /deployments/filter"} {
					if n := api.Counts()[route]; n != want {
						t.Errorf("%s %d times, want %d", route, n, want)
					}
				}
				tc.pool.Paused = true
				api.CreatePool(tc.pool)
				time.Sleep(4 * time.Second)
				if due := look(); len(due.Runs) > 0 {
					t.Error("4 s after its pool was paused the run is still due")
				}
			})
		})
	}
}
