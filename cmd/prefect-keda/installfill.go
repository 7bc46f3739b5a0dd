package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
	"github.com/prefect-keda/prefect-keda/location"
)

const (
	apiVariable3       = "PREFECT_API_URL"
	keyVariable3       = "PREFECT_API_KEY"
	authVariable       = "PREFECT_API_AUTH_STRING"
	namespacesVariable = "PREFECT_KEDA_JOB_NAMESPACES"
	// serverOfChart is where Prefect's Helm chart puts a server, in namespace prefect.
	serverOfChart = "http://prefect-server.prefect:4200/api"
)

// fillIn1 adds what follows from the backend of Prefect 1, and checks that both processes
// would start with all that.
func (i *installing) fillIn1(env environment) error {
	o := &i.o
	backend, given := i.value("PREFECT__BACKEND")
	if !given {
		flag := "the agent's default"
		backend = string(config.Cloud)
		if env.Lookuper != nil {
			flag = "--backend"
			callers, problems := lookup(i.c, env, config.Launcher{})
			if problems != nil {
				return fmt.Errorf("settings:\n%w", problems)
			}
			if text, _ := callers.Lookup("PREFECT__BACKEND"); text != "" {
				backend = text
			}
		}
		o.Settings = append(o.Settings, install.Setting{Variable: "PREFECT__BACKEND", Value: backend, Flag: flag})
	}
	_, api := i.value(apiVariable)
	if o.Key.Required = backend == string(config.Cloud); o.Key.Required && !api && len(o.Without) == 0 {
		o.Settings = append(o.Settings, install.Setting{Variable: apiVariable, Value: "https://api.prefect.io", Flag: "--backend cloud"})
	}
	values, err := i.values()
	if err != nil {
		return err
	}
	if !api && !o.Key.Required && len(o.Without) == 0 {
		i.hint("--api is not given, using %s", values[apiVariable])
	}
	i.hintKey()
	i.hintPassword(values[apiVariable])
	if template := values["JOB_TEMPLATE"]; onDisk(template) && len(o.Mounts) == 0 {
		i.hint("the Job template %s is a file of the launcher's pod: mount it there, for example from a ConfigMap in %s (volumes and volumeMounts of Deployment prefect-keda-launcher)", location.Shown(template), o.Home())
	}
	if values[keyVariable] = o.Key.Value; o.Key.Value == "" {
		values[keyVariable] = hiddenKey
	}
	return startable(i.c.Context(), values, *o)
}

// fillIn3 does the same for Prefect 3.
func (i *installing) fillIn3() error {
	o := &i.o
	o.Without = []string{"PREFECT__BACKEND", apiVariable, "PREFECT__CLOUD__AGENT__LABELS"}
	url, api := i.value(apiVariable3)
	elsewhere := slices.ContainsFunc(o.Env, func(f install.Field) bool { return f.Item["name"] == apiVariable3 })
	if !api && !elsewhere {
		url = serverOfChart
		o.Settings = append(o.Settings, install.Setting{Variable: apiVariable3, Value: url, Flag: "--prefect 3"})
		i.hint("--api is not given, using %s", url)
	}
	o.Key.Required = strings.Contains(url, "/api/accounts/")
	if _, pools := i.value("PREFECT_KEDA_WORK_POOLS"); !pools {
		i.hint("--pool is not given, so all work pools of type kubernetes are served")
	}
	i.hintKey()
	i.hintPassword(url)
	if file, given := i.value("PREFECT_API_SSL_CERT_FILE"); given && len(o.Mounts) == 0 {
		i.hint("%s is a file of the pods of scaler, launcher and flows: mount it there, for example from a ConfigMap", file)
	}
	values, err := i.values()
	if err != nil {
		return err
	}
	if values[secretKeyVariable] = o.Key.Value; o.Key.Value == "" {
		values[secretKeyVariable] = hiddenKey
	}
	values[authVariable] = o.Auth.Value
	return startable(i.c.Context(), values, *o)
}

// values are the settings of the ConfigMap. Pull Secrets are for our own pods too.
func (i *installing) values() (map[string]string, error) {
	values, err := install.Defaults()
	if err != nil {
		return nil, err
	}
	for _, variable := range i.o.Without {
		delete(values, variable)
	}
	for _, s := range i.o.Settings {
		values[s.Variable] = s.Value
	}
	if text, given := i.value("IMAGE_PULL_SECRETS"); given {
		var names config.Names
		_ = names.UnmarshalText([]byte(text)) // startable finds the same
		i.o.ImagePullSecrets = names
	}
	return values, nil
}

func (i *installing) hintKey() {
	if key := i.o.Key; !key.Required || key.Value != "" || key.Secret.Name != "" {
		return
	}
	namespaces := strings.Join(slices.Compact(append([]string{i.o.Home(), i.o.JobNamespace}, i.o.FurtherNamespaces...)), " ")
	i.hint("--key is not given; the pods wait for: for n in %s; do kubectl -n $n create secret generic %s --from-literal=api-key=...; done", namespaces, install.SecretName)
}

func (i *installing) hintPassword(url string) {
	if location.Shown(url) != url {
		i.hint("the API's URL contains a password, which is text in the ConfigMap and in every Job: keep this output like a key")
	}
}

// startable loads the settings as the two processes will.
func startable(ctx context.Context, values map[string]string, o install.Options) error {
	values = maps.Clone(values)
	if o.JobNamespace != "" {
		values["NAMESPACE"] = o.JobNamespace
	}
	for _, f := range o.Env { // only the pods can read values from elsewhere
		delete(values, fmt.Sprint(f.Item["name"]))
		if f.Item["name"] == apiVariable3 {
			values[apiVariable3] = serverOfChart // any, as none is an error
		}
		if text, plain := f.Item["value"].(string); plain {
			values[fmt.Sprint(f.Item["name"])] = text
		}
	}
	env := config.Environment(envconfig.MapLookuper(values))
	_, launcher := config.LoadLauncher(ctx, env)
	_, scaler := config.LoadScaler(ctx, env)
	if launcher == nil && scaler == nil {
		return nil
	}
	var problems []string
	for problem := range strings.Lines(fmt.Sprint(errors.Join(launcher, scaler))) {
		if problem = strings.TrimSpace(problem); !slices.Contains(problems, problem) {
			problems = append(problems, problem)
		}
	}
	return errors.New("settings:\n" + strings.Join(problems, "\n"))
}
