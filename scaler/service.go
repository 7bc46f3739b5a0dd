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

	refusals refusals
	// What strangers could have us say at every call:
	refusing, forgetting, turningAway seldom
}

// GetMetricSpec is a function of the metadata alone: KEDA drops the metric from
// the HPA, and with it any fallback, when this call fails.
func (s *service) GetMetricSpec(ctx context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	so, err := s.meet(ctx, ref, time.Now())
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
	so, p, err := s.resolve(ctx, ref, time.Now())
	if err != nil {
		return verdict{}, nil, err
	}
	p.awaitFirst(ctx)
	v, err := s.judge(ctx, so, p, time.Now())
	return v, so, err
}

// meet reads who asks and how. Only one that may ask is remembered.
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
	if so := s.seen.find(namespace, name, metadata, now); so != nil {
		return so, nil
	}
	t, err := parseTrigger(metadata, s.seen.lead)
	if err != nil {
		return nil, s.refuse(ctx, ref, now, codes.InvalidArgument, err)
	}
	so := &scaledObject{namespace: namespace, name: name, metadata: metadata, trigger: t}
	if _, _, err := s.poller(so); err != nil {
		return so, nil //nolint:nilerr // GetMetricSpec is answered all the same
	}
	so, forgotten := s.seen.keep(so, now)
	if forgotten > 0 {
		s.metrics.forgotten.Add(float64(forgotten))
		if s.forgetting.due(now) {
			s.log.WarnContext(ctx, "more ScaledObjects ask than the scaler remembers, so it forgets those that asked longest ago, and whether their activation threshold was passed; see who can reach its port", "count", forgotten)
		}
	}
	return so, nil
}

// resolve is meet, and the connection asked about.
func (s *service) resolve(ctx context.Context, ref *externalscaler.ScaledObjectRef, now time.Time) (*scaledObject, *poller, error) {
	so, err := s.meet(ctx, ref, now)
	if err != nil {
		return nil, nil, err
	}
	p, code, err := s.poller(so)
	if err != nil {
		return nil, nil, s.refuse(ctx, ref, now, code, err)
	}
	p.want(so.trigger.WarmUpLead)
	p.ask(now)
	return so, p, nil
}

// poller is that of the connection so asks about, if there is one and so may.
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
	return p, codes.OK, nil
}

// refuse is the error for KEDA, which shows it in its log and as an event of the
// ScaledObject. Here each is said once.
func (s *service) refuse(ctx context.Context, ref *externalscaler.ScaledObjectRef, now time.Time, code codes.Code, why error) error {
	namespace, name := cut(ref.GetNamespace(), maxName), cut(ref.GetName(), maxName)
	switch news, full := s.refusals.note(namespace, name, why, now); {
	case news:
		s.log.WarnContext(ctx, "a ScaledObject is refused; KEDA changes nothing about it", "scaled_object", namespace+"/"+name, "err", cut(why.Error(), maxRefusal))
	case full && s.refusing.due(now):
		s.log.WarnContext(ctx, "more ScaledObjects are refused than are told one by one; see who can reach the scaler's port")
	}
	return status.Errorf(code, "scaled object %s/%s: %v", namespace, name, why)
}

// judge is the one place where active and inactive are told apart; every RPC is
// a view of its verdict. The error is a gRPC status.
func (s *service) judge(ctx context.Context, so *scaledObject, p *poller, now time.Time) (verdict, error) {
	v, err := s.verdict(so, p, now)
	if err != nil {
		return verdict{}, err
	}
	if so.active.Swap(v.Active) != v.Active && s.seen.remembers(so) {
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
	return s.pollers[so.trigger.Connection].decide(so.trigger, so.latch.peek(), now)
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
	if !s.awaited() {
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
