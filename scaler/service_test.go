package scaler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func dues(n int, labels ...string) []prefect.DueRun {
	var out []prefect.DueRun
	for i := range n {
		out = append(out, run(fmt.Sprint("run-", i), time.Time{}, labels...))
	}
	return out
}

func TestPolledAsKEDADoes(t *testing.T) {
	f := &fakeSource{due: append(dues(250, "etl"), dues(3, "gpu")...)}
	s := serve(t, options(f))
	for _, tc := range []struct {
		ref    *externalscaler.ScaledObjectRef
		active bool
		value  float64
	}{
		{ref("etl", "labels=etl"), true, 250},
		{ref("both", `labels=["etl", "gpu"]`), true, 253},
		{ref("none"), false, 0},
		{ref("capped", "labels=etl", "maxLaunchers=2"), true, 200},
		{ref("threshold", "labels=gpu", "activationThreshold=3"), false, 0},
		{ref("threshold-2", "labels=gpu", "activationThreshold=2"), true, 3},
		{ref("env", "labelsFromEnv=['gpu']"), true, 3},
		// An SO and an SJ of the same name cannot be told apart and need not be.
		{ref("etl", "labels=gpu"), true, 3},
		{ref("etl", "labels=etl"), true, 250},
	} {
		active, value, err := s.poll(t, tc.ref)
		if err != nil || active != tc.active || value != tc.value {
			t.Errorf("%s: active %v, value %v, %v; want %v, %v", tc.ref.Name, active, value, err, tc.active, tc.value)
		}
	}
	f.set()
	eventually(t, "demand ends", func() bool {
		active, value, err := s.poll(t, ref("etl", "labels=etl"))
		return err == nil && !active && value == 0
	})
}

func TestMetricSpecIsAFunctionOfTheMetadata(t *testing.T) {
	f := &fakeSource{err: errors.New("away")}
	s := serve(t, options(f))
	want := &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{{
		MetricName: "etl-runs", TargetSize: 25, TargetSizeFloat: 25, //nolint:staticcheck // the field older KEDAs read
	}}}
	for range 3 {
		// An unknown connection is the poll's to report.
		for _, r := range []*externalscaler.ScaledObjectRef{
			ref("etl", "metricName=etl-runs", "runsPerLauncher=25"),
			ref("etl", "metricName=etl-runs", "runsPerLauncher=25", "connection=gone"),
		} {
			got, err := s.client.GetMetricSpec(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		}
		f.change(func(f *fakeSource) { f.err = nil; f.due = append(f.due, due()) })
	}
}

// KEDA shows the errors of GetMetrics and IsActive to people, and none of GetMetricSpec,
// without which it calls neither.
func TestRefusalFailsWhereKEDAShowsIt(t *testing.T) {
	for name, r := range map[string]*externalscaler.ScaledObjectRef{
		"misspelt":  ref("etl", "runsPerLaucher=7", "metricName=etl-runs"),
		"long name": ref(strings.Repeat("n", 300)),
	} {
		s := serve(t, options(&fakeSource{}))
		got, err := s.client.GetMetricSpec(t.Context(), r)
		if err != nil || len(got.MetricSpecs) != 1 || got.MetricSpecs[0].MetricName != "prefect-runs" || got.MetricSpecs[0].TargetSizeFloat != 100 {
			t.Errorf("%s: %v, %v; want what there is without metadata", name, got, err)
		}
		_, err = s.client.GetMetrics(t.Context(), &externalscaler.GetMetricsRequest{ScaledObjectRef: r, MetricName: "prefect-runs"})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: GetMetrics answers %v", name, err)
		}
	}
}

