package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func newRender(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "render [flags] FLOW_RUN_ID | -f FILE",
		Short: "Print the Job a flow run would get, and create nothing",
		Long: `Render prints the Job that a launcher with these flags and this environment would create for a flow run. It only reads:
the run from the Prefect API, or from a file where there is no API at hand, and the Job template; in Prefect 3 also its
deployment, its work pool, and the blocks and variables that they name. Comments say where each value is from.

In Prefect 3, --save writes all that into a file, from which -f renders the same Job again, offline and with other
settings if you like. Keep it like a key, because secret blocks are in it as they are.

An error that would fail the run is printed as the launcher would log it. Keys, auth strings and secret blocks are
shown as ` + hiddenKey + ` unless --show-key is given.

It takes every flag and variable of the launcher; shown below are those that matter here. The variable is in brackets,
with its default; the flag wins.`,
		Example: `  prefect-keda render 6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001
  prefect-keda render --save run.json 6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001
  prefect-keda render -f run.json --backend server --namespace flows --job-template job.yaml
  prefect-keda render -f - -o json --env A=1 < run.json | kubectl create --dry-run=server -f -`,
		Annotations: exits(
			"the Job is printed",
			"the run would fail, or it or its template cannot be read",
			"a flag, an argument or a setting is wrong, or the API refuses the key"),
	}
	addFlags(c)
	c.Args = func(c *cobra.Command, args []string) error {
		file, _ := c.Flags().GetString("filename")
		if (file == "") != (len(args) == 1) {
			return misconfigured{errors.New("no flow run is given: give either its id, or -f FILE with the run as the API returns it")}
		}
		if save, _ := c.Flags().GetString("save"); save != "" && file != "" {
			return misconfigured{errors.New("--save: the run is in a file already: leave out --save or --filename")}
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		write, err := printer(c)
		if err != nil {
			return err
		}
		file, name, err := fileOf(c, io.in)
		if err != nil {
			return err
		}
		settings, err := renderSettings(c, env, file, name != "")
		if err != nil {
			return err
		}
		log := newLogger(io.err, settings.Process)
		hintAtCommas(log, c)
		b, id, err := toRender(settings, log, file, name, args)
		if err != nil {
			return misconfigured{err}
		}
		run, err := b.FlowRun(c.Context(), id)
		if err != nil && name == "" {
			return fmt.Errorf("%w (asked %s, which %s says)", err, settings.Address(), settings.AddressSetting())
		}
		if err != nil {
			return err
		}
		r := b.keeping(settings, name == "") // a file knows of no tenant
		made, err := r.Render(c.Context(), run)
		if wrong, ok := errors.AsType[*prefect.AuthorError](err); ok {
			logFailure(newLogger(io.err, loudEnough(settings.Process)), run, wrong)
			return reported{errors.Join(err, save(c, r))}
		}
		if err != nil {
			return fmt.Errorf("render the Job of flow run %s: %w", run.ID, err)
		}
		for _, warning := range made.Warnings {
			log.Warn("the run's log will say", "flow_run", run.ID, "reason", warning)
		}
		if made.Job.Namespace == "" { // the launcher says it in the request
			made.Job.Namespace, made.Origins["metadata.namespace"] = settings.Namespace, "NAMESPACE"
		}
		secrets := append(r.secrets(), settings.AuthString.Reveal())
		if settings.Kind == config.Prefect3 {
			secrets = append(secrets, settings.APIKey().Reveal())
		}
		return errors.Join(write(io.out, made, secrets), save(c, r))
	}
	return c
}

// hiddenKey stands for the key, which a terminal and a build log are no place for.
const hiddenKey = "[hidden]"

func renderFlags() config.Group {
	fs := pflag.NewFlagSet("render", pflag.ContinueOnError)
	fs.StringP("filename", "f", "", "file with the flow run: as --save wrote it, or as the API of Prefect 1 returns it (a row of flow_run,\nor the whole answer); - for standard input")
	fs.String("save", "", "write the run, with all that its Job is made of, into this file (Prefect 3)")
	fs.StringP("output", "o", "yaml", "yaml, with a comment at each value that says what set it, or json")
	fs.Bool("show-key", false, "print keys, auth strings and secret blocks, and user and password in the API's URL, if the Job has them as text")
	return config.Group{Title: "Rendering", Flags: fs}
}

