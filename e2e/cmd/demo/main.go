// Command demo shows the main job live on a local cluster: flow runs come, a
// launcher appears from zero, Jobs run, and everything is at zero again. It
// draws what happened as a picture.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/prefect-keda/prefect-keda/e2e/cluster"
)

const usage = `usage: demo up [--prefect 1|3] [--burst N] [--picture FILE]   show it: brings up, or uses, the kind cluster prefect-keda
       demo down                                              remove the cluster; what was built stays cached`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch args[0] {
	case "up":
		flags := flag.NewFlagSet("demo up", flag.ContinueOnError)
		version := flags.Int("prefect", 1, "1: a stand-in API and the real client; 3: the real server and client")
		burst := flags.Int("burst", 20, "flow runs in the burst")
		picture := flags.String("picture", "e2e/out/timeline.svg", "where the picture goes, from the repository's root; empty for none")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		p, ok := map[int]prefect{1: &standIn{}, 3: &real{}}[*version]
		if !ok {
			return fmt.Errorf("there is no demo of Prefect %d\n%s", *version, usage)
		}
		return up(ctx, os.Stdout, p, *burst, *picture)
	case "down":
		return cluster.Down(ctx, os.Stdout)
	}
	return fmt.Errorf("no such command: %s\n%s", args[0], usage)
}
