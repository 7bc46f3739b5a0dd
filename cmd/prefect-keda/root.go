package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/prefect"
)

type streams struct {
	out, err io.Writer
	in       io.Reader
	// libraries has those log through ours that have one log for the whole process; nil
	// leaves them alone, as tests do that run several commands in one.
	libraries func(*slog.Logger)
	// roots has TLS trust the public authorities in the whole process; nil leaves it alone.
	roots func()
}

// trustRoots is for commands that may reach the internet by TLS.
func (s streams) trustRoots() {
	if s.roots != nil {
		s.roots()
	}
}

// logger is that of a command, and from then on that of the libraries.
func (s streams) logger(p config.Process) *slog.Logger {
	log := newLogger(s.err, p)
	if s.libraries != nil {
		s.libraries(log)
	}
	return log
}

// The exit codes. Idle and drained are the good ends of a launcher.
const (
	exitOK            = 0
	exitFailed        = 1
	exitMisconfigured = 2
)

// exits says what a command's exit codes mean, for its help page.
func exits(ok, failed, misconfigured string) map[string]string {
	return map[string]string{"exit 0": ok, "exit 1": failed, "exit 2": misconfigured}
}

// reported is an error whose text has been printed already.
type reported struct{ error }

// Unwrap is the cause, which has the exit code.
func (r reported) Unwrap() error { return r.error }

// misconfigured is an error that only a changed setting can fix.
type misconfigured struct{ error }

func (m misconfigured) Unwrap() error { return m.error }

// run executes a command line and returns the exit code.
func run(ctx context.Context, args []string, io streams, environ []string) int {
	root := newRoot(io, environ) //nolint:contextcheck // cobra hands the context to the commands
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if _, _, unknown := root.Find(args); unknown != nil {
		err = unknownCommand(root, unknown)
	}
	if _, said := errors.AsType[reported](err); said {
		return exitCode(err)
	}
	fmt.Fprintln(io.err, "prefect-keda: "+strings.ReplaceAll(err.Error(), "\n", "\n  "))
	return exitCode(err)
}

// unknownCommand puts into our words what cobra says of a command that is not
// there. Cobra looks for that before any flag: only so --help is no success.
func unknownCommand(root *cobra.Command, err error) error {
	var name string
	if _, other := fmt.Sscanf(err.Error(), "unknown command %q", &name); other != nil {
		return misconfigured{err}
	}
	return noCommand(root, name)
}

// noCommand names those that may be meant.
func noCommand(root *cobra.Command, name string) error {
	if meant := root.SuggestionsFor(name); len(meant) > 0 {
		return misconfigured{fmt.Errorf("there is no command %q; did you mean %s? See %s --help", name, strings.Join(meant, " or "), root.Name())}
	}
	return misconfigured{fmt.Errorf("there is no command %q; see %s --help", name, root.Name())}
}

func exitCode(err error) int {
	_, setting := errors.AsType[misconfigured](err)
	_, missing := errors.AsType[*kube.MissingError](err)
	// Refusals that may pass (a quota) end no process.
	if setting || missing || errors.Is(err, prefect.ErrAuth) || apierrors.IsForbidden(err) {
		return exitMisconfigured
	}
	return exitFailed
}