// renderSettings are the launcher's. Without an API nobody asks for a key or, where the
// file says that it is Prefect 3's, for a URL; a launcher cannot be without, so there they
// are made up.
func renderSettings(c *cobra.Command, env environment, file []byte, offline bool) (config.Launcher, error) {
	given, problems := lookup(c, env, config.Launcher{})
	if kind, _ := given.Lookup("PREFECT_KEDA_BACKEND"); offline && kind == "" && isBundle(file) {
		given = envconfig.MultiLookuper(envconfig.MapLookuper(map[string]string{"PREFECT_KEDA_BACKEND": string(config.Prefect3)}), given)
	}
	kind, _ := config.KindOf(given)
	backend, _ := given.Lookup("PREFECT__BACKEND")
	switch {
	case !offline:
	case kind == config.Prefect3:
		given = withSomeAPI(given)
	case backend == "" || backend == string(config.Cloud):
		given = withSomeKey(given)
	}
	settings, err := config.LoadLauncher(c.Context(), given)
	if settings.Kind == config.Prefect3 {
		settings.PassedOn = config.PassedOn(env, env.names)
	}
	return settings, wrongSettings(problems, err)
}

// withSomeAPI has Prefect 3's URL where none is given, and the key that Cloud needs.
func withSomeAPI(given envconfig.Lookuper) envconfig.Lookuper {
	api, _ := given.Lookup("PREFECT_API_URL")
	return envconfig.LookuperFunc(func(name string) (string, bool) {
		text, set := given.Lookup(name)
		switch {
		case name == "PREFECT_API_URL" && text == "":
			return "http://localhost:4200/api", true
		case name == "PREFECT_API_KEY" && text == "" && strings.Contains(api, "/api/accounts/"):
			return hiddenKey, true
		}
		return text, set
	})
}

// withSomeKey has a key where none is given, as if from the Secret when one is named.
func withSomeKey(given envconfig.Lookuper) envconfig.Lookuper {
	for _, variable := range []string{secretKeyVariable, keyVariable} {
		if key, _ := given.Lookup(variable); key != "" {
			return given
		}
	}
	variable := keyVariable
	if secret, _ := given.Lookup("PREFECT_KEDA_API_KEY_SECRET"); secret != "" {
		variable = secretKeyVariable
	}
	return envconfig.MultiLookuper(envconfig.MapLookuper(map[string]string{variable: hiddenKey}), given)
}

func fileOf(c *cobra.Command, stdin io.Reader) (text []byte, name string, err error) {
	name, _ = c.Flags().GetString("filename")
	if name == "" {
		return nil, "", nil
	}
	text, err = contents(name, stdin)
	if err != nil {
		return nil, "", misconfigured{fmt.Errorf("--filename: %w", err)}
	}
	return text, name, nil
}

func toRender(s config.Launcher, log *slog.Logger, file []byte, name string, args []string) (b backend, run string, err error) {
	if name == "" {
		b, err = newBackend(s.Prefect, s.Agent, "render", log, nil)
		return b, args[0], err
	}
	b, run, err = backendOf(file, s.Prefect, log)
	if err != nil {
		err = fmt.Errorf("--filename %s: %w", name, err)
	}
	return b, run, err
}

// save writes what the Job was made of, if that was asked for. It may hold secrets.
func save(c *cobra.Command, k keeper) error {
	file, _ := c.Flags().GetString("save")
	if file == "" {
		return nil
	}
	text, err := k.bundle()
	if err == nil {
		err = os.WriteFile(file, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("--save: %w", err)
	}
	return nil
}

func contents(file string, stdin io.Reader) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

// logFailure is the launcher's line about a run that it fails, in the words of somebody
// who only reads.
func logFailure(log *slog.Logger, run prefect.FlowRun, wrong *prefect.AuthorError) {
	action := launcher.Launch
	if run.State.Phase == prefect.Running {
		action = launcher.Relaunch
	}
	log.Info("a launcher would fail the run", "action", action.String(), "flow_run", run.ID, "flow", run.FlowName,
		"attempt", string(run.Attempt), "reason", wrong.Message)
}

// loudEnough lets what was asked for through, whatever the level.
func loudEnough(p config.Process) config.Process {
	p.LogLevel = min(p.LogLevel, config.Level(slog.LevelInfo))
	return p
}
