package launcher

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// A Job of our own is known before the watch tells of it. It is forgotten when
// that has come true, and when it has not for so long that it will not.
func TestOwnJobsAreKnownUntilTheWatchTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		c := newCluster(kubernetes(client, "flows"), "flows", slog.New(slog.DiscardHandler))
		names := func() []string {
			var all []string
			for _, j := range c.known("r").Jobs {
				all = append(all, j.Name)
			}
			return all
		}
		want := func(when string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, names()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		if err := c.create(t.Context(), jobOfRun("r")); err != nil {
			t.Fatal(err)
		}
		want("before the watch begins", "job-r")
		time.Sleep(recentFor + time.Second)
		want("after a minute in which the watch told nothing")

		go c.watch(t.Context())
		synctest.Wait()
		want("when the watch has told", "job-r")
		if len(c.recent) > 0 {
			t.Errorf("remembers %v besides", c.recent)
		}
		if err := client.BatchV1().Jobs("flows").Delete(t.Context(), "job-r", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want("when it was deleted")
	})
}
