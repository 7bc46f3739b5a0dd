package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/location"
	"github.com/prefect-keda/prefect-keda/scaler"
)

// problems collects the findings of Validate under the names of the settings of something.
type problems struct {
	of    any
	found []error
}

func (p *problems) add(variable, format string, args ...any) {
	p.found = append(p.found, Problem{Setting: NameOf(variable, p.of), Text: fmt.Sprintf(format, args...)})
}

func (p *problems) named(variable, kind string, valid func(string) bool, names ...string) {
	for _, name := range names {
		if !valid(name) {
			p.add(variable, "%q cannot be the name of a %s", name, kind)
		}
	}
}

func (p *problems) atLeast(variable string, got, least time.Duration, why string) {
	if got < least {
		p.add(variable, "is %s: give at least %s, %s", got, least, why)
	}
}

const (
	// maxJobTTL is more than anybody waits, and far from overflowing Kubernetes' 32 bits
	// of seconds.
	maxJobTTL = 365 * 24 * time.Hour
	// maxConcurrency: each worker holds a run and a connection.
	maxConcurrency = 1000
	// maxKubeRate is more than any API server handles.
	maxKubeRate = 100_000
	// maxLogLines keeps a log call small; the cluster's own log has the rest.
	maxLogLines = 1000
	// minEndingGrace is the time a flow needs to end by itself.
	minEndingGrace = time.Minute
)

// Validate checks the settings, also against each other, and returns all Problems joined.
func (l Launcher) Validate() error {
	p := &problems{of: l}
	l.Prefect.validate(p)
	l.Trouble.validate(p)
	if l.LogLines < 0 || l.LogLines > maxLogLines {
		p.add("PREFECT_KEDA_FAILED_LOG_LINES", "is %d: give 0 to %d", l.LogLines, maxLogLines)
	}
	l.Process.validate(p)
	l.Kubernetes.validate(p)
	if l.AgentConfigID != "" && !uuid(l.AgentConfigID) {
		p.add("PREFECT_KEDA_AGENT_CONFIG_ID", "%q is not a UUID", l.AgentConfigID)
	}
	if agent, ops := l.AgentAddress, l.OpsListen; agent.Covers(ops) && !ops.Covers(agent) {
		p.add("PREFECT__CLOUD__AGENT__AGENT_ADDRESS", "is %s, which takes the port of PREFECT_KEDA_OPS_LISTEN (%s) on all addresses: give another port, or the same address", agent, ops)
	}
	if l.Agent.Name == "" {
		p.add("PREFECT__CLOUD__AGENT__NAME", "is empty: give a name")
	}
	if l.MaxPolls < 0 {
		p.add("PREFECT_KEDA_MAX_POLLS", "is %d: give 0 for no limit, or a number", l.MaxPolls)
	}
	p.named("NAMESPACE", "namespace", dnsLabel, l.Namespace)
	p.named("SERVICE_ACCOUNT_NAME", "service account", orNone(dnsName), l.ServiceAccountName)
	p.named("IMAGE_PULL_SECRETS", "Secret", dnsName, l.ImagePullSecrets...)
	p.named("PREFECT_KEDA_API_KEY_SECRET", "Secret", orNone(dnsName), l.APIKeySecret.Name)
	l.validateSecrets(p)
	p.named("PREFECT_KEDA_JOB_NAMESPACES", "namespace", dnsLabel, l.FurtherNamespaces...)
	p.atLeast("PREFECT_KEDA_JOB_TTL", l.JobTTL, job.MinTTLSeconds*time.Second, "because only the name of the finished Job stops a late launcher from starting the run again")
	if l.JobTTL > maxJobTTL {
		p.add("PREFECT_KEDA_JOB_TTL", "is %s: give at most %s, or keep finished Jobs by DELETE_FINISHED_JOBS=False", l.JobTTL, maxJobTTL)
	}
	p.atLeast("PREFECT_KEDA_POLL_INTERVAL", l.PollInterval, scaler.MinPollInterval, "to spare the Prefect API")
	if l.IdleTimeout != 0 && l.IdleTimeout <= l.PollInterval {
		p.add("PREFECT_KEDA_IDLE_TIMEOUT", "is %s: give more than PREFECT_KEDA_POLL_INTERVAL (%s), or the launcher leaves before its second poll; or 0 to stay", l.IdleTimeout, l.PollInterval)
	}
	p.atLeast("PREFECT_KEDA_LOOKAHEAD", l.Lookahead, 0, "it cannot be negative")
	p.atLeast("PREFECT_KEDA_CLAIM_GRACE", l.ClaimGrace, time.Second, "or launchers take over work that another is still doing")
	p.atLeast("PREFECT_KEDA_DRAIN_TIMEOUT", l.DrainTimeout, time.Second, "to finish the runs in flight")
	if l.Concurrency < 1 || l.Concurrency > maxConcurrency {
		p.add("PREFECT_KEDA_CONCURRENCY", "is %d: give 1 to %d", l.Concurrency, maxConcurrency)
	}
	return errors.Join(p.found...)
}

