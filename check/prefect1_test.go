package check_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/check"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// said are settings of Prefect.
type said struct {
	api, key, tenant string
	agentConfig      string
	backend          prefect1.Backend
	labels           []string
	transport        http.RoundTripper
	scaler           bool
	connection       string
}

func (s said) checks(t *testing.T) []check.Check {
	t.Helper()
	client, err := prefect1.New(prefect1.Options{API: s.api, Key: s.key, TenantID: s.tenant, Backend: s.backend, AgentConfigID: s.agentConfig})
	if err != nil {
		t.Fatal(err)
	}
	return check.OfPrefect1(check.Prefect1Options{
		Address: s.api, Transport: s.transport, Client: client, Backend: string(s.backend), HasKey: s.key != "", AgentConfigID: s.agentConfig, Scope: prefect.Scope{Labels: s.labels},
		Anywhere: s.scaler, Connection: s.connection, Settings: check.Prefect1Settings{
			API: "PREFECT__CLOUD__API (--api)", Key: "PREFECT__CLOUD__API_KEY (--key)",
			TenantID: "PREFECT__CLOUD__TENANT_ID (--tenant-id)", Backend: "PREFECT__BACKEND (--backend)",
		},
	})
}

func TestPrefectIsWell(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{Key: "k"})
	s := said{api: api.Start(t), key: "k", backend: prefect1.Server, labels: []string{"gpu", "prod"}}
	api.CreateRuns(prefecttest.Order{Count: 3, Labels: []string{"gpu"}})
	api.CreateRuns(prefecttest.Order{Count: 2, Labels: []string{"other"}})
	api.CreateRuns(prefecttest.Order{Labels: []string{"gpu"}, In: prefecttest.Duration(time.Hour)})
	got, failures := results(t, s.checks(t))
	want := []check.Result{
		{Check: "Prefect API", Status: check.OK, Detail: s.api + " answers"},
		{Check: "clock", Status: check.OK, Detail: "at most 5s from the API's"},
		{Check: "API key", Status: check.OK, Detail: "the API accepts it"},
		{Check: "backend", Status: check.OK, Detail: "Prefect server, as set"},
		{Check: "tenant", Status: check.OK, Detail: api.Tenant()},
		{Check: "due flow runs", Status: check.OK, Detail: "3 for the labels gpu, prod, 2 for others"},
	}
	if d := cmp.Diff(want, got); d != "" || failures != 0 {
		t.Errorf("%d failures, -want +got:\n%s", failures, d)
	}
}

// One of the scaler's connections: its checks go by its name, and depend on each
// other alone.
func TestPrefectOfAConnection(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{Key: "k"})
	s := said{api: api.Start(t), key: "k", backend: prefect1.Server, scaler: true, connection: "team-a"}
	api.CreateRuns(prefecttest.Order{Count: 3, Labels: []string{"gpu"}})
	got, failures := results(t, s.checks(t))
	want := check.Result{Check: "team-a: due flow runs", Status: check.OK, Detail: "3, with any labels"}
	if d := cmp.Diff(want, got[len(got)-1]); d != "" || failures != 0 {
		t.Errorf("%d failures, -want +got:\n%s", failures, d)
	}
	s.key = "wrong"
	got, _ = results(t, s.checks(t))
	want = check.Result{Check: "team-a: due flow runs", Status: check.Skip, Detail: `because of "team-a: API key" above`}
	if d := cmp.Diff(want, got[len(got)-1]); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// Which of several tenants is worked for is no secret.
func TestSeveralTenantsAreNamed(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	other := api.CreateTenant("team-b")
	s := said{api: api.Start(t), backend: prefect1.Server}
	got, failures := results(t, s.checks(t))
	want := check.Result{Check: "tenant", Status: check.OK, Detail: fmt.Sprintf(
		"%s, the oldest of default (%s), team-b (%s); set PREFECT__CLOUD__TENANT_ID (--tenant-id) to choose another", api.Tenant(), api.Tenant(), other,
	)}
	if d := cmp.Diff(want, got[4]); d != "" || failures != 0 {
		t.Errorf("%d failures, -want +got:\n%s", failures, d)
	}
}

// dated answers with another clock.
func dated(h http.Handler, ahead time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		if ahead != 0 {
			w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		}
		h.ServeHTTP(w, r)
	}
}

