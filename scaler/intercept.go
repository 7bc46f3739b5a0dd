package scaler

import (
	"context"
	"log/slog"
	"path"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// handlerDeadline bounds every unary call: KEDA sets none and holds a lock on
// the ScaledObject meanwhile (keda §1.8).
const handlerDeadline = time.Second

// interceptor handles what all calls have in common.
type interceptor struct {
	metrics *metrics
	log     *slog.Logger
	// draining ends when the server shuts down; streams end with it.
	draining context.Context //nolint:containedctx // outlives each call, and is what ends them
}

func (i interceptor) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, handlerDeadline)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			response, err = nil, i.recovered(ctx, info.FullMethod, r)
		}
		method := path.Base(info.FullMethod)
		i.metrics.duration.WithLabelValues(method).Observe(time.Since(began).Seconds())
		i.metrics.requests.WithLabelValues(method, status.Code(err).String()).Inc()
	}()
	return handle(ctx, request)
}

func (i interceptor) stream(server any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	defer context.AfterFunc(i.draining, cancel)()
	defer func() {
		if r := recover(); r != nil {
			err = i.recovered(ctx, info.FullMethod, r)
		}
		i.metrics.requests.WithLabelValues(path.Base(info.FullMethod), status.Code(err).String()).Inc()
	}()
	return handle(server, drained{ss, ctx})
}

// recovered turns a panic in one call into its error, so that the other calls go on.
func (i interceptor) recovered(ctx context.Context, method string, r any) error {
	i.metrics.panics.Inc()
	i.log.ErrorContext(ctx, "a call panicked; this is a bug", "method", method, "err", r, "stack", string(debug.Stack()))
	return status.Error(codes.Internal, "the scaler failed on this call; its log has the stack")
}

// drained is a stream whose context also ends with the server.
type drained struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // gRPC hands contexts of streams on like this
}

// Context implements grpc.ServerStream.
func (d drained) Context() context.Context { return d.ctx }
