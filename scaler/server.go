package scaler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// maxReceive holds maxMetadata and its framing; maxHeaders what a mesh may add.
	maxReceive = 32 << 10
	maxHeaders = 16 << 10
	// callsAtOnce bounds the calls on a connection. All ScaledObjects of a cluster share one,
	// and polls must not wait for streams to end.
	callsAtOnce = maxStreams + 1000
	// window is gRPC's smallest. Because it is set, it does not grow with what clients send.
	window = 64 << 10
	// maxConnections: every operator of KEDA has one (keda §1.6), and every kubelet's probe.
	maxConnections = 100
	// smallBuffer: messages are a few hundred bytes.
	smallBuffer = 4 << 10
	// endpointDelay is the time from not being ready until streams end. KEDA comes back 2 s
	// after a stream's end, and should then find another scaler, or none, at the Service's
	// address.
	endpointDelay = 2 * time.Second
	drainTimeout  = 10 * time.Second
	healthEvery   = time.Second
	sweepEvery    = time.Minute
)

// ShutdownTimeout is the longest time that Run takes to return after its context
// ended; the pod's grace period must be longer.
const ShutdownTimeout = endpointDelay + drainTimeout + informer.Patience

// Server is the external scaler: the gRPC service and the loops behind it.
type Server struct {
	options Options
	service *service
	watches map[job.Marks]*watch
	certs   *certificates

	// delay is endpointDelay, except in tests.
	delay    time.Duration
	started  atomic.Bool
	leaving  atomic.Bool
	draining context.Context //nolint:containedctx // the server's own life, not a call's
	drain    context.CancelFunc
}

// New checks the options and builds a server; nothing runs yet. The error names all
// mistakes in the options.
func New(o Options) (*Server, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{options: o, delay: endpointDelay, watches: map[job.Marks]*watch{}}
	s.draining, s.drain = context.WithCancel(context.Background())
	if o.TLS != nil {
		var err error
		if s.certs, err = newCertificates(*o.TLS, o.Logger); err != nil {
			return nil, err
		}
	}
	namespaces, rules := map[job.Marks][]string{}, map[job.Marks]trouble.Rules{}
	for _, c := range o.Connections {
		namespaces[c.Marks] = append(namespaces[c.Marks], c.JobNamespaces...)
		rules[c.Marks] = o.Rules
		if c.Rules != nil {
			own := *c.Rules
			own.Grace = cmp.Or(own.Grace, o.Rules.Grace)
			rules[c.Marks] = own
		}
	}
	for marks, of := range namespaces {
		s.watches[marks] = newWatch(o.Kubernetes, marks, of, rules[marks], o.Logger)
	}
	m := newMetrics()
	s.service = &service{pollers: map[string]*poller{}, registry: newRegistry(o), metrics: m, log: o.Logger, operator: o.Operator, since: time.Now()}
	for name, c := range o.Connections {
		s.service.pollers[name] = newPoller(name, o, s.watches[c.Marks], s.service)
	}
	if o.Registerer != nil {
		for _, c := range append(m.collectors, newGauges(s.service), readiness(s.Ready)) {
			if err := o.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("register the scaler's metrics: %w", err)
			}
		}
	}
	return s, nil
}

// Run serves until ctx ends, then drains and returns nil, within ShutdownTimeout.
// It may be called once.
func (s *Server) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.options.Listen)
	if err != nil {
		return fmt.Errorf("listen for KEDA: %w", err)
	}
	return s.serve(ctx, l)
}

// serve owns the listener and every goroutine of the server.
func (s *Server) serve(ctx context.Context, l net.Listener) error {
	h := health.NewServer()
	server := s.grpc(h)

	// The loops outlive ctx, so that snapshots stay fresh until the last call.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var loops sync.WaitGroup
	for _, p := range s.service.pollers {
		p.ticked.Store(time.Now().UnixNano())
		loops.Go(func() { p.run(background) })
	}
	for _, w := range s.watches {
		loops.Go(func() { w.run(background) })
	}
	s.started.Store(true)
	s.reportHealth(h)
	loops.Go(func() { s.housekeeping(background, h) })

	served := make(chan error, 1)
	loops.Go(func() { served <- server.Serve(s.limited(l)) })
	s.options.Logger.InfoContext(ctx, "serving KEDA", "address", l.Addr().String(), "tls", s.certs != nil)

	var err error
	select {
	case <-ctx.Done():
		err = s.leave(ctx, h, served)
	case err = <-served:
	}
	s.drain()
	h.Shutdown()
	bounded := time.AfterFunc(drainTimeout, server.Stop)
	server.GracefulStop()
	if !bounded.Stop() {
		s.options.Logger.WarnContext(ctx, "calls did not end in time and were cut off, so KEDA takes longer to come back", "drain_timeout", drainTimeout)
	}
	stop()
	loops.Wait()
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve KEDA: %w", err)
	}
	return nil
}

// leave makes us not ready, and goes on answering until the Service sends nobody here any
// more (keda §6.1).
func (s *Server) leave(ctx context.Context, h *health.Server, served <-chan error) error {
	s.options.Logger.InfoContext(ctx, "leaving: streams end soon", "delay", s.delay)
	s.leaving.Store(true)
	h.Shutdown()
	select {
	case <-time.After(s.delay):
		return nil
	case err := <-served:
		return err
	}
}

func (s *Server) grpc(h *health.Server) *grpc.Server {
	i := interceptor{metrics: s.service.metrics, log: s.options.Logger, draining: s.draining}
	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(i.unary),
		grpc.StreamInterceptor(i.stream),
		grpc.MaxRecvMsgSize(maxReceive),
		grpc.MaxConcurrentStreams(callsAtOnce),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.ReadBufferSize(smallBuffer),
		grpc.WriteBufferSize(smallBuffer),
		grpc.ConnectionTimeout(10 * time.Second),
		// KEDA sends no pings, so we find out ourselves when an operator has vanished. We set
		// no maximum connection age, because it ends streams with an error (keda §2.4).
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	}
	if s.certs != nil {
		options = append(options, grpc.Creds(telling{credentials.NewTLS(s.certs.server()), s.certs}))
	}
	server := grpc.NewServer(options...)
	externalscaler.RegisterExternalScalerServer(server, s.service)
	healthpb.RegisterHealthServer(server, h)
	if s.options.Reflection {
		reflection.Register(server)
	}
	return server
}

// housekeeping reports health, continues the timelines and forgets those that no longer ask.
func (s *Server) housekeeping(ctx context.Context, h *health.Server) {
	report, remember, sweep := time.Tick(healthEvery), time.Tick(rememberEvery), time.Tick(sweepEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-report:
			s.reportHealth(h)
		case now := <-remember:
			s.service.remember(now)
		case now := <-sweep:
			s.service.sweep(now)
		}
	}
}