// validateSecrets wants both halves of a worker's references.
func (l Launcher) validateSecrets(p *problems) {
	p.named("PREFECT_KEDA_API_AUTH_STRING_SECRET", "Secret", orNone(dnsName), l.AuthStringSecret.Name)
	for _, of := range []struct{ what, name, key string }{{"API_KEY", l.KeyName, l.KeyKey}, {"API_AUTH_STRING", l.AuthName, l.AuthKey}} {
		variable := "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_" + of.what + "_SECRET_"
		p.named(variable+"NAME", "Secret", orNone(dnsName), of.name)
		if (of.name == "") != (of.key == "") {
			p.add(variable+"NAME", "goes together with %sKEY: give both or none", variable)
		}
	}
}

// Validate does the same as for the Launcher.
func (s Scaler) Validate() error {
	p := &problems{of: s}
	s.Prefect.validate(p)
	s.Trouble.validate(p)
	s.Process.validate(p)
	s.Kubernetes.validate(p)
	checkNamespaces(p, "NAMESPACE", s.JobNamespaces)
	p.named("PREFECT_KEDA_JOB_NAMESPACES", "namespace", dnsLabel, s.FurtherNamespaces...)
	checkAllowed(p, "PREFECT_KEDA_ALLOWED_NAMESPACES", s.AllowedNamespaces)
	p.atLeast("PREFECT_KEDA_POLL_INTERVAL", s.PollInterval, scaler.MinPollInterval, "to spare the Prefect API")
	p.atLeast("PREFECT_KEDA_WARM_UP_LEAD", s.WarmUpLead, 0, "it cannot be negative")
	if s.WarmUpLead > scaler.MaxWarmUpLead {
		p.add("PREFECT_KEDA_WARM_UP_LEAD", "is %s: give at most %s", s.WarmUpLead, scaler.MaxWarmUpLead)
	}
	if least := scaler.MinStaleness(s.PollInterval, s.RequestTimeout.Duration()); s.MaxStaleness < least {
		p.add("PREFECT_KEDA_MAX_STALENESS", "is %s: give at least %s, %d times PREFECT_KEDA_POLL_INTERVAL plus PREFECT__CLOUD__REQUEST_TIMEOUT, or one slow answer makes KEDA freeze", s.MaxStaleness, least, scaler.IdleFactor)
	}
	if (s.TLSCertFile == "") != (s.TLSKeyFile == "") {
		p.add("PREFECT_KEDA_TLS_CERT_FILE", "goes together with PREFECT_KEDA_TLS_KEY_FILE: give both or none")
	}
	if s.TLSClientCAFile != "" && s.TLSCertFile == "" {
		p.add("PREFECT_KEDA_TLS_CLIENT_CA_FILE", "asks for client certificates, which needs TLS: give PREFECT_KEDA_TLS_CERT_FILE and PREFECT_KEDA_TLS_KEY_FILE too")
	}
	if len(s.TLSClientNames) > 0 && s.TLSClientCAFile == "" {
		p.add("PREFECT_KEDA_TLS_CLIENT_NAMES", "asks for names in client certificates: give PREFECT_KEDA_TLS_CLIENT_CA_FILE too")
	}
	if s.Listen.Covers(s.OpsListen) || s.OpsListen.Covers(s.Listen) {
		p.add("PREFECT_KEDA_LISTEN", "has the same port as PREFECT_KEDA_OPS_LISTEN (%s): give another one", s.OpsListen)
	}
	checkURL(p, "PREFECT_KEDA_UI_URL", s.UIURL)
	prefixes := map[string]string{}
	for _, c := range s.Named {
		prefix := connectionPrefix(c.Name)
		if c.Name == "default" || !dnsLabel(c.Name) {
			p.add("PREFECT_KEDA_CONNECTIONS", "%q cannot be the name of a further connection: use lower-case letters, digits and -, and not default", c.Name)
			continue
		}
		if other, taken := prefixes[prefix]; taken {
			p.add("PREFECT_KEDA_CONNECTIONS", "%s and %s read the same variables: rename one", other, c.Name)
		}
		prefixes[prefix] = c.Name
		c.validate(p)
	}
	return errors.Join(p.found...)
}

