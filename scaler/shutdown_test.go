package scaler

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

// SIGTERM as KEDA and the kubelet see it, in fake time: not ready at once, answers
// until nobody is sent here any more, then a clean end of every stream, and of the
// server with the last of them.
func TestShutdownEndsStreamsCleanly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		o := bubbleOptions(&fakeSource{due: dues(1)})
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s := serve(t, o)
		s.delay = endpointDelay
		var streams []externalscaler.ExternalScaler_StreamIsActiveClient
		for i := range 20 {
			st, err := s.client.StreamIsActive(t.Context(), ref(fmt.Sprint("etl-", i)))
			if err != nil {
				t.Fatal(err)
			}
			if r, err := st.Recv(); err != nil || !r.Result {
				t.Fatalf("%v, %v", r, err)
			}
			streams = append(streams, st)
		}
		// A health watch never ends by itself and must not hold the shutdown up.
		watch, err := healthpb.NewHealthClient(s.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: healthReadiness})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("%v, %v", r, err)
		}

		began := time.Now()
		got := map[string]time.Duration{}
		stopped := make(chan error, 1)
		go func() { stopped <- s.stop() }()
		if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_NOT_SERVING {
			t.Errorf("readiness after SIGTERM: %v, %v", r, err)
		}
		got["not ready"] = time.Since(began)
		if s.Ready() == nil {
			t.Error("ready after SIGTERM")
		}
		time.Sleep(endpointDelay - time.Millisecond)
		if active, _, err := s.poll(t, ref("etl")); err != nil || !active {
			t.Errorf("while leaving: active %v, %v", active, err)
		}
		for _, st := range streams {
			if r, err := st.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("%v, %v; want EOF, after which KEDA comes back soon", r, err)
			}
		}
		got["streams end"] = time.Since(began)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		got["stopped"] = time.Since(began)
		want := map[string]time.Duration{"not ready": 0, "streams end": endpointDelay, "stopped": endpointDelay}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after SIGTERM (-want +got):\n%s", diff)
		}
		if strings.Contains(log.String(), "cut off") {
			t.Errorf("the server was stopped by force:\n%s", log.String())
		}
		if _, err := s.client.IsActive(t.Context(), ref("etl")); status.Code(err) != codes.Unavailable {
			t.Errorf("after shutdown: %v", err)
		}
	})
}

// A call that does not end, of somebody else's than KEDA, holds the shutdown up no
// longer than it may, and the log tells.
func TestShutdownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		o := bubbleOptions(&fakeSource{})
		o.Logger, o.Reflection = slog.New(slog.NewTextHandler(&log, nil)), true
		s := serve(t, o)
		s.delay = endpointDelay
		idle, err := reflectionpb.NewServerReflectionClient(s.conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		st, err := s.client.StreamIsActive(t.Context(), ref("etl"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- s.stop() }()
		if r, err := st.Recv(); !errors.Is(err, io.EOF) || time.Since(began) != endpointDelay {
			t.Errorf("KEDA's stream: %v, %v after %s", r, err, time.Since(began))
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != endpointDelay+drainTimeout || strings.Count(log.String(), "cut off") != 1 {
			t.Errorf("stopped after %s, want %s and a word about it:\n%s", took, endpointDelay+drainTimeout, log.String())
		}
		if _, err := idle.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("the call that did not end: %v", err)
		}
	})
}
