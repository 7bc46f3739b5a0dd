package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/yaml"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/job/source"
	"github.com/prefect-keda/prefect-keda/launcher"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
)

func newRender(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "render [flags] FLOW_RUN_ID | -f FILE",
		Short: "Print the Job a flow run would get, and create nothing",
		Long: `Render prints the Job that a launcher with these flags and this environment would create for a flow run. It only reads:
the run from the Prefect API, or from a file where there is no API at hand, and the Job template. Comments say where
each value is from.

What would fail the run is printed as the launcher would log it. The API key is shown as ` + hiddenKey + ` unless --show-key is
given.

It takes every flag and variable of the launcher; shown below are those that matter here. The variable is in brackets,
with its default; the flag wins.`,
		Example: `  prefect-keda render 6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001
  prefect-keda render -f run.json --backend server --namespace flows --job-template job.yaml
  prefect-keda render -f - -o json --env A=1 < run.json | kubectl create --dry-run=server -f -`,
		Annotations: exits(
			"the Job is printed",
			"the run would fail, or it or its template cannot be read",
			"a flag, an argument or a setting is wrong, or the API refuses the key"),
	}
	addFlags(c)
	c.Args = func(c *cobra.Command, args []string) error {
		if file, _ := c.Flags().GetString("filename"); (file == "") != (len(args) == 1) {
			return misconfigured{errors.New("say which flow run: give either its id, or -f FILE with the run as the API returns it")}
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		write, err := printer(c)
		if err != nil {
			return err
		}
		row, err := rowOf(c, io.in)
		if err != nil {
			return err
		}
		settings, err := renderSettings(c, env, row != nil)
		if err != nil {
			return err
		}
		log := newLogger(io.err, settings.Process)
		hintAtCommas(log, c)
		run, client, err := runToRender(c.Context(), settings, log, row, args)
		if err != nil && row == nil {
			return fmt.Errorf("%w (asked %s, which %s says)", err, settings.Address(), settings.AddressSetting())
		}
		if err != nil {
			return err
		}
		renderer := job.Renderer{Settings: jobSettings(settings), Source: source.New(nil)}
		if row == nil {
			renderer.Tenant = client.TenantID // a file knows of none
		}
		j, from, err := renderer.Explain(c.Context(), run)
		if wrong, ok := errors.AsType[*prefect.AuthorError](err); ok {
			logFailure(newLogger(io.err, loudEnough(settings.Process)), run, wrong)
			return reported{err}
		}
		if err != nil {
			return fmt.Errorf("render the Job of flow run %s: %w", run.ID, err)
		}
		if j.Namespace == "" { // the launcher says it in the request
			j.Namespace, from["metadata.namespace"] = settings.Namespace, "NAMESPACE"
		}
		return write(io.out, j, from)
	}
	return c
}

// hiddenKey stands for the key, which a terminal and a build log are no place for.
const hiddenKey = "[hidden]"

func renderFlags() config.Group {
	fs := pflag.NewFlagSet("render", pflag.ContinueOnError)
	fs.StringP("filename", "f", "", "file with the flow run as the API returns it (a row of flow_run, or the whole answer); - for standard input")
	fs.StringP("output", "o", "yaml", "yaml, where a comment says of each value what set it, or json")
	fs.Bool("show-key", false, "print the API key where the Job has it as text")
	return config.Group{Title: "Rendering", Flags: fs}
}

