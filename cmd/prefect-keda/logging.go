package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
	"google.golang.org/grpc/grpclog"
	"k8s.io/klog/v2"

	"github.com/prefect-keda/prefect-keda/config"
)

// newLogger writes JSON for machines, text for a terminal.
func newLogger(out io.Writer, p config.Process) *slog.Logger {
	options := &slog.HandlerOptions{Level: p.LogLevel, ReplaceAttr: readable}
	if p.LogFormat == config.Text || p.LogFormat == config.Auto && isTerminal(out) {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}

// readable writes durations as 15m0s, which in JSON would be a number of
// nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// adoptLibraries has the libraries that log for themselves do it through ours.
func adoptLibraries(log *slog.Logger) {
	klog.SetSlogLogger(log.With("library", "client-go"))
	grpclog.SetLoggerV2(grpcLog{log.With("library", "grpc")})
}

// grpcLog turns gRPC's own lines into ours. What it calls an error is that a
// client went away, so nothing of it is above debug.
type grpcLog struct{ log *slog.Logger }

func (g grpcLog) say(args ...any) { g.log.Debug("grpc", "reason", fmt.Sprint(args...)) }
func (g grpcLog) sayf(format string, args ...any) {
	g.log.Debug("grpc", "reason", fmt.Sprintf(format, args...))
}

func (grpcLog) Info(...any)                      {}
func (grpcLog) Infoln(...any)                    {}
func (grpcLog) Infof(string, ...any)             {}
func (g grpcLog) Warning(args ...any)            { g.say(args...) }
func (g grpcLog) Warningln(args ...any)          { g.say(args...) }
func (g grpcLog) Warningf(f string, args ...any) { g.sayf(f, args...) }
func (g grpcLog) Error(args ...any)              { g.say(args...) }
func (g grpcLog) Errorln(args ...any)            { g.say(args...) }
func (g grpcLog) Errorf(f string, args ...any)   { g.sayf(f, args...) }
func (g grpcLog) Fatal(args ...any) {
	g.log.Error("grpc", "reason", fmt.Sprint(args...))
	os.Exit(exitFailed)
}
func (g grpcLog) Fatalln(args ...any)          { g.Fatal(args...) }
func (g grpcLog) Fatalf(f string, args ...any) { g.Fatal(fmt.Sprintf(f, args...)) }
func (grpcLog) V(level int) bool               { return level <= 0 }
