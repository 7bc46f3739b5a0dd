package scaler

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/prefect-keda/prefect-keda/lasting"
	"github.com/prefect-keda/prefect-keda/scaler/page"
)

// Whoever reaches the port can send what he likes, and the pod has 128 MiB.

// live is what the heap holds once all garbage is collected.
func live() int64 {
	runtime.GC()
	runtime.GC() // what the first has finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestStrangersCannotFillTheMemory(t *testing.T) {
	const most = 20 << 20
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&*+-."
	var many string // two letters each
	for i := range 5000 {
		many += "," + string([]byte{letters[i%len(letters)], letters[i/len(letters)]})
	}
	for name, tc := range map[string]struct {
		calls    int
		metadata func(i int) []string
		code     codes.Code
	}{
		"unknown metadata": {2_000, func(i int) []string { return []string{fmt.Sprint("key-", i, "=", strings.Repeat("x", 15<<10))} }, codes.InvalidArgument},
		"bad metadata":     {2_000, func(i int) []string { return []string{fmt.Sprint("maxLaunchers=", i, strings.Repeat("x", 15<<10))} }, codes.InvalidArgument},
		"connections that are not there": {2_000, func(i int) []string {
			return []string{fmt.Sprint("connection=", i, strings.Repeat("x", 15<<10))}
		}, codes.NotFound},
		"metadata of KEDA's": {2_000, func(i int) []string { return []string{fmt.Sprint("caCert=", i, strings.Repeat("x", 15<<10))} }, codes.OK},
		"large labels":       {2_000, func(i int) []string { return []string{fmt.Sprint("labels=", i, strings.Repeat("x", 15<<10))} }, codes.OK},
		"many labels":        {250, func(i int) []string { return []string{fmt.Sprint("labels=", i, many)} }, codes.OK},
		"one label, often":   {600, func(i int) []string { return []string{fmt.Sprint("labels=", i, strings.Repeat(",a", 7<<10))} }, codes.OK},
		"thresholds of labels": {2_000, func(i int) []string {
			return []string{"activationThreshold=1", fmt.Sprintf("labels=[%q, %q]", fmt.Sprint(i), strings.Repeat("x", 15<<10))}
		}, codes.OK},
		"names and nothing else": {30_000, func(int) []string { return nil }, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(options(&fakeSource{}))
			if err != nil {
				t.Fatal(err)
			}
			p := s.service.pollers["default"]
			p.poll(t.Context())
			before := live()
			for i := range tc.calls {
				r := ref(fmt.Sprint(strings.Repeat("n", 200), i), tc.metadata(i)...)
				if _, err := s.service.GetMetricSpec(t.Context(), r); err != nil && tc.code != codes.InvalidArgument {
					t.Fatal(err)
				}
				if _, err := s.service.IsActive(t.Context(), r); status.Code(err) != tc.code {
					t.Fatalf("%v, want %s", err, tc.code)
				}
			}
			p.poll(t.Context())
			if kept := live() - before; kept > most {
				t.Errorf("%d calls keep %d MiB, more than %d", tc.calls, kept>>20, most>>20)
			}
			// The real ones go on.
			if got, err := s.service.IsActive(t.Context(), ref("etl")); err != nil || got.Result {
				t.Errorf("a real one: %v, %v", got, err)
			}
			runtime.KeepAlive(s)
		})
	}
}