func newRoot(io streams, environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "prefect-keda",
		Short: "Run Prefect on Kubernetes and pay nothing while nothing is due",
		Example: `  prefect-keda install --backend server --api http://prefect-apollo.prefect:4200 | kubectl apply -f -
  prefect-keda render 6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001   # the Job a flow run would get
  prefect-keda check                                         # what a launcher needs, and what to do
  prefect-keda explain 6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001  # why a flow run does or does not start
  prefect-keda launcher --pool etl --idle-timeout 5m         # flags override the environment
  prefect-keda completion bash > /etc/bash_completion.d/prefect-keda`,
		Annotations: exits(
			"done",
			"something failed that may pass",
			"a flag, an argument or a setting is wrong; change it"),
		SilenceErrors: true, // run prints them, once
		SilenceUsage:  true, // an error is not helped by a page of flags

		SuggestionsMinimumDistance: 2,
	}
	root.SetOut(io.out)
	root.SetErr(io.err)
	root.SetHelpFunc(help)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return misconfigured{fmt.Errorf("%w; see %s --help", config.FlagProblem(err), c.CommandPath())}
	})
	env := parseEnviron(environ)
	root.AddCommand(newScaler(io, env), newVersion())
	for _, c := range []*cobra.Command{newLauncher(io, env), newInstall(io, env), newRender(io, env), newCheck(io, env), newExplain(io, env)} {
		c.PreRun = func(*cobra.Command, []string) { io.trustRoots() } // templates may be anywhere
		root.AddCommand(c)
	}
	addCompletion(root)
	addHelp(root)
	for _, g := range flagGroups(root) {
		root.Flags().AddFlagSet(g.Flags)
	}
	root.RunE = func(c *cobra.Command, _ []string) error {
		if asked, _ := c.Flags().GetBool("version"); asked {
			printVersion(c.OutOrStdout())
			return nil
		}
		return c.Help()
	}
	return root
}

// addCompletion is cobra's own command, with our exit code for a wrong call.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	c, _, err := root.Find([]string{"completion"})
	if err != nil {
		return
	}
	c.Short = "Print a script that completes commands and flags in a shell"
	for _, shell := range c.Commands() {
		shell.Args = noArgs
	}
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(*cobra.Command, []string) error {
		return misconfigured{errors.New("no shell is given: give bash, fish, powershell or zsh")}
	}
}

// addHelp replaces cobra's own command, which accepts unknown commands.
func addHelp(root *cobra.Command) {
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [command]",
		Short: "Show the page of a command, as its --help does",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, c := range root.Commands() {
				names = append(names, c.Name())
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return noCommand(root, strings.Join(args, " "))
			}
			return c.Help()
		},
	})
}

func rootFlags() config.Group {
	fs := pflag.NewFlagSet("root", pflag.ContinueOnError)
	fs.Bool("version", false, "print the version, as the command does")
	return config.Group{Title: "Flags", Flags: fs}
}

func printVersion(out io.Writer) {
	fmt.Fprintln(out, "prefect-keda", currentVersion(), runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			printVersion(c.OutOrStdout())
			return nil
		},
	}
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misconfigured{fmt.Errorf("%s takes no arguments, only flags, and got %q", c.CommandPath(), args)}
	}
	return nil
}

// environment is the process's, as given and as Prefect reads it.
type environment struct {
	envconfig.Lookuper
	names []string
}

func parseEnviron(environ []string) environment {
	values := map[string]string{}
	var names []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
		names = append(names, name)
	}
	return environment{config.Environment(envconfig.MapLookuper(values)), names}
}

// help prints flags under headings, because nobody can read forty flags in alphabetical
// order.
func help(c *cobra.Command, _ []string) {
	out := c.OutOrStdout()
	if text := c.Long; text != "" {
		fmt.Fprintln(out, text)
	} else {
		fmt.Fprintln(out, c.Short)
	}
	fmt.Fprintln(out, "\nUsage:\n  "+c.UseLine())
	if c.Example != "" {
		fmt.Fprintln(out, "\nExamples:\n"+c.Example)
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprintln(out, "\nCommands:")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(out, "  %-10s %s\n", sub.Name(), sub.Short)
			}
		}
	}
	if len(c.Annotations) > 0 {
		fmt.Fprintln(out, "\nExit codes:")
		for _, code := range []string{"0", "1", "2"} {
			fmt.Fprintf(out, "  %s  %s\n", code, c.Annotations["exit "+code])
		}
	}
	for _, g := range flagGroups(c) {
		if !g.Flags.HasAvailableFlags() {
			continue
		}
		fmt.Fprintf(out, "\n%s:\n%s", g.Title, g.Flags.FlagUsagesWrapped(helpWidth))
	}
}

const helpWidth = 120
