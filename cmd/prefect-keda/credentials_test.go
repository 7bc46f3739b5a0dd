package main

import (
	"testing"

	"github.com/prefect-keda/prefect-keda/config"
)

// Whoever is refused is told of what they have set, in its own place.
func TestCredentials(t *testing.T) {
	secret := config.SecretKey{Name: "own", Key: "k"}
	for _, tc := range []struct {
		env    []string
		secret config.SecretKey
		want   string
	}{
		{nil, secret, "the API key (there is neither PREFECT__CLOUD__API_KEY nor the Secret prefect-api-key)"},
		{[]string{"PREFECT__CLOUD__API_KEY=x"}, secret, "PREFECT__CLOUD__API_KEY"},
		{[]string{"PREFECT__CLOUD__API_KEY=x", "PREFECT_KEDA_API_KEY=y"}, secret, "the API key in the Secret own (key k), which pods read as PREFECT_KEDA_API_KEY,"},
		{[]string{"PREFECT_KEDA_API_KEY=y"}, config.SecretKey{}, "the API key in the Secret from which the Deployment reads PREFECT_KEDA_API_KEY (prefect-api-key, as shipped),"},
		{[]string{"PREFECT_KEDA_API_KEY=y", "PREFECT__SERVER__HOST=http://u:p@h"}, secret, "the user and the password in PREFECT__SERVER__HOST (--server-host)"},
		{[]string{"PREFECT__CLOUD__API=http://u:p@h", "PREFECT_KEDA_API_HEADERS=authorization: x"}, secret, "Authorization in PREFECT_KEDA_API_HEADERS"},
	} {
		s, err := config.LoadLauncher(t.Context(), parseEnviron(append([]string{"PREFECT__BACKEND=server"}, tc.env...)))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := credentials(s.Prefect, tc.secret, "prefect-keda", ofDefault(config.Prefect1)), tc.want+" and PREFECT__CLOUD__TENANT_ID"+restart; got != want {
			t.Errorf("%q:\n got %s\nwant %s", tc.env, got, want)
		}
	}
}