// What strangers do is said once, with where to look, and counted.
func TestStrangersAreToldOfOnce(t *testing.T) {
	var log strings.Builder
	o := options(&fakeSource{})
	o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "count" {
			return slog.Attr{}
		}
		return a
	}}))
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p := s.service.pollers["default"]
	p.poll(t.Context())
	for i := range 20_000 {
		if _, err := s.service.IsActive(t.Context(), ref(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for range maxStreams {
		if !s.service.registry.open(met(s.service.registry, "etl", time.Now())) {
			t.Fatal("no stream")
		}
	}
	for range 3 {
		if err := s.service.StreamIsActive(ref("etl"), &fakeStream{ctx: t.Context()}); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one stream too many ends with %v", err)
		}
	}
	for i := range maxRefusals + 10 {
		for range 3 {
			_, _ = s.service.IsActive(t.Context(), ref(fmt.Sprint(i), "labl=x"))
		}
	}
	var want strings.Builder
	want.WriteString(`level=WARN msg="more ScaledObjects ask than the scaler can remember, so it forgets those that asked longest ago, and whether their activation threshold was passed; check who can reach its port"
level=WARN msg="too many streams or ScaledObjects, so KEDA finds out only by polling when demand begins; check who can reach the scaler's port" limit=3000
`)
	for i := range maxRefusals {
		fmt.Fprintf(&want, `level=WARN msg="a ScaledObject is refused, so KEDA does not scale it" scaled_object=flows/%d err="trigger metadata: unknown key \"labl\", did you mean labels?"`+"\n", i)
	}
	want.WriteString("level=WARN msg=\"more ScaledObjects are refused than the log names one by one; check who can reach the scaler's port\"\n")
	if diff := cmp.Diff(want.String(), log.String()); diff != "" {
		t.Error(diff)
	}
	if n, all := testutil.ToFloat64(s.service.metrics.forgotten), len(s.service.registry.all()); int(n)+all != 20_001 {
		t.Errorf("%v are counted as forgotten and %d are remembered, of 20001", n, all)
	}
}

func TestRefusalsAgeAndAreShort(t *testing.T) {
	var r refusals
	long := strings.Repeat("x", maxReceive)
	note := func(name string, after time.Duration) string {
		news, full := r.note(long, name, errors.New(long), at(after))
		return fmt.Sprint(news, full)
	}
	got := []string{note("a", 0), note("a", lasting.Every-1), note("a", 2*lasting.Every-2), note("b", 2*lasting.Every-2), note("a", 3*lasting.Every-2), note("a", 4*lasting.Every)}
	if diff := cmp.Diff([]string{"true false", "false false", "true false", "true false", "true false", "true false"}, got); diff != "" {
		t.Errorf("what is news, and when there is no room: %s", diff)
	}
	short := func(n int) string { return long[:n] + "…" }
	want := []page.Refusal{{Namespace: short(maxName), Name: "a", Err: short(maxRefusal)}}
	if diff := cmp.Diff(want, r.list(at(4*lasting.Every)), cmpopts.IgnoreTypes(time.Time{})); diff != "" {
		t.Error(diff)
	}
	if left := r.list(at(5 * lasting.Every)); len(left) != 0 {
		t.Errorf("%d are listed for ever", len(left))
	}
	for i := range maxRefusals {
		note(fmt.Sprint(i), 5*lasting.Every)
	}
	if got := []string{note("one more", 6*lasting.Every-1), note("0", 6*lasting.Every-1), note("one more", 6*lasting.Every)}; !cmp.Equal(got, []string{"false true", "false false", "true false"}) {
		t.Errorf("beyond the bound: %q", got)
	}
}

// A connection's namespaces are those whose ScaledObjects may ask about it.
func TestConnectionsAreForTheirNamespaces(t *testing.T) {
	var log strings.Builder
	o := options(&fakeSource{due: dues(1)})
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.Connections["prod"] = Connection{Source: &fakeSource{due: dues(1)}, Allowed: []string{"prod", "ops"}, AllowedSetting: "SETTING"}
	o.Connections["open"] = Connection{Source: &fakeSource{due: dues(1)}, Allowed: []string{AnyNamespace}}
	s := serve(t, o)
	for what, want := range map[string]codes.Code{
		"flows default": codes.OK, "flows open": codes.OK, "ops prod": codes.OK, "prod prod": codes.OK,
		"flows prod": codes.PermissionDenied, " prod": codes.PermissionDenied, "* prod": codes.PermissionDenied, "Ops prod": codes.PermissionDenied,
	} {
		namespace, connection, _ := strings.Cut(what, " ")
		r := ref("etl", "connection="+connection)
		r.Namespace = namespace
		for range 3 {
			_, active := s.client.IsActive(t.Context(), r)
			_, metrics := s.client.GetMetrics(t.Context(), &externalscaler.GetMetricsRequest{ScaledObjectRef: r})
			if status.Code(active) != want || status.Code(metrics) != want {
				t.Errorf("%s: %v, %v; want %s", what, active, metrics, want)
			}
		}
		if _, err := s.client.GetMetricSpec(t.Context(), r); err != nil {
			t.Errorf("%s: %v, though the spec is a function of the metadata", what, err)
		}
		if want == codes.OK {
			continue
		}
		stream, err := s.client.StreamIsActive(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		says := fmt.Sprintf("scaled object %s/etl: connection \"prod\" is not for ScaledObjects in namespace %q; name another one in the trigger, or add the namespace to SETTING of the scaler", namespace, namespace)
		if status.Code(err) != want || status.Convert(err).Message() != says {
			t.Errorf("%s: %v, want it to say %s", what, err, says)
		}
		if n := strings.Count(log.String(), fmt.Sprintf("scaled_object=%s/etl err", namespace)); n != 1 {
			t.Errorf("%s is logged %d times:\n%s", what, n, log.String())
		}
	}
	if diff := cmp.Diff(map[string]int{"flows/etl[]": 2, "ops/etl[]": 1, "prod/etl[]": 1}, labelsSeen(s.service.registry)); diff != "" {
		t.Errorf("who is remembered: %s", diff)
	}
}

func TestManyKeysAreRefusedUnread(t *testing.T) {
	s := serve(t, options(&fakeSource{}))
	var keys []string
	for i := range 2000 {
		keys = append(keys, fmt.Sprint(i, "="))
	}
	_, err := s.client.IsActive(t.Context(), ref("etl", keys...))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "has 2001 keys, more than 64") {
		t.Errorf("error %v", err)
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	s := serve(t, options(&fakeSource{}))
	for size, want := range map[int]codes.Code{maxHeaders / 2: codes.OK, maxHeaders: codes.Internal} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-forwarded", strings.Repeat("x", size))
		if _, err := s.client.IsActive(ctx, ref("etl")); status.Code(err) != want {
			t.Errorf("%d bytes of headers: %v, want %s", size, err, want)
		}
	}
}

// What a connection may have open and send is told to the other side, which gRPC
// holds to it. It grows with nothing.
func TestConnectionsAreToldTheirBounds(t *testing.T) {
	s := serve(t, options(&fakeSource{}))
	c, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// An HTTP/2 client's preface and its empty settings; then the server's.
	if _, err := c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 9)
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatal(err)
	}
	settings := make([]byte, int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(c, settings); err != nil {
		t.Fatal(err)
	}
	got := map[uint16]uint32{}
	for ; len(settings) >= 6; settings = settings[6:] {
		got[binary.BigEndian.Uint16(settings)] = binary.BigEndian.Uint32(settings[2:])
	}
	delete(got, 5) // the size of frames is gRPC's own
	const maxConcurrentStreams, initialWindowSize, maxHeaderListSize = 3, 4, 6
	want := map[uint16]uint32{maxConcurrentStreams: callsAtOnce, initialWindowSize: window, maxHeaderListSize: maxHeaders}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheServersConnectionsAreBounded(t *testing.T) {
	s := serve(t, options(&fakeSource{}))
	for i := range maxConnections + 1 {
		c, err := s.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.Read(make([]byte, 1)) // the server begins
		if open := i < maxConnections; (err == nil) != open {
			t.Errorf("connection %d: %v, want it open: %v", i+1, err, open)
		}
	}
}

// Beyond the bound, new connections are closed at once; the others go on, and one
// that ends makes room.
func TestConnectionsAreBounded(t *testing.T) {
	s := serve(t, options(&fakeSource{}))
	var log strings.Builder
	pipe := bufconn.Listen(1 << 10)
	l := &limited{Listener: pipe, max: 2, hungUp: s.service.metrics.hungUp, log: slog.New(slog.NewTextHandler(&log, nil))}
	server := grpc.NewServer()
	externalscaler.RegisterExternalScalerServer(server, s.service)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	dial := func() (*grpc.ClientConn, error) {
		conn, err := grpc.NewClient("passthrough:scaler", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_, err = externalscaler.NewExternalScalerClient(conn).IsActive(t.Context(), ref("etl"))
		return conn, err
	}
	first, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := dial(); status.Code(err) != codes.Unavailable {
			t.Errorf("a third: %v", err)
		}
	}
	if _, err := externalscaler.NewExternalScalerClient(first).IsActive(t.Context(), ref("etl")); err != nil {
		t.Errorf("the first: %v", err)
	}
	first.Close()
	eventually(t, "one that ends makes room", func() bool { _, err := dial(); return err == nil })
	server.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := l.open.Load(); n != 0 {
		t.Errorf("%d connections are counted after the end", n)
	}
	if n := strings.Count(log.String(), "too many connections"); n != 1 || testutil.ToFloat64(s.service.metrics.hungUp) < 3 {
		t.Errorf("said %d times, counted %v: want once, and at least 3", n, testutil.ToFloat64(s.service.metrics.hungUp))
	}
}
