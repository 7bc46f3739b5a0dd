package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// problems collects what Validate finds, each under the setting's own name.
type problems struct {
	names map[string]string
	found []error
}

func newProblems(of any) *problems {
	p := &problems{names: map[string]string{}}
	for _, s := range Settings(of) {
		p.names[s.Variable] = s.Name()
	}
	return p
}

func (p *problems) add(variable, format string, args ...any) {
	name := variable
	if known, ok := p.names[variable]; ok {
		name = known
	}
	p.found = append(p.found, Problem{Setting: name, Text: fmt.Sprintf(format, args...)})
}

func (p *problems) atLeast(variable string, got, least time.Duration, why string) {
	if got < least {
		p.add(variable, "is %s: give at least %s, %s", got, least, why)
	}
}

// minJobTTL keeps a finished Job's name taken while a launcher that was stopped
// in the middle of a launch may still come back with it.
const minJobTTL = 5 * time.Minute

const (
	// maxJobTTL is far more than anybody waits, and far less than Kubernetes' 32
	// bits of seconds hold.
	maxJobTTL = 365 * 24 * time.Hour
	// maxConcurrency: each worker holds a run and a connection.
	maxConcurrency = 1000
	// maxKubeRate is more than any API server takes.
	maxKubeRate = 100_000
	// maxWarmUpLead: who wants launchers earlier wants them always.
	maxWarmUpLead = 10 * time.Minute
	// maxLogLines keeps a log call small; the whole log is in the cluster's own.
	maxLogLines = 1000
	// minRequestTimeout is for an API next door.
	minRequestTimeout = 100 * time.Millisecond
	// minEndingGrace is what a flow needs that ends by itself.
	minEndingGrace = time.Minute
	// idleFactor is by how much the scaler's interval grows while nobody asks.
	idleFactor = 5
)

// Validate checks the settings against each other and returns everything that
// is wrong, as joined Problems.
func (l Launcher) Validate() error {
	p := newProblems(l)
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
	if !dnsLabel(l.Namespace) {
		p.add("NAMESPACE", "%q cannot be the name of a namespace", l.Namespace)
	}
	if l.ServiceAccountName != "" && !dnsName(l.ServiceAccountName) {
		p.add("SERVICE_ACCOUNT_NAME", "%q cannot be the name of a service account", l.ServiceAccountName)
	}
	for _, name := range l.ImagePullSecrets {
		if !dnsName(name) {
			p.add("IMAGE_PULL_SECRETS", "%q cannot be the name of a Secret", name)
		}
	}
	if s := l.APIKeySecret; s.Name != "" && !dnsName(s.Name) {
		p.add("PREFECT_KEDA_API_KEY_SECRET", "%q cannot be the name of a Secret", s.Name)
	}
	p.atLeast("PREFECT_KEDA_JOB_TTL", l.JobTTL, minJobTTL, "because a finished Job's name is what stops a late launcher from starting the run again")
	if l.JobTTL > maxJobTTL {
		p.add("PREFECT_KEDA_JOB_TTL", "is %s: give at most %s, or keep finished Jobs by DELETE_FINISHED_JOBS=False", l.JobTTL, maxJobTTL)
	}
	p.atLeast("PREFECT_KEDA_POLL_INTERVAL", l.PollInterval, 100*time.Millisecond, "to spare the Prefect API")
	if l.IdleTimeout <= l.PollInterval {
		p.add("PREFECT_KEDA_IDLE_TIMEOUT", "is %s: give more than PREFECT_KEDA_POLL_INTERVAL (%s), or nothing is ever found before leaving", l.IdleTimeout, l.PollInterval)
	}
	p.atLeast("PREFECT_KEDA_LOOKAHEAD", l.Lookahead, 0, "it cannot be negative")
	p.atLeast("PREFECT_KEDA_CLAIM_GRACE", l.ClaimGrace, time.Second, "or launchers finish each other's work while it is being done")
	p.atLeast("PREFECT_KEDA_DRAIN_TIMEOUT", l.DrainTimeout, time.Second, "to finish what is in hand")
	if l.Concurrency < 1 || l.Concurrency > maxConcurrency {
		p.add("PREFECT_KEDA_CONCURRENCY", "is %d: give 1 to %d", l.Concurrency, maxConcurrency)
	}
	return errors.Join(p.found...)
}

