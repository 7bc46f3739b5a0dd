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
	// maxWarmUpLead: who wants launchers earlier wants them always.
	maxWarmUpLead = 10 * time.Minute
	// maxLogLines keeps a log call small; the whole log is in the cluster's own.
	maxLogLines = 1000
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
	p.atLeast("PREFECT_KEDA_POLL_INTERVAL", l.PollInterval, 100*time.Millisecond, "to spare the Prefect API")
	if l.IdleTimeout <= l.PollInterval {
		p.add("PREFECT_KEDA_IDLE_TIMEOUT", "is %s: give more than PREFECT_KEDA_POLL_INTERVAL (%s), or nothing is ever found before leaving", l.IdleTimeout, l.PollInterval)
	}
	p.atLeast("PREFECT_KEDA_LOOKAHEAD", l.Lookahead, 0, "it cannot be negative")
	p.atLeast("PREFECT_KEDA_CLAIM_GRACE", l.ClaimGrace, time.Second, "or launchers finish each other's work while it is being done")
	p.atLeast("PREFECT_KEDA_DRAIN_TIMEOUT", l.DrainTimeout, time.Second, "to finish what is in hand")
	if l.Concurrency < 1 {
		p.add("PREFECT_KEDA_CONCURRENCY", "is %d: give at least 1", l.Concurrency)
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
	if port := s.Listen.Port(); port != "0" && port == s.OpsListen.Port() {
		p.add("PREFECT_KEDA_LISTEN", "has the same port as PREFECT_KEDA_OPS_LISTEN (%s): give another one", port)
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
		checkAPI(p, prefix, "API_KEY", c.Backend, c.API, c.Key, c.TenantID)
		if c.API == "" && c.Backend == Server {
			p.add(prefix+"API", "is not set: give the URL of that Prefect Server")
		}
	}
	return errors.Join(p.found...)
}

func (f Prefect) validate(p *problems) {
	checkAPI(p, "PREFECT__CLOUD__", "API_KEY", f.Backend, f.Address(), f.APIKey(), f.TenantID)
	if f.RequestTimeout <= 0 {
		p.add("PREFECT__CLOUD__REQUEST_TIMEOUT", "is %s: give some seconds", f.RequestTimeout)
	}
}

func checkAPI(p *problems, prefix, keyName string, backend Backend, api string, key Secret, tenant string) {
	// The URL is not repeated: it may hold a password.
	if u, err := url.Parse(api); api != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		p.add(prefix+"API", "is not a URL: give one like http://host:4200 or https://api.prefect.io")
	} else if api != "" && u.User != nil {
		p.add(prefix+"API", "holds a user or password: take it out and give the API key instead")
	}
	if backend == Cloud && key == "" {
		name := prefix + "BACKEND"
		if prefix == "PREFECT__CLOUD__" {
			name = "PREFECT__BACKEND"
		}
		p.add(prefix+keyName, "is not set, and Prefect Cloud wants a key: give it, or set %s=server", name)
	}
	if k := key.Reveal(); strings.TrimSpace(k) != k || strings.ContainsAny(k, "\r\n\x00") {
		p.add(prefix+keyName, "has white space around it or control characters in it: paste it again (echo adds a line end; use printf or echo -n)")
	}
	if tenant != "" && !uuid(tenant) {
		p.add(prefix+"TENANT_ID", "%q is not a UUID", tenant)
	}
}

func (t Trouble) validate(p *problems) {
	p.atLeast("PREFECT_KEDA_POD_GRACE", t.PodGrace, time.Second, "or every pod is in trouble while it starts")
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
	if k.KubeQPS <= 0 {
		p.add("PREFECT_KEDA_KUBE_QPS", "is %v: give a number above 0", k.KubeQPS)
	}
	if float32(k.KubeBurst) < k.KubeQPS {
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
