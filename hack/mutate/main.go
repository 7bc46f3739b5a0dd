// Command mutate breaks the code on purpose and tells which breakages no test
// notices. Sources stay as they are: a broken file is laid over its original by
// go test's -overlay.
//
// By default it takes away each guard of guards.diff and runs the test named with it.
// With -sweep it applies the operators to all lines that a package's tests reach, and runs
// all its tests for each.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("mutate [-sweep [./package...]]", flag.ContinueOnError)
	sweep := f.Bool("sweep", false, "apply the operators everywhere in the named packages, by default trouble, job, prefect1, scaler and launcher (hours)")
	only := f.String("only", "", "only breakages whose line `file:line: change` matches this expression")
	sample := f.Int("sample", 0, "only so many breakages of each package; 0 means all")
	seed := f.Uint64("seed", 1, "chooses the sample")
	budget := f.Duration("for", 24*time.Hour, "begin nothing more after this time")
	parallel := f.Int("parallel", runtime.NumCPU(), "breakages tried at once")
	last := f.String("last", "Interleaving", "slow tests, which a sweep runs only if no other test has noticed")
	if err := f.Parse(args); err != nil {
		return fmt.Errorf("read the command line: %w", err)
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("read -only: %w", err)
	}
	t := trial{out: out, parallel: *parallel, until: time.Now().Add(*budget), last: *last}
	packages := f.Args()
	switch {
	case !*sweep:
		all, err := readGuards(".")
		if err != nil {
			return err
		}
		if err := t.try(ctx, keep(all, func(m mutant) bool { return wanted.MatchString(m.String()) })); err != nil {
			return err
		}
		packages = nil
	case len(packages) == 0:
		packages = []string{"./trouble", "./job", "./prefect/prefect1", "./scaler", "./launcher"}
	}
	for _, pkg := range packages {
		reached, err := t.unbroken(ctx, pkg)
		if err != nil {
			return err
		}
		all, err := mutantsOf(pkg)
		if err != nil {
			return err
		}
		all = keep(all, func(m mutant) bool { return reached.has(m) && wanted.MatchString(m.String()) })
		if *sample > 0 && *sample < len(all) {
			rand.New(rand.NewPCG(*seed, 0)).Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
			all = all[:*sample]
		}
		fmt.Fprintf(out, "%s: %d breakages; unbroken, its tests take %s\n", pkg, len(all), t.took.Round(time.Second))
		if err := t.try(ctx, all); err != nil {
			return err
		}
	}
	if t.lived > 0 {
		return fmt.Errorf("%d breakages were not noticed: write a test, or delete the line if it is not needed", t.lived)
	}
	return nil
}

func keep(all []mutant, want func(mutant) bool) []mutant {
	return slices.DeleteFunc(all, func(m mutant) bool { return !want(m) })
}
