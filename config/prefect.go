package config

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"

	"github.com/prefect-keda/prefect-keda/location"
)

// Address is the URL of the API: PREFECT_API_URL for Prefect 3; for Prefect 1
// PREFECT__CLOUD__API, or the backend's default (prefect1 §7.1).
func (p Prefect) Address() location.Location {
	address, _ := p.address()
	return address
}

// AddressSetting names the setting that gives the Address.
func (p Prefect) AddressSetting() string {
	_, variable := p.address()
	return NameOf(variable, p)
}

// address is Address, with the variable that gives it.
func (p Prefect) address() (url location.Location, variable string) {
	switch {
	case p.Kind == Prefect3:
		return p.API, apiURL
	case p.API != "":
		return p.API, "PREFECT__CLOUD__API"
	case p.Backend == Cloud:
		return p.CloudEndpoint, "PREFECT__CLOUD__ENDPOINT"
	case p.ServerEndpoint != "":
		return p.ServerEndpoint, "PREFECT__SERVER__ENDPOINT"
	}
	return joinHostPort(p.ServerHost, p.ServerPort), serverHost
}

const serverHost = "PREFECT__SERVER__HOST"

// APIKey is the key to send: the Secret's, if it is set.
func (p Prefect) APIKey() Secret {
	return cmp.Or(p.SecretKey, p.Key)
}

// OnCloud reports whether the API is Prefect's own. In Prefect 3 the URL says it, because
// only there it names an account.
func (p Prefect) OnCloud() bool {
	if p.Kind == Prefect3 {
		return strings.Contains(p.API.Reveal(), "/api/accounts/")
	}
	return p.Backend == Cloud
}

// KeyFrom is the Secret from which pods read the API key. PREFECT_KEDA_API_KEY_SECRET
// counts only if our own key came from there: a key that was given as text is passed on as
// text, because a missing Secret would keep the pods from starting.
func (l Launcher) KeyFrom() SecretKey {
	switch {
	case l.APIKeySecret.Name != "" && l.SecretKey != "":
		return l.APIKeySecret
	case l.KeyName != "" && l.APIKey() != "":
		return SecretKey{Name: l.KeyName, Key: l.KeyKey}
	}
	return SecretKey{}
}

// AuthStringFrom is the Secret from which pods read the auth string, as KeyFrom is for the
// key.
func (l Launcher) AuthStringFrom() SecretKey {
	switch {
	case l.AuthStringSecret.Name != "" && l.SecretAuth != "":
		return l.AuthStringSecret
	case l.AuthName != "" && l.AuthString != "":
		return SecretKey{Name: l.AuthName, Key: l.AuthKey}
	}
	return SecretKey{}
}

// PodEnv are the variables for every flow run: those that are passed on, and over them
// those that the settings give.
func (l Launcher) PodEnv() EnvVars {
	all := slices.Clone(l.PassedOn)
	for _, v := range l.EnvVars {
		_ = all.set(v.Name, v.Value) // it was checked when it was read
	}
	return all
}

// Namespaces are all in which the launcher may create Jobs, its own first.
func (l Launcher) Namespaces() []string { return together([]string{l.Namespace}, l.FurtherNamespaces) }

// AllNamespaces are those of the default connection's Jobs.
func (s Scaler) AllNamespaces() []string { return together(s.JobNamespaces, s.FurtherNamespaces) }

func together(first []string, more Names) []string {
	all := slices.Clone(first)
	for _, name := range more {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// LogValue shows every setting, with secrets masked, so that a process's log says how it
// was set.
func (l Launcher) LogValue() slog.Value { return logValue(l) }

// LogValue does the same as for Launcher.
func (s Scaler) LogValue() slog.Value { return logValue(s) }
