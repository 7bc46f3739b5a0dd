// Command cluster brings the kind cluster of the demo and the tests up and down.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/prefect-keda/prefect-keda/e2e/cluster"
)

const usage = `usage: cluster up          bring the kind cluster with KEDA up, or use the one there is
       cluster down        remove it; what was built stays cached
       cluster status      say what there is
       cluster load IMAGE… put images of the Docker daemon into its node
       cluster kubeconfig  print the path of its kubeconfig
       cluster flow-image  build and load the image flow pods run in
       cluster build-image NAME BINARY
                           build and load the image of the repository's Dockerfile
       cluster kubectl …   run the node's kubectl; files it reads are the node's, - is standard input

PREFECT_KEDA_CACHE   where slow things are kept (default ~/.cache/prefect-keda)
PREFECT_KEDA_IMAGES  auto, pull or build (default auto: as the cluster that is there was made,
                     else pull where the registries answer)`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, usage)
		return fmt.Errorf("no command given")
	}
	switch args[0] {
	case "up":
		c, err := cluster.Up(ctx, os.Stdout)
		if err != nil {
			return err
		}
		fmt.Println("    export KUBECONFIG=" + c.Kubeconfig)
		return nil
	case "down":
		return cluster.Down(ctx, os.Stdout)
	case "status":
		return cluster.Status(ctx, os.Stdout)
	case "build-image":
		if len(args) != 3 {
			return fmt.Errorf("build-image needs a name and the path of a static binary")
		}
	case "load", "kubeconfig", "kubectl", "flow-image":
	default:
		fmt.Fprintln(os.Stderr, usage)
		return fmt.Errorf("no such command: %s", args[0])
	}
	c, err := cluster.Up(ctx, os.Stderr)
	if err != nil {
		return err
	}
	switch args[0] {
	case "load":
		return c.Load(ctx, args[1:]...)
	case "flow-image":
		ref, err := c.FlowImage(ctx)
		fmt.Println(ref)
		return err
	case "build-image":
		size, err := c.BuildImage(ctx, args[1], args[2])
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d bytes\n", args[1], size)
		return c.Load(ctx, args[1])
	case "kubectl":
		out, err := c.KubectlInput(ctx, os.Stdin, args[1:]...)
		fmt.Print(out)
		return err
	default:
		fmt.Println(c.Kubeconfig)
		return nil
	}
}