func (c Connection) validate(p *problems) {
	checkNamespaces(p, c.Variable("NAMESPACE"), c.JobNamespaces)
	checkAllowed(p, c.Variable("ALLOWED_NAMESPACES"), c.AllowedNamespaces)
	checkURL(p, c.Variable("UI_URL"), c.UIURL)
	if c.API != "" && c.APIURL != "" {
		p.add(c.Variable("API_URL"), "is Prefect 3's, and %s is Prefect 1's: give one of them", c.Variable("API"))
		return
	}
	if c.Backend == OfPrefect3 {
		checkAPI3(p, c.Variable("API_URL"), c.APIURL, c.Key, c.Variable("API_KEY"))
		checkText3(p, c.Key, c.Variable("API_KEY"))
		checkText3(p, c.AuthString, c.Variable("API_AUTH_STRING"))
		return
	}
	checkURL(p, c.Variable("API"), c.API)
	checkKey(p, c.Backend, c.Variable("BACKEND"), c.Key, c.Variable("API_KEY"))
	checkTenant(p, c.Variable("TENANT_ID"), c.TenantID)
	switch {
	case c.APIURL != "":
		p.add(c.Variable("API_URL"), "is Prefect 3's, but %s is %s: give %s, or set prefect3", c.Variable("BACKEND"), c.Backend, c.Variable("API"))
	case c.API == "" && c.Backend == Server:
		p.add(c.Variable("API"), "is not set: give the URL of that Prefect Server")
	}
}

func (f Prefect) validate(p *problems) {
	if f.RequestTimeout.Duration() < scaler.MinPollTimeout {
		p.add("PREFECT__CLOUD__REQUEST_TIMEOUT", "is %s: give some seconds", f.RequestTimeout)
	}
	if f.Kind == Prefect3 {
		f.validate3(p)
		return
	}
	address, variable := f.address()
	if variable == serverHost && (f.ServerPort < 1 || f.ServerPort > 65535) {
		p.add("PREFECT__SERVER__PORT", "is %d: give 1 to 65535", f.ServerPort)
		address = joinHostPort(f.ServerHost, 1)
	}
	checkURL(p, variable, address)
	checkKey(p, f.Backend, "PREFECT__BACKEND", f.APIKey(), "PREFECT__CLOUD__API_KEY")
	checkTenant(p, "PREFECT__CLOUD__TENANT_ID", f.TenantID)
}

// checkURL does not repeat the URL: it may hold a password.
func checkURL(p *problems, variable string, api location.Location) {
	if api == "" {
		return
	}
	example := "http://host:4200 or https://api.prefect.io"
	if strings.HasSuffix(variable, "UI_URL") {
		example = "https://prefect.example.com, or http://host:8080/default for Prefect 1"
	}
	if variable == serverHost {
		example = "http://host, without the port"
	}
	if u, err := url.Parse(api.Reveal()); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		if strings.Contains(api.Reveal(), "@") {
			example += "; in user and password, escape all but letters and digits: %40 for @, %3A for :, %2F for /"
		}
		p.add(variable, "is not a URL: give one like %s", example)
	}
}