// Validate is as for the Launcher.
func (s Scaler) Validate() error {
	p := newProblems(s)
	s.Prefect.validate(p)
	s.Trouble.validate(p)
	s.Process.validate(p)
	s.Kubernetes.validate(p)
	checkNamespaces(p, "NAMESPACE", s.JobNamespaces)
	checkAllowed(p, "PREFECT_KEDA_ALLOWED_NAMESPACES", s.AllowedNamespaces)
	p.atLeast("PREFECT_KEDA_POLL_INTERVAL", s.PollInterval, 100*time.Millisecond, "to spare the Prefect API")
	p.atLeast("PREFECT_KEDA_WARM_UP_LEAD", s.WarmUpLead, 0, "it cannot be negative")
	if s.WarmUpLead > maxWarmUpLead {
		p.add("PREFECT_KEDA_WARM_UP_LEAD", "is %s: give at most %s", s.WarmUpLead, maxWarmUpLead)
	}
	if least := idleFactor*s.PollInterval + s.RequestTimeout.Duration(); s.MaxStaleness < least {
		p.add("PREFECT_KEDA_MAX_STALENESS", "is %s: give at least %s, %d times PREFECT_KEDA_POLL_INTERVAL plus PREFECT__CLOUD__REQUEST_TIMEOUT, or one slow answer makes KEDA freeze", s.MaxStaleness, least, idleFactor)
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
		checkNamespaces(p, prefix+"NAMESPACE", c.JobNamespaces)
		checkAllowed(p, prefix+"ALLOWED_NAMESPACES", c.AllowedNamespaces)
		checkURL(p, prefix+"API", c.API)
		checkKey(p, c.Backend, prefix+"BACKEND", c.Key, prefix+"API_KEY")
		checkTenant(p, prefix+"TENANT_ID", c.TenantID)
		if c.API == "" && c.Backend == Server {
			p.add(prefix+"API", "is not set: give the URL of that Prefect Server")
		}
	}
	return errors.Join(p.found...)
}

func (f Prefect) validate(p *problems) {
	address, variable := f.address()
	switch outOfRange := f.ServerPort < 1 || f.ServerPort > 65535; {
	case variable != serverHost:
		checkURL(p, variable, address)
	case outOfRange:
		p.add("PREFECT__SERVER__PORT", "is %d: give 1 to 65535", f.ServerPort)
		checkURL(p, variable, joinHostPort(f.ServerHost, 1))
	default:
		checkURL(p, variable, address)
	}
	checkKey(p, f.Backend, "PREFECT__BACKEND", f.APIKey(), "PREFECT__CLOUD__API_KEY")
	checkTenant(p, "PREFECT__CLOUD__TENANT_ID", f.TenantID)
	if f.RequestTimeout.Duration() < minRequestTimeout {
		p.add("PREFECT__CLOUD__REQUEST_TIMEOUT", "is %s: give some seconds", f.RequestTimeout)
	}
}

// checkURL does not repeat the URL: it may hold a password.
func checkURL(p *problems, variable, api string) {
	if api == "" {
		return
	}
	example := "http://host:4200 or https://api.prefect.io"
	if variable == serverHost {
		example = "http://host, without the port"
	}
	if u, err := url.Parse(api); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		p.add(variable, "is not a URL: give one like %s", example)
	} else if u.User != nil {
		p.add(variable, "holds a user or password: take it out and give the API key instead")
	}
}

func checkKey(p *problems, backend Backend, backendVariable string, key Secret, variable string) {
	if backend == Cloud && key == "" {
		p.add(variable, "is not set, and Prefect Cloud wants a key: give it, or set %s=server", backendVariable)
	}
	if k := key.Reveal(); strings.TrimSpace(k) != k || strings.ContainsAny(k, "\r\n\x00") {
		p.add(variable, "has white space around it or control characters in it: paste it again (echo adds a line end; use printf or echo -n)")
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
	orNever("PREFECT_KEDA_CANCEL_GRACE", t.CancelGrace, "because a flow finds out within half a minute and has things to end")
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
	for _, n := range names {
		if !dnsLabel(n) {
			p.add(variable, "%q cannot be the name of a namespace", n)
		}
	}
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
