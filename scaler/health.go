package scaler

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// The services grpc.health.v1 knows. Readiness is also the answer for no name.
const (
	healthLiveness  = "liveness"
	healthReadiness = "readiness"
	healthUpstream  = "upstream"
)

// Live reports whether the poll loops tick. An upstream that fails, or hangs until
// its time-out, does not count: a restart would not repair it.
func (s *Server) Live() error {
	now := time.Now()
	var errs []error
	for name, p := range s.service.pollers {
		if since := now.Sub(time.Unix(0, p.ticked.Load())); s.started.Load() && since > p.longestTick() {
			errs = append(errs, fmt.Errorf("connection %s: the poll loop has not turned for %s", name, since.Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

// Ready reports whether calls are accepted. It does not depend on Prefect: a scaler that
// is taken out of its Service cannot even tell KEDA what is wrong. But while it lacks
// something that nobody can work without, such as its Role, not being ready shows best.
func (s *Server) Ready() error {
	switch {
	case s.leaving.Load():
		return errors.New("the scaler is shutting down")
	case !s.started.Load():
		return errors.New("the scaler does not listen yet")
	case s.options.Ready != nil:
		return s.options.Ready()
	}
	return nil
}

// upstream reports whether every connection's answers are fresh enough to serve.
func (s *Server) upstream() error {
	now := time.Now()
	var errs []error
	for name, p := range s.service.pollers {
		errs = append(errs, p.current.Load().usable(name, p.options.MaxStaleness, now))
	}
	return errors.Join(errs...)
}

func (s *Server) reportHealth(h *health.Server) {
	set := func(err error, services ...string) {
		state := healthpb.HealthCheckResponse_SERVING
		if err != nil {
			state = healthpb.HealthCheckResponse_NOT_SERVING
		}
		for _, service := range services {
			h.SetServingStatus(service, state)
		}
	}
	set(s.Live(), healthLiveness)
	set(s.Ready(), healthReadiness, "")
	set(s.upstream(), healthUpstream)
}
