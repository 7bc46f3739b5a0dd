//go:build e2e

// Package e2e holds the scenarios on a real cluster with real KEDA. Those that
// measure run first and one by one; the others run beside one another.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/prefect-keda/prefect-keda/e2e/framework"
)

var suite *framework.Suite

func TestMain(m *testing.M) {
	flag.Parse()
	// Scenarios mostly wait, so more of them fit than there are cores.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	suite, err = framework.Start(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	code := m.Run()
	suite.End()
	os.Exit(code)
}
