// Command prefect1-api serves the stand-in Prefect 1.x API of the demo and the
// end-to-end tests. It keeps everything in memory and is no Prefect Server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

// run serves until ctx ends and returns the exit code: 2 for a wrong command
// line, as package flag has it.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("prefect1-api", flag.ContinueOnError)
	flags.SetOutput(stderr)
	api := flags.String("api", ":4200", "address of the GraphQL API")
	control := flags.String("control", ":4280", "address of the control side: create runs, break things, look at states (see package control)")
	key := flags.String("key", "", "demand this API key, as Prefect Cloud does")
	replicas := flags.Int("replicas", 1, "API processes to stand in for; each remembers submissions on its own")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "prefect1-api stands in for a Prefect 1.x API: in memory, for demos and tests only.")
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "prefect1-api: takes no arguments, only flags, and got %q\n", flags.Args())
		return 2
	}
	a := prefecttest.New(prefecttest.Options{Key: *key, Replicas: *replicas})
	if err := serve(ctx, map[string]http.Handler{*api: a, *control: a.Control()}); err != nil {
		fmt.Fprintln(stderr, "prefect1-api:", err)
		return 1
	}
	return 0
}

// serve listens on every address until ctx ends, then drains.
func serve(ctx context.Context, handlers map[string]http.Handler) error {
	group, ctx := errgroup.WithContext(ctx)
	for addr, h := range handlers {
		s := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 10 * time.Second}
		group.Go(s.ListenAndServe)
		group.Go(func() error {
			<-ctx.Done()
			drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			s.Shutdown(drain) //nolint:errcheck // what does not drain in time is cut
			return nil
		})
		fmt.Println("listening on", addr)
	}
	if err := group.Wait(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
