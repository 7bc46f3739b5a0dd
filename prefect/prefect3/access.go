package prefect3

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// access returns a function that sends all credentials, one that hides them in a text,
// because the API, or a proxy, may repeat them, and the token for the stream of events.
func access(o Options) (authorize func(http.Header), hide func(string) string, token string) {
	secrets := []string{o.Key, o.AuthString}
	authorization, token := "", o.Key
	if o.Key != "" {
		authorization = "Bearer " + o.Key
	}
	if o.AuthString != "" {
		basic := base64.StdEncoding.EncodeToString([]byte(o.AuthString))
		_, password, _ := strings.Cut(o.AuthString, ":")
		secrets = append(secrets, basic, password)
		authorization, token = "Basic "+basic, o.AuthString
	}
	authorize, hide = exchange.Access(authorization, o.Headers, secrets...)
	return authorize, hide, token
}

// transport is a pool of connections that trusts whom the options say.
func transport(o Options) (http.RoundTripper, error) {
	if o.HTTPTransport != nil {
		return o.HTTPTransport, nil
	}
	t := exchange.Connections()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.SkipVerify} //nolint:gosec // the operator says so
	if o.CAFile != "" {
		text, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificates to trust: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("the file %s holds no certificate in PEM form", o.CAFile)
		}
	}
	return t, nil
}
