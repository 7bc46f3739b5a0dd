package scaler

import (
	"context"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// rotateAfter (give or take a fifth) is how long a stream lives. KEDA opens
	// the next one within 2 s, which spreads streams over replicas after a rollout.
	rotateAfter = 30 * time.Minute
	rotateShare = 0.2
	// minGap parts edges in the long run; as many as edgesAtOnce may come faster, so
	// that runs that come one by one never wait. The transport takes thousands of
	// messages that nobody reads, and each starts KEDA's cooldown anew when it is read
	// at last, so demand that flaps for hours is not to fill it.
	minGap      = 5 * time.Second
	edgesAtOnce = 6
	// A message can be lost on a KEDA that is busy elsewhere, so it is repeated a
	// few times while demand lasts. After that the polls have had their say.
	repeatAfter = 20 * time.Second
	repeatShare = 0.25
	maxRepeats  = 5
)

// StreamIsActive tells KEDA at once when demand begins. It only ever says true:
// false is for the polls. It ends with nil, on rotation, on shutdown and when the
// client leaves, because KEDA waits longer and longer after an error.
func (s *service) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	ctx, now := stream.Context(), time.Now()
	so, p, err := s.resolve(ctx, ref, now)
	if err != nil {
		return err
	}
	if !s.seen.open(so) {
		if s.turningAway.due(now) {
			s.log.WarnContext(ctx, "too many streams or ScaledObjects: KEDA is not told at once when demand begins, and finds out when it polls; see who can reach the scaler's port", "limit", maxStreams)
		}
		return status.Errorf(codes.ResourceExhausted, "scaled object %s: the scaler takes no more streams than %d; KEDA finds out by polling", so, maxStreams)
	}
	p.streams.Add(1)
	s.metrics.streams.Inc()
	defer func() {
		s.seen.closed(so)
		p.streams.Add(-1)
		s.metrics.streams.Dec()
	}()
	rotate := time.NewTimer(jitter(rotateAfter, rotateShare))
	defer rotate.Stop()
	return s.push(ctx, rotate.C, so, p, func() error {
		return stream.Send(&externalscaler.IsActiveResponse{Result: true})
	})
}

// push sends on the edges until something ends the stream. The mailbox between
// the poller and a slow reader is the snapshot itself: while a send waits, newer
// ones replace it, and the next message is decided on the latest.
func (s *service) push(ctx context.Context, rotate <-chan time.Time, so *scaledObject, p *poller, send func() error) error {
	var pace pace
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		snap := p.current.Load()
		now := time.Now()
		wake := now.Add(rotateAfter)
		// An error is no news for a stream: KEDA hears of it when it polls.
		if v, err := s.judge(ctx, so, p, now); err == nil {
			kind, again := pace.step(v.Active, now)
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
		case <-snap.superseded:
		case <-timer.C:
		}
	}
}

// ended is how a stream ends whose message could not be sent.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the other side has left; that is a clean end
	}
	return err
}

// kind is why a message is sent.
type kind string

const (
	nothing kind = ""
	opening kind = "open"
	edge    kind = "edge"
	repeat  kind = "repeat"
)

// pace decides when a stream speaks.
type pace struct {
	begun    bool
	active   bool
	paid     time.Time // when the gaps of all edges so far are over
	repeats  int
	repeatAt time.Time
}

// step takes the present state and returns whether to send, and when to decide
// again if nothing changes; zero is never.
func (p *pace) step(active bool, now time.Time) (kind, time.Time) {
	first := !p.begun
	p.begun = true
	switch {
	case !active:
		p.active = false
		return nothing, time.Time{}
	case !p.active:
		if free := p.paid.Add(-(edgesAtOnce - 1) * minGap); now.Before(free) {
			return nothing, free
		}
		if p.paid.Before(now) {
			p.paid = now
		}
		p.paid = p.paid.Add(minGap)
		p.active, p.repeats = true, 0
		p.said(now)
		if first {
			return opening, p.repeatAt
		}
		return edge, p.repeatAt
	case p.repeats >= maxRepeats:
		return nothing, time.Time{}
	case now.Before(p.repeatAt):
		return nothing, p.repeatAt
	}
	p.repeats++
	p.said(now)
	if p.repeats >= maxRepeats {
		return repeat, time.Time{}
	}
	return repeat, p.repeatAt
}

func (p *pace) said(now time.Time) {
	p.repeatAt = now.Add(jitter(repeatAfter, repeatShare))
}
