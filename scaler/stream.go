package scaler

import (
	"context"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/prefect-keda/prefect-keda/backoff"
)

const (
	// rotateAfter (or up to a fifth less) is how long a stream lives. KEDA opens
	// the next one within 2 s (keda §2.4), which spreads streams over replicas after a
	// rollout.
	rotateAfter = 30 * time.Minute
	rotateShare = 0.2
	// A token bucket: one activation per minGap, and bursts of edgesAtOnce, so that runs
	// that come one by one never wait. The transport keeps thousands of unread messages,
	// and each restarts KEDA's cooldown when it is read at last (keda §2.3), so flapping
	// demand must be limited.
	minGap      = 5 * time.Second
	edgesAtOnce = 6
	// A busy KEDA can lose a message, so we repeat it a few times while demand lasts. By
	// then KEDA has polled.
	repeatAfter = 20 * time.Second
	repeatShare = 0.25
	maxRepeats  = 5
)

// StreamIsActive tells KEDA at once when demand begins. It only ever says true: KEDA
// learns from its polls that demand has ended (keda §2.2). On rotation, on shutdown and
// when the client leaves it ends with nil, because KEDA waits longer and longer after an
// error (keda §2.4).
func (s *service) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	ctx, now := stream.Context(), time.Now()
	so, p, err := s.resolve(ctx, ref, now)
	if err != nil {
		return err
	}
	if !s.registry.open(so) {
		if s.turningAway.due(now) {
			s.log.WarnContext(ctx, "too many streams or ScaledObjects, so KEDA finds out only by polling when demand begins; check who can reach the scaler's port", "limit", maxStreams)
		}
		return status.Errorf(codes.ResourceExhausted, "scaled object %s: the scaler accepts at most %d streams; KEDA finds out by polling", so, maxStreams)
	}
	p.streams.Add(1)
	s.metrics.streams.Inc()
	defer func() {
		s.registry.closed(so)
		p.streams.Add(-1)
		s.metrics.streams.Dec()
	}()
	rotate := time.NewTimer(p.options.Jitter.Spread(rotateAfter, rotateShare))
	defer rotate.Stop()
	return s.push(ctx, rotate.C, so, p, func() error {
		return stream.Send(&externalscaler.IsActiveResponse{Result: true})
	})
}

// push sends on the edges until something ends the stream. The mailbox between
// the poller and a slow reader is the snapshot itself: while a send waits, newer
// ones replace it, and the next message is decided on the latest.
func (s *service) push(ctx context.Context, rotate <-chan time.Time, so *scaledObject, p *poller, send func() error) error {
	bucket := bucket{jitter: p.options.Jitter}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		snap := p.current.Load()
		now := time.Now()
		wake := now.Add(rotateAfter)
		// The stream does not report errors: KEDA gets them when it polls.
		if v, err := s.judge(ctx, so, p, now); err == nil {
			kind, again := bucket.step(v.Active, now)
			if kind != nothing {
				if err := send(); err != nil {
					return ended(ctx, err)
				}
				s.metrics.pushed(kind, v.Since, time.Now())
			}
			wake = earliest(earliest(wake, again), v.NextWake)
		}
		timer.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return nil
		case <-rotate:
			return nil
		case <-snap.replaced:
		case <-timer.C:
		}
	}
}

// ended is the result of a stream whose message could not be sent.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the client has left, which is a clean end
	}
	return err
}

// kind is the reason for a message.
type kind string

const (
	nothing kind = ""
	opening kind = "open"
	edge    kind = "edge"
	repeat  kind = "repeat"
)

// bucket decides when a stream speaks.
type bucket struct {
	jitter   backoff.Jitter
	begun    bool
	active   bool
	paid     time.Time // the end of the gaps of all edges so far
	repeats  int
	repeatAt time.Time
}

// step takes the present state and returns whether to send a message, and when to decide
// again if nothing changes; zero means never.
func (b *bucket) step(active bool, now time.Time) (kind, time.Time) {
	first := !b.begun
	b.begun = true
	switch {
	case !active:
		b.active = false
		return nothing, time.Time{}
	case !b.active:
		if free := b.paid.Add(-(edgesAtOnce - 1) * minGap); now.Before(free) {
			return nothing, free
		}
		if b.paid.Before(now) {
			b.paid = now
		}
		b.paid = b.paid.Add(minGap)
		b.active, b.repeats = true, 0
		b.said(now)
		if first {
			return opening, b.repeatAt
		}
		return edge, b.repeatAt
	case b.repeats >= maxRepeats:
		return nothing, time.Time{}
	case now.Before(b.repeatAt):
		return nothing, b.repeatAt
	}
	b.repeats++
	b.said(now)
	if b.repeats >= maxRepeats {
		return repeat, time.Time{}
	}
	return repeat, b.repeatAt
}

func (b *bucket) said(now time.Time) {
	b.repeatAt = now.Add(b.jitter.Spread(repeatAfter, repeatShare))
}
