package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

// root is the product's module, as seen from this one's folder.
const root = "../.."

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "supply:", err)
		os.Exit(1) //nolint:gocritic // stop only frees a signal handler
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say what to make: image, licenses or sbom")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	to := flags.String("to", "", "the file or folder to write")
	version := flags.String("version", "", "the version of the product")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *to == "" {
		return errors.New("-to is missing: the file or folder to write")
	}
	switch args[0] {
	case "image":
		notices, err := notices(ctx)
		if err != nil {
			return err
		}
		index, err := index(*version, notices, flags.Args())
		if err != nil {
			return err
		}
		return write(*to, index)
	case "licenses":
		notices, err := notices(ctx)
		if err != nil {
			return err
		}
		return os.WriteFile(*to, notices, 0o644)
	case "sbom":
		if flags.NArg() != 1 {
			return errors.New("an SBOM is of one binary")
		}
		file, err := os.Create(*to)
		if err != nil {
			return err
		}
		return errors.Join(writeSBOM(ctx, file, *version, flags.Arg(0)), file.Close())
	}
	return fmt.Errorf("%q is none of image, licenses and sbom", args[0])
}
