// Command prefect-keda runs Prefect on Kubernetes from zero: its scaler tells
// KEDA how many launchers are wanted, its launchers claim due flow runs and
// create their Jobs. Here is wiring and exit codes, no logic.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process as if there were no drain.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], standard(), os.Environ())
	stop()
	os.Exit(code)
}

// standard are the process' own streams, whose libraries log through ours.
func standard() streams {
	return streams{os.Stdout, os.Stderr, os.Stdin, adoptLibraries, trustPublicRoots}
}