func TestWhatTheOperatorIsTold(t *testing.T) {
	o := options(&fakeSource{})
	o.Connections["prod"] = Connection{Source: &fakeSource{}}
	s := serve(t, o)
	huge := strings.Repeat("x", maxMetadata)
	for name, tc := range map[string]struct {
		ref  *externalscaler.ScaledObjectRef
		code codes.Code
		says string
	}{
		"unknown connection": {ref("etl", "connection=staging"), codes.NotFound, `scaled object flows/etl: unknown connection "staging"; this scaler has default, prod`},
		"bad metadata":       {ref("etl", "label=a"), codes.InvalidArgument, `scaled object flows/etl: trigger metadata: unknown key "label", did you mean labels?`},
		"much metadata":      {ref("etl", "labels="+huge), codes.InvalidArgument, fmt.Sprintf("bytes, more than %d", maxMetadata)},
		"too much metadata":  {ref("etl", "labels="+strings.Repeat("x", maxReceive)), codes.ResourceExhausted, "larger than max"},
		"long name":          {ref(strings.Repeat("n", 300)), codes.InvalidArgument, "more than 253 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.client.IsActive(t.Context(), tc.ref)
			if status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want %s saying %q", err, tc.code, tc.says)
			}
		})
	}
	if _, err := s.client.IsActive(t.Context(), ref("etl")); err != nil {
		t.Errorf("a good call after bad ones: %v", err)
	}
	if _, err := s.client.GetMetrics(t.Context(), &externalscaler.GetMetricsRequest{}); err != nil {
		t.Errorf("a call without a reference is one with no metadata: %v", err)
	}
	stream, err := s.client.StreamMetricSpec(t.Context(), ref("etl"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Errorf("StreamMetricSpec: %v, want Unimplemented, which KEDA takes for never", err)
	}
}

func TestAPanicEndsOneCall(t *testing.T) {
	var log strings.Builder
	i := interceptor{metrics: newMetrics(), log: slog.New(slog.NewTextHandler(&log, nil)), draining: t.Context()}
	_, unary := i.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/s/IsActive"}, func(context.Context, any) (any, error) {
		panic("canary")
	})
	stream := i.stream(nil, &fakeStream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: "/s/StreamIsActive"}, func(any, grpc.ServerStream) error {
		panic("canary")
	})
	for _, err := range []error{unary, stream} {
		if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "canary") {
			t.Errorf("error %v, want Internal without the innards", err)
		}
	}
	if n := strings.Count(log.String(), "canary"); n != 2 {
		t.Errorf("%d panics are logged, want 2:\n%s", n, log.String())
	}
	if n := testutil.ToFloat64(i.metrics.panics); n != 2 {
		t.Errorf("%v panics are counted, want 2", n)
	}
}

// TestHandlersHaveADeadline: KEDA sets none.
func TestHandlersHaveADeadline(t *testing.T) {
	i := interceptor{metrics: newMetrics(), log: slog.New(slog.DiscardHandler), draining: t.Context()}
	_, err := i.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/s/IsActive"}, func(ctx context.Context, _ any) (any, error) {
		if at, ok := ctx.Deadline(); !ok || time.Until(at) > time.Second {
			t.Errorf("deadline %v, %v", at, ok)
		}
		return nil, status.Error(codes.NotFound, "")
	})
	if status.Code(err) != codes.NotFound {
		t.Error(err)
	}
	if n := testutil.ToFloat64(i.metrics.requests.WithLabelValues("IsActive", "NotFound")); n != 1 {
		t.Errorf("%v calls are counted, want 1", n)
	}
}

func TestHealth(t *testing.T) {
	f := &fakeSource{err: errors.New("away")}
	s := serve(t, options(f))
	client := healthpb.NewHealthClient(s.conn)
	is := func(service string, want healthpb.HealthCheckResponse_ServingStatus) bool {
		r, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		return err == nil && r.Status == want
	}
	eventually(t, "readiness without Prefect", func() bool { return is("readiness", healthpb.HealthCheckResponse_SERVING) })
	if !is("", healthpb.HealthCheckResponse_SERVING) || !is("liveness", healthpb.HealthCheckResponse_SERVING) {
		t.Error("not live")
	}
	if !is("upstream", healthpb.HealthCheckResponse_NOT_SERVING) {
		t.Error("upstream is fine, says health")
	}
	f.change(func(f *fakeSource) { f.err = nil })
	eventually(t, "upstream recovers", func() bool { return is("upstream", healthpb.HealthCheckResponse_SERVING) })
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if s.Ready() == nil {
		t.Error("ready after shutdown")
	}
}

