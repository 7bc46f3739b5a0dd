package main

import (
	"fmt"
	"strings"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/install"
)

// keyPlace says where to find the key. secret is the Secret that pods read it from, if it is
// known.
func keyPlace(p config.Prefect, secret config.SecretKey, variable string) string {
	const fromSecret = "PREFECT_KEDA_API_KEY"
	switch {
	case p.SecretKey != "" && secret.Name != "":
		return fmt.Sprintf("the API key in the Secret %s (key %s), which pods read as %s,", secret.Name, secret.Key, fromSecret)
	case p.SecretKey != "":
		return fmt.Sprintf("the API key in the Secret from which the Deployment reads %s (%s, as shipped),", fromSecret, install.SecretName)
	case p.Key != "" || variable != keyVariable:
		return variable
	}
	return fmt.Sprintf("the API key (there is neither %s nor the Secret %s)", variable, install.SecretName)
}

// credentials says what to check when Prefect, or a proxy in front of it, refuses us: the
// settings that we send, and how a change of them reaches us.
func credentials(p config.Prefect, secret config.SecretKey, home string, variable func(string) string) string {
	if p.Kind == config.Prefect3 {
		return credentials3(p, secret, home, variable)
	}
	place := keyPlace(p, secret, variable("API_KEY"))
	if address := p.Address(); strings.Contains(address.Reveal(), "@") {
		place = "the user and the password in " + p.AddressSetting()
	}
	for _, h := range p.Headers {
		if strings.EqualFold(h.Name, "Authorization") {
			place = "Authorization in PREFECT_KEDA_API_HEADERS"
		}
	}
	return fmt.Sprintf("%s and %s (%s)", place, variable("TENANT_ID"), afterChange(home))
}

// credentials3 is the same for Prefect 3.
func credentials3(p config.Prefect, secret config.SecretKey, home string, variable func(string) string) string {
	place := fmt.Sprintf("%s or %s, of which neither is set,", variable("API_AUTH_STRING"), variable("API_KEY"))
	switch {
	case p.SecretAuth != "" && p.SecretAuth == p.AuthString:
		place = "the auth string in the Secret from which the Deployment reads PREFECT_KEDA_API_AUTH_STRING"
	case p.AuthString != "":
		place = variable("API_AUTH_STRING")
	case p.SecretKey != "":
		place = keyPlace(p, secret, variable("API_KEY"))
	case p.Key != "":
		place = variable("API_KEY")
	}
	for _, h := range p.Headers {
		if strings.EqualFold(h.Name, "Authorization") {
			place = "Authorization in PREFECT_KEDA_API_HEADERS or PREFECT_CLIENT_CUSTOM_HEADERS"
		}
	}
	return fmt.Sprintf("%s and %s (%s)", place, variable("API_URL"), afterChange(home))
}

func afterChange(home string) string {
	return "a running pod keeps its values; after a change of a Secret: " + restartCommand(home)
}

// restartCommand restarts all pods of an installation, so that they read their Secrets and
// ConfigMaps again.
func restartCommand(namespace string) string {
	return "kubectl -n " + namespace + " rollout restart deployment -l app.kubernetes.io/part-of=prefect-keda"
}

// ofDefault has the variables for settings of the default connection, where those of the
// others have a prefix of their own.
func ofDefault(kind config.Kind) func(setting string) string {
	return func(setting string) string {
		switch {
		case setting == "ALLOWED_NAMESPACES":
			return "PREFECT_KEDA_ALLOWED_NAMESPACES"
		case kind == config.Prefect3:
			return "PREFECT_" + setting
		case setting == "BACKEND":
			return "PREFECT__BACKEND"
		}
		return "PREFECT__CLOUD__" + setting
	}
}
