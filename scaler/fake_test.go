package scaler

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// fakeSource is a Prefect API in memory that can be told to fail or to hang.
type fakeSource struct {
	mu    sync.Mutex
	due   []prefect.DueRun
	claim []prefect.ClaimedRun
	held  []prefect.HeldRun
	end   []prefect.JobRun
	trunc bool
	large bool // with trunc
	err   error
	hung  bool
	hangs int // looks that hang
	calls []time.Time
	until time.Time

	supervision prefect.Supervision
	supervised  []asked
	// mute has Supervise hang.
	mute bool
	// superviseErr is what Supervise alone answers.
	superviseErr error
}

// asked is what a call of Supervise asked about.
type asked struct{ troubled, active []string }

// Supervise answers of the runs in supervision what was asked for.
func (f *fakeSource) Supervise(ctx context.Context, troubled, active []string) (prefect.Supervision, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.supervised = append(f.supervised, asked{troubled, active})
	if f.mute {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock() // for the deferred Unlock
		return prefect.Supervision{}, ctx.Err()
	}
	if err := cmp.Or(f.superviseErr, f.err); err != nil {
		return prefect.Supervision{}, err
	}
	among := func(runs []prefect.JobRun, ids []string) (some []prefect.JobRun) {
		for _, r := range runs {
			if slices.Contains(ids, r.ID) {
				some = append(some, r)
			}
		}
		return some
	}
	return prefect.Supervision{
		Troubled: among(f.supervision.Troubled, troubled),
		Ending:   among(f.supervision.Ending, active),
		Silent:   f.supervision.Silent,
	}, nil
}

func (f *fakeSource) Observe(ctx context.Context, until time.Time) (prefect.Observation, error) {
	f.mu.Lock()
	f.calls = append(f.calls, time.Now())
	f.until = until
	hung, err := f.hung, f.err
	if hung {
		f.hangs++
	}
	var o prefect.Observation
	for _, r := range f.due {
		if r.Due.Before(until) {
			o.Due = append(o.Due, r)
		}
	}
	o.Claimed, o.Truncated, o.TooLarge = append(o.Claimed, f.claim...), f.trunc, f.large
	o.Held, o.Ending = append(o.Held, f.held...), append(o.Ending, f.end...)
	f.mu.Unlock()
	if hung {
		<-ctx.Done()
		f.change(func(f *fakeSource) { f.hangs-- })
		return prefect.Observation{}, ctx.Err()
	}
	if err != nil {
		return prefect.Observation{}, err
	}
	return o, nil
}

// change alters what the next look sees.
func (f *fakeSource) change(c func(*fakeSource)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c(f)
}

func (f *fakeSource) set(runs ...prefect.DueRun) { f.change(func(f *fakeSource) { f.due = runs }) }

func (f *fakeSource) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

// callsSince are when it was asked, without the first few.
func (f *fakeSource) callsSince(n int) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls[n:])
}

func (f *fakeSource) hanging() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hangs
}

func (f *fakeSource) supervisions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.supervised)
}

func (f *fakeSource) asksUntil() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.until
}

func run(id string, due time.Time, labels ...string) prefect.DueRun {
	return prefect.DueRun{ID: id, Due: due, Place: prefect.Place{Labels: labels}}
}

// pooled is a run that waits in a queue of a work pool.
func pooled(id string, due time.Time, pool, queue string) prefect.DueRun {
	return prefect.DueRun{ID: id, Due: due, Place: prefect.Place{Pool: pool, Queue: queue}}
}

func ref(name string, metadata ...string) *externalscaler.ScaledObjectRef {
	r := &externalscaler.ScaledObjectRef{Name: name, Namespace: "flows", ScalerMetadata: map[string]string{
		"scalerAddress": "prefect-keda-scaler.prefect-keda:9090",
	}}
	for _, m := range metadata {
		k, v, _ := strings.Cut(m, "=")
		r.ScalerMetadata[k] = v
	}
	return r
}

func options(f Source) Options {
	return Options{Listen: "127.0.0.1:0", PollInterval: MinPollInterval, WarmUpLead: 10 * time.Second, Connections: map[string]Connection{"default": {Source: f}}, Jitter: halfway}
}

// halfway has all pauses in the middle of their range: a look every 0.9 s.
func halfway() float64 { return 0.5 }

// serving is a scaler that serves on an in-memory listener until the test ends.
type serving struct {
	*Server
	client externalscaler.ExternalScalerClient
	conn   *grpc.ClientConn
	stop   func() error
	// dial opens one more connection.
	dial func(context.Context) (net.Conn, error)
}

func serve(t *testing.T, o Options) *serving {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.delay = 0
	l := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l) }()
	conn, err := grpc.NewClient("passthrough:scaler", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return &serving{s, externalscaler.NewExternalScalerClient(conn), conn, stop, l.DialContext}
}

// poll asks as KEDA's poll loop does: the spec, then for each spec its metric
// and whether it is active, under the name without the trigger's prefix.
func (s *serving) poll(t *testing.T, r *externalscaler.ScaledObjectRef) (active bool, value float64, err error) {
	t.Helper()
	spec, err := s.client.GetMetricSpec(t.Context(), r)
	if err != nil {
		return false, 0, err
	}
	if n := len(spec.MetricSpecs); n != 1 {
		t.Fatalf("%d metric specs, want 1", n)
	}
	for _, m := range spec.MetricSpecs {
		name, _ := strings.CutPrefix("s0-"+m.MetricName, "s0-")
		metrics, err := s.client.GetMetrics(t.Context(), &externalscaler.GetMetricsRequest{ScaledObjectRef: r, MetricName: name})
		if err != nil {
			return false, 0, err
		}
		if n := len(metrics.MetricValues); n != 1 {
			t.Fatalf("%d metric values, want 1", n)
		}
		v := metrics.MetricValues[0]
		if float64(v.MetricValue) != v.MetricValueFloat { //nolint:staticcheck // the field older KEDAs read
			t.Fatalf("integer %d and float %v differ", v.MetricValue, v.MetricValueFloat) //nolint:staticcheck // as above
		}
		value = v.MetricValueFloat
		a, err := s.client.IsActive(t.Context(), r)
		if err != nil {
			return false, 0, err
		}
		active = a.Result
	}
	return active, value, nil
}

// eventually waits for the outside world.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("timed out: %s", what)
		case <-tick.C:
		}
	}
}
