package scaler

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// What docs/spec/keda.md says of KEDA's connections and calls, where no other test does.

// mute is a connection whose far end is gone without a word, once it is cut.
type mute struct {
	net.Conn
	cut *atomic.Bool
}

func (m mute) Write(b []byte) (int, error) {
	if m.cut.Load() {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

// join is one more KEDA.
func join(t *testing.T, s *serving, cut *atomic.Bool, o ...grpc.DialOption) externalscaler.ExternalScalerClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:scaler", append(o,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := s.dial(ctx)
			return mute{c, cut}, err
		}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return externalscaler.NewExternalScalerClient(conn)
}

// KEDA pings nobody, so the scaler has to find out when an operator's node is gone
// (keda §2.4): its stream is not to keep the scaler asking Prefect for ever.
func TestVanishedOperatorIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, bubbleOptions(&fakeSource{}))
		var cut atomic.Bool
		if _, err := join(t, s, &cut).StreamIsActive(t.Context(), ref("etl")); err != nil {
			t.Fatal(err)
		}
		p := s.service.pollers["default"]
		pass(10 * time.Minute)
		if n := p.streams.Load(); n != 1 {
			t.Fatalf("%d streams of an idle KEDA after 10 minutes, want 1", n)
		}
		cut.Store(true)
		pass(41 * time.Second)
		if n := p.streams.Load(); n != 0 {
			t.Errorf("%d streams 41 s after KEDA vanished, want none", n)
		}
	})
}

// A client that pings as often as gRPC lets it is not sent away (keda §6.1).
func TestPingsAreWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, bubbleOptions(&fakeSource{}))
		client := join(t, s, new(atomic.Bool), grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: time.Second, PermitWithoutStream: true}))
		pass(time.Second)
		st, err := client.StreamIsActive(t.Context(), ref("etl"))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if r, err := st.Recv(); !errors.Is(err, io.EOF) || time.Since(began) != 27*time.Minute {
			t.Errorf("the stream ended after %s with %v, %v; want its rotation", time.Since(began), r, err)
		}
	})
}

// Which metric is asked for is all the same, with the prefix that KEDA before 2.7
// leaves on as without, and so is a call that names nobody (keda §1.2, §1.3).
func TestAnyMetricIsTheOne(t *testing.T) {
	s := serve(t, options(&fakeSource{due: dues(3)}))
	for _, r := range []*externalscaler.GetMetricsRequest{
		{ScaledObjectRef: ref("etl"), MetricName: "prefect-runs"},
		{ScaledObjectRef: ref("etl"), MetricName: "s0-prefect-runs"},
		{ScaledObjectRef: ref("etl"), MetricName: "S1-Other"},
		{ScaledObjectRef: ref("etl")},
		{},
	} {
		got, err := s.client.GetMetrics(t.Context(), r)
		if err != nil || len(got.MetricValues) != 1 || got.MetricValues[0].MetricValueFloat != 3 {
			t.Errorf("%v: %v, %v; want the one value 3", r, got, err)
		}
	}
}

// An outage shorter than the staleness shows in no answer, a longer one in all,
// and its end soon (appendix B, 7).
func TestOutageShowsWhenAnswersAreStale(t *testing.T) {
	f := &fakeSource{due: dues(1)}
	inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
		f.change(func(f *fakeSource) { f.err = errors.New("away") })
		away := time.Now()
		for {
			if _, err := active(t, s); err != nil {
				break
			}
			pass(100 * time.Millisecond)
		}
		// The only look was right before it began. Whoever asks does so every 0.1 s.
		if lasted := time.Since(away); lasted != 2*time.Minute+100*time.Millisecond {
			t.Errorf("answers lasted %s into the outage, want 2m0s since the last look", lasted)
		}
		f.change(func(f *fakeSource) { f.err = nil })
		back := time.Now()
		for {
			if _, err := active(t, s); err == nil {
				break
			}
			pass(100 * time.Millisecond)
		}
		if took := time.Since(back); took > maxBackoff+maxBackoff/10+100*time.Millisecond {
			t.Errorf("answers came back %s after Prefect, want within %s", took, maxBackoff)
		}
	})
}
