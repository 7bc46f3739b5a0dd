package config

import (
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/prefect-keda/prefect-keda/literal"
	"github.com/prefect-keda/prefect-keda/location"
)

// Places are names of work pools or work queues.
type Places []string

// UnmarshalText reads a list as literal.List does. Names may contain spaces.
func (p *Places) UnmarshalText(text []byte) error {
	names, err := literal.List(string(text))
	*p = slices.DeleteFunc(names, func(name string) bool { return strings.TrimSpace(name) == "" })
	return err
}

// placesText writes repeated --pool flags as one variable. Each may be a list, as for the
// variable.
func placesText(flags []string) string {
	var all Places
	for _, flag := range flags {
		var some Places
		if err := some.UnmarshalText([]byte(flag)); err != nil {
			return flag // which says the same of the setting
		}
		all = append(all, some...)
	}
	return listText(all)
}

// TemplateSecrets says what becomes of secret blocks in a Job's variables.
type TemplateSecrets string

// The ways to treat them.
const (
	InSecret TemplateSecrets = "secret"
	Inline   TemplateSecrets = "inline"
	Refuse   TemplateSecrets = "refuse"
)

// UnmarshalText accepts the ways.
func (t *TemplateSecrets) UnmarshalText(text []byte) error {
	return oneOf(t, text, "a way to treat secret blocks: give secret, inline or refuse", InSecret, Inline, Refuse)
}

// WorkersSecrets are a worker's own settings about Secrets; they have no flags.
type WorkersSecrets struct {
	KeyName  string `env:"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_NAME" only:"prefect3" example:"key" help:"name in PREFECT_KEDA_API_KEY_SECRET"`
	KeyKey   string `env:"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_KEY" only:"prefect3" example:"value" help:"key in PREFECT_KEDA_API_KEY_SECRET"`
	AuthName string `env:"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME" only:"prefect3" example:"auth" help:"name in PREFECT_KEDA_API_AUTH_STRING_SECRET"`
	AuthKey  string `env:"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY" only:"prefect3" example:"value" help:"key in PREFECT_KEDA_API_AUTH_STRING_SECRET"`
	EnvInto  Bool   `env:"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_STORE_ENV_AS_SECRET, default=false" only:"prefect3" example:"true" help:"put all variables of a Job into a Secret that goes with it"`
}

// validate3 checks what Prefect 3 needs.
func (f Prefect) validate3(p *problems) {
	checkAPI3(p, apiURL, f.API, f.APIKey(), "PREFECT_API_KEY")
	checkText3(p, f.APIKey(), "PREFECT_API_KEY")
	checkText3(p, f.AuthString, "PREFECT_API_AUTH_STRING")
	if f.SkipVerify && f.CertFile != "" {
		p.add("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "is true, so PREFECT_API_SSL_CERT_FILE has no effect: leave one of them out")
	}
}

// checkAPI3 wants a URL by which Prefect 3 can be asked, and the key that Cloud needs.
func checkAPI3(p *problems, variable string, api location.Location, key Secret, keyVariable string) {
	u, err := url.Parse(api.Reveal())
	switch {
	case api == "":
		p.add(variable, "is not set: give the URL of the Prefect 3 API, for example http://prefect-server.prefect:4200/api")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		p.add(variable, "is not a URL: give one like http://prefect-server.prefect:4200/api")
	case u.User != nil:
		p.add(variable, "has a user and password in it: leave them out, and give them as %s", strings.Replace(variable, "API_URL", "API_AUTH_STRING", 1))
	case strings.HasSuffix(u.Hostname(), "prefect.cloud") && !strings.Contains(u.Path, "/api/accounts/"):
		p.add(variable, "names no workspace of Prefect Cloud: give https://api.prefect.cloud/api/accounts/ACCOUNT/workspaces/WORKSPACE, as `prefect config view` shows it")
	case strings.Contains(u.Path, "/api/accounts/") && key == "":
		p.add(keyVariable, "is not set, but Prefect Cloud needs a key: give it")
	}
}

// checkText3 also refuses what Prefect 3's server cannot compare: it answers 500, which
// looks like a fault of its own.
func checkText3(p *problems, key Secret, variable string) {
	if strings.ContainsFunc(key.Reveal(), func(r rune) bool { return r > unicode.MaxASCII }) {
		p.add(variable, "has characters other than ASCII, which a Prefect server answers with error 500: choose another one")
	}
	checkText(p, key, variable)
}
