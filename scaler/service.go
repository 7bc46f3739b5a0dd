package scaler

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/prefect-keda/prefect-keda/scaler/hour"
)

const (
	// maxName is Kubernetes' own bound.
	maxName = 253
	// firstFill is how long a call may wait for the very first poll. It is less
	// than the handlers' deadline, so that the answer can still say what is wrong.
	firstFill = 700 * time.Millisecond
)

// service is KEDA's ExternalScaler. Its handlers read published snapshots and
// nothing else. StreamMetricSpec stays unimplemented: the target never changes.
type service struct {
	externalscaler.UnimplementedExternalScalerServer

	pollers  map[string]*poller
	registry *registry
	metrics  *metrics
	log      *slog.Logger

	operator Operator

	// For the page:
	since     time.Time
	timelines hour.Timelines

	refusals refusals
	// Messages that strangers could cause with every call:
	refusing, forgetting, turningAway seldom
}

// GetMetricSpec depends only on the metadata. When this call fails, KEDA drops the metric
// from the HPA, and with it any fallback. It also hides the error, and says only "got empty
// metric spec" (nothing for a ScaledJob). So a refused ScaledObject gets the default target
// here, and the error with the calls that follow: KEDA shows those as events (keda §1.9).
func (s *service) GetMetricSpec(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	var t trigger
	if so, err := s.meet(ctx, ref, time.Now()); err == nil {
		t = so.trigger
	} else if t, err = parseTrigger(nil, s.registry.lead); err != nil {
		return nil, err
	}
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{{
		MetricName:      t.MetricName,
		TargetSize:      t.RunsPerLauncher, //nolint:staticcheck // KEDA before 2.17 reads only this one
		TargetSizeFloat: float64(t.RunsPerLauncher),
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

// GetMetrics says how much there is to do. It returns exactly one value, for any metric
// name, because KEDA would add up several (keda §1.2).
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
	so, p, err := s.resolve(ctx, ref, time.Now())
	if err != nil {
		return verdict{}, nil, err
	}
	p.awaitFirst(ctx)
	v, err := s.judge(ctx, so, p, time.Now())
	return v, so, err
}

// meet reads which trigger asks. It remembers only those that may ask.
func (s *service) meet(ctx context.Context, ref *externalscaler.ScaledObjectRef, now time.Time) (*scaledObject, error) {
	namespace, name, metadata := ref.GetNamespace(), ref.GetName(), ref.GetScalerMetadata()
	if max(len(name), len(namespace)) > maxName {
		return nil, s.refuse(ctx, ref, now, codes.InvalidArgument, fmt.Errorf("its name or namespace has more than %d bytes", maxName))
	}
	if len(metadata) > maxKeys {
		return nil, s.refuse(ctx, ref, now, codes.InvalidArgument, fmt.Errorf("the trigger metadata has %d keys, more than %d", len(metadata), maxKeys))
	}
	if size := metadataSize(metadata); size > maxMetadata {
		return nil, s.refuse(ctx, ref, now, codes.InvalidArgument, fmt.Errorf("the trigger metadata has %d bytes, more than %d", size, maxMetadata))
	}
	if so := s.registry.find(namespace, name, metadata, now); so != nil {
		return so, nil
	}
	t, err := parseTrigger(metadata, s.registry.lead)
	if err != nil {
		return nil, s.refuse(ctx, ref, now, codes.InvalidArgument, err)
	}
	so := &scaledObject{namespace: namespace, name: name, metadata: metadata, trigger: t}
	p, _, err := s.poller(so)
	if err != nil {
		return so, nil //nolint:nilerr // GetMetricSpec gets an answer all the same
	}
	so.trigger.Places = p.connection.Places
	so, forgotten := s.registry.keep(so, now)
	if forgotten > 0 {
		s.metrics.forgotten.Add(float64(forgotten))
		if s.forgetting.due(now) {
			s.log.WarnContext(ctx, "more ScaledObjects ask than the scaler can remember, so it forgets those that asked longest ago, and whether their activation threshold was passed; check who can reach its port", "count", forgotten)
		}
	}
	return so, nil
}

// resolve is meet, with the poller of the trigger's connection.
func (s *service) resolve(ctx context.Context, ref *externalscaler.ScaledObjectRef, now time.Time) (*scaledObject, *poller, error) {
	so, err := s.meet(ctx, ref, now)
	if err != nil {
		return nil, nil, err
	}
	p, code, err := s.poller(so)
	if err != nil {
		return nil, nil, s.refuse(ctx, ref, now, code, err)
	}
	s.refusals.forget(so.namespace, so.name, now)
	p.want(so.trigger.WarmUpLead)
	p.ask(now)
	return so, p, nil
}

// poller returns the poller of the connection that so asks about, if it exists and so may ask.
func (s *service) poller(so *scaledObject) (*poller, codes.Code, error) {
	name := so.trigger.Connection
	p := s.pollers[name]
	switch {
	case p == nil:
		return nil, codes.NotFound, fmt.Errorf("unknown connection %q; this scaler has %s", shorten(name), strings.Join(slices.Sorted(maps.Keys(s.pollers)), ", "))
	case !p.connection.allows(so.namespace):
		return nil, codes.PermissionDenied, fmt.Errorf("connection %q is not for ScaledObjects in namespace %q; name another one in the trigger, or add the namespace to %s of the scaler",
			name, so.namespace, p.connection.AllowedSetting)
	}
	if err := p.connection.Places.accepts(so.trigger); err != nil {
		return nil, codes.InvalidArgument, fmt.Errorf("connection %q: %w", name, err)
	}
	return p, codes.OK, nil
}

// refuse makes the error for KEDA, which shows it in its log and as an event of the
// ScaledObject. Our own log and Events say it once.
func (s *service) refuse(ctx context.Context, ref *externalscaler.ScaledObjectRef, now time.Time, code codes.Code, why error) error {
	namespace, name := cut(ref.GetNamespace(), maxName), cut(ref.GetName(), maxName)
	switch news, full := s.refusals.note(namespace, name, why, now); {
	case news:
		s.log.WarnContext(ctx, "a ScaledObject is refused, so KEDA does not scale it", "scaled_object", namespace+"/"+name, "err", cut(why.Error(), maxRefusal))
		s.operator.Warn(namespace, name, eventRefused, cut(why.Error(), maxRefusal))
	case full && s.refusing.due(now):
		s.log.WarnContext(ctx, "more ScaledObjects are refused than the log names one by one; check who can reach the scaler's port")
	}
	return status.Errorf(code, "scaled object %s/%s: %v", namespace, name, why)
}

// judge is the only place that decides between active and inactive; every RPC is
// a view of its verdict. The error is a gRPC status.
func (s *service) judge(ctx context.Context, so *scaledObject, p *poller, now time.Time) (verdict, error) {
	v, err := s.verdict(so, p, now)
	if err != nil {
		return verdict{}, err
	}
	so.absence.want(v.Active && v.Due > 0, now)
	if so.active.Swap(v.Active) != v.Active && so.kept.Load() {
		key, scope := so.trigger.Places.attribute(so.trigger.Scope)
		log := s.log.With("scaled_object", so.String(), "connection", p.name, key, scope,
			"demand", v.Demand(), "value", v.Value, "reason", v.reason(so.trigger))
		if v.Active {
			log.InfoContext(ctx, "demand began", "flow_runs", v.first(p.current.Load(), so.trigger, now))
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
	return s.pollers[so.trigger.Connection].decide(so.trigger, so.latch.peek(), now)
}

// apply updates every latch of the connection from the new snapshot, even if nobody asks
// just now, so that no latch overlooks demand that ended between two calls.
func (s *service) apply(p *poller) {
	now := time.Now()
	for _, so := range s.registry.latched(p.name) {
		_, _ = s.verdict(so, p, now) // a stale snapshot changes no latch
	}
}

// sweep forgets those that no longer ask, and their warm-up leads.
func (s *service) sweep(now time.Time) {
	s.registry.sweep(now)
	leads := map[string]time.Duration{}
	for _, so := range s.registry.all() {
		leads[so.trigger.Connection] = max(leads[so.trigger.Connection], so.trigger.WarmUpLead)
	}
	for name, p := range s.pollers {
		p.lead.Store(int64(max(leads[name], s.registry.lead)))
	}
}

// decide judges the current snapshot, if it is fresh enough.
func (p *poller) decide(t trigger, wasActive bool, now time.Time) (verdict, error) {
	snap := p.current.Load()
	if err := snap.usable(p.name, p.options.MaxStaleness, now); err != nil {
		return verdict{}, err
	}
	return decide(snap, t, wasActive, now), nil
}

// awaitFirst waits a moment for the first poll to return, if it has not.
func (p *poller) awaitFirst(ctx context.Context) {
	s := p.current.Load()
	if !s.awaited() {
		return
	}
	select {
	case <-s.replaced:
	case <-time.After(firstFill):
	case <-ctx.Done():
	}
}