// TestManyScaledObjects is a large cluster: all of KEDA's calls and streams come
// over one connection, Prefect is asked as often as for a single one, and no call
// waits for it: in fake time, being answered from memory takes none.
func TestManyScaledObjects(t *testing.T) {
	const objects, streamsEach = 1000, 2
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSource{}
		s := serve(t, bubbleOptions(f))
		began := time.Now()
		var received sync.WaitGroup
		refs := make([]*externalscaler.ScaledObjectRef, objects)
		for i := range objects {
			refs[i] = ref(fmt.Sprint("etl-", i), fmt.Sprint("labels=etl,team-", i%50))
			for range streamsEach {
				st, err := s.client.StreamIsActive(t.Context(), refs[i])
				if err != nil {
					t.Fatal(err)
				}
				received.Go(func() {
					if r, err := st.Recv(); err != nil || !r.Result {
						t.Errorf("%v, %v", r, err)
					}
					if r, err := st.Recv(); !errors.Is(err, io.EOF) {
						t.Errorf("a second message %v, %v", r, err)
					}
				})
			}
		}
		pass(5 * time.Second)
		if n := s.service.pollers["default"].streams.Load(); n != objects*streamsEach {
			t.Errorf("%d streams are open, want %d", n, objects*streamsEach)
		}
		pollAll := func(wantActive bool, wantValue float64) {
			t.Helper()
			asked := time.Now()
			var calls sync.WaitGroup
			for w := range 4 {
				calls.Go(func() {
					for i := w; i < objects; i += 4 {
						if active, value, err := s.poll(t, refs[i]); err != nil || active != wantActive || value != wantValue {
							t.Errorf("%s: %v %v %v", refs[i].Name, active, value, err)
						}
					}
				})
			}
			calls.Wait()
			if took := time.Since(asked); took != 0 {
				t.Errorf("the calls waited for %s", took)
			}
		}
		pollAll(false, 0)
		f.set(dues(1, "etl")...)
		pass(2 * time.Second)
		if n := pushes(t, s.service.metrics); n != objects*streamsEach {
			t.Errorf("%d messages when demand began, want %d", n, objects*streamsEach)
		}
		f.change(func(f *fakeSource) { f.hung = true })
		pass(2 * time.Second)
		if n := f.hanging(); n != 1 {
			t.Errorf("%d looks hang, want 1", n)
		}
		pollAll(true, 1)
		if most := int(time.Since(began)/(900*time.Millisecond)) + 1; f.asked() > most {
			t.Errorf("Prefect was asked %d times in %s by %d ScaledObjects", f.asked(), time.Since(began), objects)
		}
		if n := len(s.service.registry.all()); n != objects {
			t.Errorf("%d ScaledObjects are known, want %d", n, objects)
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		received.Wait()
	})
}

// Of one that is not remembered nobody knows whether it is an edge.
func TestWhatIsNotRememberedHasNoEdges(t *testing.T) {
	var log strings.Builder
	o := bubbleOptions(&fakeSource{due: dues(1)})
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	inBubble(t, o, func(t *testing.T, s *Server) {
		s.service.registry.bytes = maxRemembered
		for range 3 {
			wantActive(t, s, true)
		}
	})
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

func TestEdgesAreLoggedOnce(t *testing.T) {
	var log strings.Builder
	f := &fakeSource{due: dues(2)}
	o := bubbleOptions(f)
	o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	inBubble(t, o, func(t *testing.T, s *Server) {
		// The metadata's values are nobody's business: FromEnv may hold a secret.
		for range 3 {
			wantActive(t, s, true, "tlsClientKeyFromEnv=canary")
		}
		f.set()
		pass(2 * time.Second)
		for range 3 {
			wantActive(t, s, false, "tlsClientKeyFromEnv=canary")
		}
	})
	want := `level=INFO msg="demand began" scaled_object=flows/etl connection=default labels=[] demand=2 value=2 reason="2 due" flow_runs="[run-0 run-1]"
level=INFO msg="demand ended" scaled_object=flows/etl connection=default labels=[] demand=0 value=0 reason="no run with these labels is due"
`
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Error(diff)
	}
}
