// Command prefect1-api serves the stand-in Prefect 1.x API of the demo and the
// end-to-end tests. It keeps everything in memory and is no Prefect Server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

func main() {
	api := flag.String("api", ":4200", "address of the GraphQL API")
	control := flag.String("control", ":4280", "address of the control side: create runs, break things, look at states (see package control)")
	key := flag.String("key", "", "demand this API key, as Prefect Cloud does")
	replicas := flag.Int("replicas", 1, "API processes to stand in for; each remembers submissions on its own")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "prefect1-api stands in for a Prefect 1.x API: in memory, for demos and tests only.")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := prefecttest.New(prefecttest.Options{Key: *key, Replicas: *replicas})
	if err := serve(ctx, map[string]http.Handler{*api: a, *control: a.Control()}); err != nil {
		fmt.Fprintln(os.Stderr, "prefect1-api:", err)
		os.Exit(1) //nolint:gocritic // nothing is deferred that matters
	}
}

// serve listens on every address until ctx ends, then drains.
func serve(ctx context.Context, handlers map[string]http.Handler) error {
	failed := make(chan error, len(handlers))
	var servers []*http.Server
	for addr, h := range handlers {
		s := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, s)
		go func() { failed <- s.ListenAndServe() }()
		fmt.Println("listening on", addr)
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		failed <- http.ErrServerClosed
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for _, s := range servers {
		s.Shutdown(drain) //nolint:errcheck // what does not drain in time is cut
	}
	for range servers {
		if end := <-failed; err == nil && !errors.Is(end, http.ErrServerClosed) {
			err = end
		}
	}
	return err
}
