package scaler

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxName bounds what Kubernetes bounds too.
	maxName = 253
	// firstFill is how long a call may wait for the very first look. It is less
	// than the handlers' deadline, so that the answer still says what is wrong.
	firstFill = 700 * time.Millisecond
)

// service is KEDA's ExternalScaler. Its handlers read published snapshots and
// nothing else. StreamMetricSpec stays unimplemented: the target never changes.
type service struct {
	externalscaler.UnimplementedExternalScalerServer

	pollers map[string]*poller
	seen    *seen
	metrics *metrics
	log     *slog.Logger
}

// GetMetricSpec is a function of the metadata alone: KEDA drops the metric from
// the HPA, and with it any fallback, when this call fails.
func (s *service) GetMetricSpec(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	so, err := s.meet(ref, time.Now())
	if err != nil {
		return nil, err
	}
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{{
		MetricName:      so.trigger.MetricName,
		TargetSize:      so.trigger.RunsPerLauncher, //nolint:staticcheck // KEDA before 2.17 reads only this one
		TargetSizeFloat: float64(so.trigger.RunsPerLauncher),
	}}}, nil
}

// IsActive says whether a launcher is wanted.
func (s *service) IsActive(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	v, _, err := s.answer(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &externalscaler.IsActiveResponse{Result: v.Active}, nil
}

// GetMetrics says how much there is to do: exactly one value, whatever metric
// was asked for, since KEDA adds up several.
func (s *service) GetMetrics(ctx context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	v, so, err := s.answer(ctx, r.GetScaledObjectRef())
	if err != nil {
		return nil, err
	}
	value := float64(v.Value)
	return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{{
		MetricName:       so.trigger.MetricName,
		MetricValue:      int64(math.Ceil(value)), //nolint:staticcheck // KEDA before 2.17 reads only this one
		MetricValueFloat: value,
	}}}, nil
}

func (s *service) answer(ctx context.Context, ref *externalscaler.ScaledObjectRef) (verdict, *scaledObject, error) {
	so, p, err := s.resolve(ref, time.Now())
	if err != nil {
		return verdict{}, nil, err
	}
	p.awaitFirst(ctx)
	v, err := s.judge(ctx, so, p, time.Now())
	return v, so, err
}

// meet reads who asks and how.
func (s *service) meet(ref *externalscaler.ScaledObjectRef, now time.Time) (*scaledObject, error) {
	if n, ns := len(ref.GetName()), len(ref.GetNamespace()); n > maxName || ns > maxName {
		return nil, status.Errorf(codes.InvalidArgument, "the name or namespace of the scaled object has more than %d bytes", maxName)
	}
	if size := metadataSize(ref.GetScalerMetadata()); size > maxMetadata {
		return nil, status.Errorf(codes.InvalidArgument, "scaled object %s/%s: the trigger metadata has %d bytes, more than %d",
			ref.GetNamespace(), ref.GetName(), size, maxMetadata)
	}
	so := s.seen.find(ref.GetNamespace(), ref.GetName(), ref.GetScalerMetadata(), now)
	if so.err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "scaled object %s: %v", so, so.err)
	}
	return so, nil
}

// resolve is meet, and the connection asked about.
func (s *service) resolve(ref *externalscaler.ScaledObjectRef, now time.Time) (*scaledObject, *poller, error) {
	so, err := s.meet(ref, now)
	if err != nil {
		return nil, nil, err
	}
	p, err := s.poller(so.trigger)
	if err != nil {
		return nil, nil, status.Errorf(codes.NotFound, "scaled object %s: %v", so, err)
	}
	p.want(so.trigger.WarmUpLead)
	p.ask(now)
	return so, p, nil
}

func (s *service) poller(t trigger) (*poller, error) {
	if p := s.pollers[t.Connection]; p != nil {
		return p, nil
	}
	var names []string
	for name := range s.pollers {
		names = append(names, name)
	}
	slices.Sort(names)
	return nil, unknownConnection{t.Connection, names}
}

// unknownConnection is a connection name that the scaler was not given.
type unknownConnection struct {
	name  string
	known []string
}

func (e unknownConnection) Error() string {
	return "unknown connection \"" + shorten(e.name) + "\"; this scaler has " + strings.Join(e.known, ", ")
}

// judge is the one place where active and inactive are told apart; every RPC is
// a view of its verdict. The error is a gRPC status.
func (s *service) judge(ctx context.Context, so *scaledObject, p *poller, now time.Time) (verdict, error) {
	v, err := s.verdict(so, p, now)
	if err != nil {
		return verdict{}, err
	}
	if so.active.Swap(v.Active) != v.Active && so.known {
		log := s.log.With("scaled_object", so.String(), "connection", p.name, "labels", so.trigger.Labels,
			"demand", v.Demand(), "value", v.Value, "reason", v.reason(so.trigger))
		if v.Active {
			log.InfoContext(ctx, "demand began")
		} else {
			log.InfoContext(ctx, "demand ended")
		}
	}
	return v, nil
}

func (s *service) verdict(so *scaledObject, p *poller, now time.Time) (verdict, error) {
	l := so.latch
	if l == nil {
		return p.decide(so.trigger, false, now)
	}
	// The snapshot is read under the lock, so a verdict on an older one never
	// overwrites the verdict on a newer.
	l.mu.Lock()
	defer l.mu.Unlock()
	v, err := p.decide(so.trigger, l.active, now)
	if err == nil {
		l.active = v.Active
	}
	return v, err
}

// peek is the verdict for people and scrapes: it changes nothing.
func (s *service) peek(so *scaledObject, now time.Time) (verdict, error) {
	if so.err != nil {
		return verdict{}, so.err
	}
	p, err := s.poller(so.trigger)
	if err != nil {
		return verdict{}, err
	}
	return p.decide(so.trigger, so.latch.peek(), now)
}

// settle lets every latch of the connection see the new snapshot, also when
// nobody asks just now: a demand that ended between two calls has ended.
func (s *service) settle(p *poller) {
	now := time.Now()
	for _, so := range s.seen.latched(p.name) {
		_, _ = s.verdict(so, p, now) // a stale snapshot changes no latch
	}
}

// sweep forgets who no longer asks, and with them how far ahead they looked.
func (s *service) sweep(now time.Time) {
	s.seen.sweep(now)
	leads := map[string]time.Duration{}
	for _, so := range s.seen.all() {
		leads[so.trigger.Connection] = max(leads[so.trigger.Connection], so.trigger.WarmUpLead)
	}
	for name, p := range s.pollers {
		p.lead.Store(int64(max(leads[name], s.seen.lead)))
	}
}

// decide judges the current snapshot, if it is fresh enough to be judged.
func (p *poller) decide(t trigger, wasActive bool, now time.Time) (verdict, error) {
	snap := p.current.Load()
	if err := snap.usable(p.name, p.staleness, now); err != nil {
		return verdict{}, err
	}
	return decide(snap, t, wasActive, now), nil
}

// awaitFirst waits a moment for the first look to return, if it has not.
func (p *poller) awaitFirst(ctx context.Context) {
	s := p.current.Load()
	if !s.At.IsZero() || s.Err != nil {
		return
	}
	timer := time.NewTimer(firstFill)
	defer timer.Stop()
	select {
	case <-s.superseded:
	case <-timer.C:
	case <-ctx.Done():
	}
}