func checkKey(p *problems, backend Backend, backendVariable string, key Secret, variable string) {
	if backend == Cloud && key == "" {
		p.add(variable, "is not set, but Prefect Cloud needs a key: give it, or set %s=server%s", backendVariable, orPrefect3(backendVariable))
	}
	checkText(p, key, variable)
}

// orPrefect3 reminds those of Prefect 3 who have set nothing.
func orPrefect3(backendVariable string) string {
	if backendVariable != "PREFECT__BACKEND" {
		return ""
	}
	return ", or for Prefect 3 give " + apiURL
}

// checkText refuses what gets into a key by accident.
func checkText(p *problems, key Secret, variable string) {
	if k := key.Reveal(); strings.TrimSpace(k) != k || strings.ContainsAny(k, "\r\n\x00") {
		p.add(variable, "begins or ends with white space, or contains control characters: paste it again (echo adds a line end; use printf or echo -n)")
	}
}

func checkTenant(p *problems, variable, tenant string) {
	if tenant != "" && !uuid(tenant) {
		p.add(variable, "%q is not a UUID", tenant)
	}
}

func (t Trouble) validate(p *problems) {
	p.atLeast("PREFECT_KEDA_POD_GRACE", t.PodGrace, time.Second, "or every pod is in trouble while it starts")
	orNever := func(variable string, got time.Duration, why string) {
		if got != 0 {
			p.atLeast(variable, got, minEndingGrace, why+"; or 0 to leave it alone")
		}
	}
	orNever("PREFECT_KEDA_CANCEL_GRACE", t.CancelGrace, "because a flow needs up to half a minute to notice and then some time to end")
	orNever("PREFECT_KEDA_FINISHED_GRACE", t.FinishedGrace, "because every pod outlives its run by some seconds")
	if t.PendingTimeout != 0 && t.PendingTimeout <= t.PodGrace {
		p.add("PREFECT_KEDA_PENDING_TIMEOUT", "is %s: give more than PREFECT_KEDA_POD_GRACE (%s), or 0 to let runs wait", t.PendingTimeout, t.PodGrace)
	}
}

func (o Process) validate(p *problems) {
	if o.OpsListen == "" {
		p.add("PREFECT_KEDA_OPS_LISTEN", "is empty: give for example :8080")
	}
}

func (k Kubernetes) validate(p *problems) {
	p.named("PREFECT_KEDA_NAMESPACE", "namespace", orNone(dnsLabel), k.Home)
	if !(k.KubeQPS > 0 && k.KubeQPS <= maxKubeRate) { // NaN is neither
		p.add("PREFECT_KEDA_KUBE_QPS", "is %v: give a number above 0, up to %d", k.KubeQPS, maxKubeRate)
	} else if float32(k.KubeBurst) < k.KubeQPS {
		p.add("PREFECT_KEDA_KUBE_BURST", "is %d: give at least PREFECT_KEDA_KUBE_QPS (%v)", k.KubeBurst, k.KubeQPS)
	}
}

func checkNamespaces(p *problems, variable string, names Names) {
	if len(names) == 0 {
		p.add(variable, "names no namespace")
	}
	p.named(variable, "namespace", dnsLabel, names...)
}

func checkAllowed(p *problems, variable string, names Names) {
	if len(names) == 0 {
		p.add(variable, "names no namespace: give names, or * for all")
	}
	for _, n := range names {
		if n != "*" && !dnsLabel(n) {
			p.add(variable, "%q cannot be the name of a namespace: give names, or * for all", n)
		}
	}
}

// orNone also takes an empty text, where a setting may be left out.
func orNone(valid func(string) bool) func(string) bool {
	return func(s string) bool { return s == "" || valid(s) }
}

func dnsLabel(s string) bool { return len(s) <= 63 && matches(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, s) }

func dnsName(s string) bool {
	return len(s) <= 253 && !slices.ContainsFunc(strings.Split(s, "."), func(l string) bool { return !matches(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, l) })
}

func uuid(s string) bool {
	return matches(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`, s)
}

func matches(pattern, s string) bool {
	ok, err := regexp.MatchString(pattern, s)
	return err == nil && ok
}