// Every failure has its line and its advice; ports and time-outs differ from run
// to run and are left out.
func TestPrefectFailures(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{Key: "k"})
	good := said{api: api.Start(t), key: "k", backend: prefect1.Server}
	serve := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	secure := httptest.NewUnstartedServer(api)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	const setting = "PREFECT__CLOUD__API (--api)"
	const whichAPI = "check that PREFECT__CLOUD__API (--api) is the GraphQL API (port 4200 of a Prefect Server, not the UI's 8080) and that its services are up"
	const isAway = " is away: find out why its pod or container does not run or answer. Key and tenant are not the cause, and nothing needs a restart when it is back"
	broken := func(operation, message string) func(*said) {
		return func(s *said) {
			b := prefecttest.New(prefecttest.Options{Key: "k"})
			b.Break(prefecttest.Fault{Operation: operation, Error: message})
			s.api = b.Start(t)
		}
	}
	for _, tc := range []struct {
		name                  string
		said                  func(*said)
		check, detail, advice string
	}{
		{
			"no such name", func(s *said) { s.api, s.transport = "http://prefect.flows:4200", unresolved() }, "Prefect API",
			`DNS: lookup prefect\.flows: no such host`,
			"find out why the name prefect.flows does not resolve here, or correct " + setting + "; the name NAME.NAMESPACE of a Service works only inside its cluster",
		},
		{
			"nobody listens", func(s *said) { s.api = "http://" + closedPort(t) }, "Prefect API",
			`TCP: dial tcp HOST: connect: connection refused`,
			"check that something listens at HOST and that no firewall, NetworkPolicy or proxy setting (HTTPS_PROXY, NO_PROXY) is in the way, or correct " + setting,
		},
		{
			"a certificate of nobody", func(s *said) { s.api = secure.URL }, "Prefect API",
			`TLS: tls: failed to verify certificate: x509: certificate signed by unknown authority`,
			"give HOST a certificate for that name, from a CA that is trusted here (SSL_CERT_FILE names a PEM file of CAs to trust); or correct " + setting,
		},
		{
			"TLS asked of plain HTTP", func(s *said) { s.api = strings.Replace(s.api, "http:", "https:", 1) }, "Prefect API",
			`TLS: http: server gave HTTP response to HTTPS client`,
			"HOST speaks plain HTTP: write http:// in " + setting,
		},
		{
			"TLS asked of something else", func(s *said) { s.api = "https://" + silentPort(t) }, "Prefect API",
			`TLS: (EOF|read tcp .*)`,
			"check that HOST offers TLS, and write http:// in " + setting + " if it does not",
		},
		{
			"no HTTP", func(s *said) { s.api = "http://" + silentPort(t) }, "Prefect API",
			`HTTP: (EOF|read tcp .*)`,
			"the connection stands but no answer comes: check that HOST is an HTTP server (https:// if it wants TLS) and is not overloaded, or correct " + setting,
		},
		{
			"our clock is behind", func(s *said) { s.api = serve(dated(api, time.Hour)) }, "clock",
			`ours is (1h0m0s|59m5\ds) behind the API's`,
			"set both clocks by NTP: launchers compare due times with their own clock, so they start runs that much late",
		},
		{
			"our clock is ahead", func(s *said) { s.api = serve(dated(api, -time.Hour)) }, "clock",
			`ours is (1h0m0s|59m5\ds) ahead of the API's`,
			"set both clocks by NTP: launchers compare due times with their own clock, so they start runs that much early",
		},
		{"no clock", func(s *said) { s.api = serve(dated(api, 0)) }, "clock", `the API's answers carry no date`, ""},
		{
			"a wrong key", func(s *said) { s.key = "canary" }, "API key",
			`ask the API which kind it is: kindOfAPI: the Prefect API refused the key or tenant, check both: AuthenticationError: Forbidden`,
			"set PREFECT__CLOUD__API_KEY (--key) to a key that has not been revoked, and PREFECT__CLOUD__TENANT_ID (--tenant-id) to one of its tenants, or leave the tenant empty",
		},
		{
			"no key", func(s *said) { s.key = "" }, "API key",
			`ask the API which kind it is: kindOfAPI: the Prefect API refused the key or tenant, check both: AuthenticationError: Forbidden`,
			"the API, or a proxy in front of it, needs a key: set PREFECT__CLOUD__API_KEY (--key), or for a proxy a user and password in PREFECT__CLOUD__API (--api) (http://user:password@host) or PREFECT_KEDA_API_HEADERS",
		},
		{
			"another server", func(s *said) { s.api = serve(http.NotFoundHandler()) }, "API key",
			`ask the API which kind it is: kindOfAPI: nothing answers GraphQL at the API URL, check it: HTTP 404: .*`, whichAPI,
		},
		{
			"the other backend", func(s *said) { s.backend = prefect1.Cloud }, "backend",
			`the API says that it is server, but the setting is cloud`,
			"set PREFECT__BACKEND (--backend) to server, or PREFECT__CLOUD__API (--api) to the API you mean",
		},
		{
			"no such tenant", func(s *said) { s.tenant = "11111111-1111-4111-8111-111111111111" }, "tenant",
			`look up tenant 11111111-1111-4111-8111-111111111111: not found in Prefect`,
			"set PREFECT__CLOUD__TENANT_ID (--tenant-id) to a tenant of this API, or leave it empty for the key's own or the Server's oldest; a Prefect Server has no tenant before `prefect server create-tenant`",
		},
		{
			"no such agent config", func(s *said) { s.agentConfig = "22222222-2222-4222-8222-222222222222" }, "agent config",
			`look up agent config 22222222-2222-4222-8222-222222222222: not found in Prefect`,
			"set PREFECT_KEDA_AGENT_CONFIG_ID (--agent-config-id) to an agent config of this API, or leave it empty: nothing uses its settings",
		},
		{
			"the GraphQL service is away", broken("", "request to http://graphql:4201/graphql/ failed, reason: connect ECONNREFUSED 10.0.0.7:4201"), "Prefect API",
			`ask the API which kind it is: kindOfAPI: request to http://graphql:4201/graphql/ failed, reason: connect ECONNREFUSED 10.0.0.7:4201`,
			"the Server's GraphQL service (graphql:4201)" + isAway,
		},
		{
			"Hasura is away", broken("tenant", "request to http://hasura:3000/v1alpha1/graphql failed, reason: getaddrinfo ENOTFOUND hasura"), "tenant",
			`look up the tenant: tenants: request to http://hasura:3000/v1alpha1/graphql failed, reason: getaddrinfo ENOTFOUND hasura`,
			"Hasura (hasura:3000), by which the Server reads its database," + isAway,
		},
		{
			"Hasura goes away", broken("flow_run", "request to http://hasura:3000/v1alpha1/graphql failed, reason: connect ETIMEDOUT 10.0.0.8:3000"), "due flow runs",
			`observe due flow runs: observe: request to http://hasura:3000/v1alpha1/graphql failed, reason: connect ETIMEDOUT 10.0.0.8:3000`,
			"Hasura (hasura:3000), by which the Server reads its database," + isAway,
		},
		{
			"its database is in trouble", broken("tenant", "connection error"), "tenant",
			`look up the tenant: tenants: connection error`, whichAPI,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := good
			tc.said(&s)
			got := remarkable(t, s.checks(t))
			want := []check.Result{{Check: tc.check, Status: check.Fail, Detail: tc.detail, Advice: tc.advice}}
			if tc.advice == "" {
				want[0].Status = check.Skip
			}
			for i := range got {
				host := s.api[strings.Index(s.api, "//")+2:]
				got[i].Detail = strings.ReplaceAll(got[i].Detail, host, "HOST")
				got[i].Advice = strings.ReplaceAll(got[i].Advice, host, "HOST")
				if regexp.MustCompile("^" + tc.detail + "$").MatchString(got[i].Detail) {
					got[i].Detail = tc.detail
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// unresolved is a network without names.
func unresolved() *http.Transport {
	return &http.Transport{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		return nil, errors.Join(err, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true})
	}}
}

// closedPort is one where nobody listens any more.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// silentPort listens and hangs up without a word.
func silentPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, err = c.Read(make([]byte, 1<<16))
			if err = errors.Join(err, c.Close()); err != nil {
				t.Error(err)
			}
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}
