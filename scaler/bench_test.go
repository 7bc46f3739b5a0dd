package scaler

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// echo is the least a gRPC server can do.
type echo struct {
	externalscaler.UnimplementedExternalScalerServer
}

func (echo) IsActive(context.Context, *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	return &externalscaler.IsActiveResponse{Result: true}, nil
}

// BenchmarkIsActive compares the scaler, with 5,000 due runs in 50 label sets
// and 1,000 ScaledObjects known, with a gRPC server that only echoes. The metric
// x/echo is what our part costs: 1.0 would be nothing.
func BenchmarkIsActive(b *testing.B) {
	f := &fakeSource{}
	for i := range 5000 {
		f.due = append(f.due, run(fmt.Sprint(i), time.Time{}, "etl", fmt.Sprint("team-", i%50)))
	}
	s, err := New(options(f))
	if err != nil {
		b.Fatal(err)
	}
	l := listener(b)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l) }()
	defer func() { cancel(); <-done }()

	bare := grpc.NewServer()
	externalscaler.RegisterExternalScalerServer(bare, echo{})
	bareListener := listener(b)
	go func() { _ = bare.Serve(bareListener) }()
	defer bare.Stop()

	var refs []*externalscaler.ScaledObjectRef
	for i := range 1000 {
		refs = append(refs, ref(fmt.Sprint("etl-", i), fmt.Sprintf("labels=etl,team-%d", i%50)))
	}
	ask := func(b *testing.B, address string) time.Duration {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		client := externalscaler.NewExternalScalerClient(conn)
		n := 0
		for b.Loop() {
			r, err := client.IsActive(b.Context(), refs[n%len(refs)])
			if err != nil || !r.Result {
				b.Fatal(r, err)
			}
			n++
		}
		return b.Elapsed() / time.Duration(max(n, 1))
	}
	var plain time.Duration
	b.Run("echo", func(b *testing.B) { plain = ask(b, bareListener.Addr().String()) })
	b.Run("scaler", func(b *testing.B) {
		ours := ask(b, l.Addr().String())
		if plain > 0 {
			b.ReportMetric(float64(ours)/float64(plain), "x/echo")
		}
	})
}

func listener(b *testing.B) net.Listener {
	b.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// BenchmarkDecide is a verdict on 5,000 due runs in 50 label sets.
func BenchmarkDecide(b *testing.B) {
	var o prefect.Observation
	for i := range 5000 {
		o.Due = append(o.Due, run(fmt.Sprint(i), at(time.Duration(i-2500)*time.Second), "etl", fmt.Sprint("team-", i%50)))
	}
	s := newSnapshot(o, noon)
	t := defaultTrigger()
	t.Scope.Labels = []string{"etl", "team-7", "team-8"}
	b.ReportAllocs()
	for b.Loop() {
		decide(s, t, false, noon)
	}
}
