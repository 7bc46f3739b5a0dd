package prefect1

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// access returns the URL without its user and password, a function that sends all
// credentials, and one that hides them in a text: the API, or a proxy, may repeat them.
func access(o Options) (endpoint string, authorize func(http.Header), hide func(string) string) {
	secrets := []string{o.Key}
	authorization := ""
	if o.Key != "" {
		authorization = "Bearer " + o.Key
	}
	endpoint = o.API
	if u, err := url.Parse(o.API); err == nil && u.User != nil {
		password, _ := u.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		_, written, _ := strings.Cut(u.User.String(), ":")
		secrets = append(secrets, password, written, basic)
		authorization = "Basic " + basic
		u.User = nil
		endpoint = u.String()
	}
	authorize, hide = exchange.Access(authorization, o.Headers, secrets...)
	return endpoint, authorize, hide
}
