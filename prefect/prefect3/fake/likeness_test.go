package fake_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/servertest"
)

// The stand-in does what real servers do, which pass the same tests (make conformance).
func TestBehavesAsAServer(t *testing.T) {
	for _, version := range []string{fake.Newest, "2.20.26"} {
		t.Run(version, func(t *testing.T) {
			var passed atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
			api := fake.New(fake.Options{Version: version, Now: now, Lease: 30 * time.Second})
			servertest.Run(t, servertest.Server{
				URL: api.Start(t), Version: version, Lease: 30 * time.Second, Restart: api.Restart,
				Wait: func(d time.Duration) { passed.Add(int64(d)) },
			})
		})
	}
}