// renderSettings are the launcher's. Without an API nobody asks for a key; only
// Prefect Cloud's launcher cannot be without, so there one is made up.
func renderSettings(c *cobra.Command, env environment, offline bool) (config.Launcher, error) {
	given, problems := lookup(c, env, config.Launcher{})
	backend, _ := given.Lookup("PREFECT__BACKEND")
	if offline && (backend == "" || backend == string(config.Cloud)) {
		given = withSomeKey(given)
	}
	settings, err := config.LoadLauncher(c.Context(), given)
	if err := wrongSettings(problems, err); err != nil {
		return settings, err
	}
	return settings, nil
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

// printer is how the Job is written.
func printer(c *cobra.Command) (func(io.Writer, *batchv1.Job, job.Origins) error, error) {
	format, _ := c.Flags().GetString("output")
	show, _ := c.Flags().GetBool("show-key")
	if format != "yaml" && format != "json" {
		return nil, misconfigured{fmt.Errorf("--output: %q is no format: give yaml or json", format)}
	}
	return func(w io.Writer, j *batchv1.Job, from job.Origins) error {
		if !show {
			hideKey(j)
		}
		text, err := manifest(j)
		if err == nil && format == "yaml" {
			if text, err = yaml.JSONToYAML(text); err == nil {
				text, err = annotated(text, from)
			}
		}
		if err != nil {
			return fmt.Errorf("write the Job: %w", err)
		}
		_, err = w.Write(text)
		return err
	}, nil
}

// hideKey hides it where the launcher put it; what an author wrote is theirs.
func hideKey(j *batchv1.Job) {
	env := j.Spec.Template.Spec.Containers[0].Env
	for i := range env {
		if (env[i].Name == keyVariable || env[i].Name == "PREFECT__CLOUD__AUTH_TOKEN") && env[i].Value != "" {
			env[i].Value = hiddenKey
		}
	}
}

// manifest is the Job as somebody would write it: without a status.
func manifest(j *batchv1.Job) ([]byte, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	text, err = json.MarshalIndent(fields, "", "  ")
	return append(text, '\n'), err
}

// rowOf is the run in the file given; nil when none was.
func rowOf(c *cobra.Command, stdin io.Reader) (json.RawMessage, error) {
	file, _ := c.Flags().GetString("filename")
	if file == "" {
		return nil, nil
	}
	text, err := contents(file, stdin)
	if err != nil {
		return nil, misconfigured{fmt.Errorf("--filename: %w", err)}
	}
	row, err := onlyRow(text)
	if err != nil {
		return nil, misconfigured{fmt.Errorf("--filename %s: %w", file, err)}
	}
	return row, nil
}

// contents are those of a file, or of standard input for -.
func contents(file string, stdin io.Reader) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

// onlyRow finds the run in a row, a list of one, or the API's answer.
func onlyRow(text []byte) (json.RawMessage, error) {
	var answer struct {
		ID   string `json:"id"`
		Data struct {
			FlowRun json.RawMessage `json:"flow_run"`
		} `json:"data"`
	}
	rows := []json.RawMessage{text}
	err := json.Unmarshal(text, &answer)
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")):
		err = json.Unmarshal(text, &rows)
	case err == nil && answer.Data.FlowRun != nil:
		err = json.Unmarshal(answer.Data.FlowRun, &rows)
	}
	if err != nil {
		return nil, fmt.Errorf("is not a flow run in JSON: %w", err)
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("holds %d flow runs: give one", len(rows))
	}
	if json.Unmarshal(rows[0], &answer) != nil || answer.ID == "" {
		return nil, errors.New("holds no flow run: give an object with id, version, state, serialized_state, run_config and flow, as the API returns it")
	}
	return rows[0], nil
}

// runToRender asks the API, or a file in its place, so that both are read by the
// same code.
func runToRender(ctx context.Context, s config.Launcher, log *slog.Logger, row json.RawMessage, args []string) (prefect.FlowRun, *prefect1.Client, error) {
	options := apiOptions(s.Prefect, "render", log, nil, s.Agent)
	var id string
	if row == nil {
		id = args[0]
	} else {
		var run struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(row, &run); err != nil {
			return prefect.FlowRun{}, nil, err
		}
		id = run.ID
		options.HTTPTransport = fileAPI(row)
		options.TenantID = id // any; else it would be asked for
	}
	client, err := prefect1.New(options)
	if err != nil {
		return prefect.FlowRun{}, nil, misconfigured{fmt.Errorf("set up the Prefect client: %w", err)}
	}
	run, err := client.FlowRun(ctx, id)
	return run, client, err
}

// fileAPI is a Prefect API that knows one flow run.
type fileAPI json.RawMessage

// RoundTrip is that of http.RoundTripper.
func (f fileAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Body.Close()
	body, err := json.Marshal(map[string]any{"data": map[string]any{"flow_run": []json.RawMessage{json.RawMessage(f)}}})
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}, nil
}

// logFailure is the launcher's line about a run that it fails.
func logFailure(log *slog.Logger, run prefect.FlowRun, wrong *prefect.AuthorError) {
	action := launcher.Launch
	if run.State.Type == prefect.Running {
		action = launcher.Relaunch
	}
	log.Info("failed the run", "action", action.String(), "flow_run", run.ID, "flow", run.Flow.Name,
		"attempt", string(run.Attempt()), "reason", wrong.Message)
}

// loudEnough lets what was asked for through, whatever the level.
func loudEnough(p config.Process) config.Process {
	p.LogLevel = min(p.LogLevel, config.Level(slog.LevelInfo))
	return p
}
