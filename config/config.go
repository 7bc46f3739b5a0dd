package config

import (
	"log/slog"
	"time"

	"github.com/prefect-keda/prefect-keda/location"
)

// The tags of a field are all there is to know about a setting: env is its
// variable and default as go-envconfig reads them, flag and short its flag,
// off a value a bare flag stands for, example another valid value (documents and
// tests use it), help what it means, flaghelp what the flag does where that is
// another matter. group on an embedded struct is its heading.

// Launcher is everything the launcher process is told.
type Launcher struct {
	Prefect    `group:"Prefect API"`
	Agent      `group:"Which flow runs, and as whom"`
	Jobs       `group:"The flow runs' Jobs"`
	Launching  `group:"Launching"`
	Trouble    `group:"Jobs in trouble (the same for scaler and launcher)"`
	Aftermath  `group:"What becomes of them"`
	Process    `group:"Process"`
	Kubernetes `group:"Kubernetes API"`
}

// Scaler is everything the scaler process is told.
type Scaler struct {
	Prefect    `group:"Prefect API"`
	Scaling    `group:"Scaling"`
	Trouble    `group:"Jobs in trouble (the same for scaler and launcher)"`
	Serving    `group:"gRPC"`
	Process    `group:"Process"`
	Kubernetes `group:"Kubernetes API"`

	// Named are the further connections PREFECT_KEDA_CONNECTIONS lists.
	Named []Connection
}

// Prefect says which API, and with which key.
type Prefect struct {
	Backend        Backend `env:"PREFECT__BACKEND, default=cloud" flag:"backend" example:"server" help:"kind of Prefect API: cloud or server"`
	API            string  `env:"PREFECT__CLOUD__API" flag:"api" short:"a" example:"http://prefect-apollo.prefect:4200" help:"URL of the Prefect API, for us and for the flows' pods; by default where the backend usually is"`
	Key            Secret  `env:"PREFECT__CLOUD__API_KEY" flag:"key" short:"k" example:"pk-1" help:"API key; prefer the variable, a flag is visible to everyone on the node"`
	SecretKey      Secret  `env:"PREFECT_KEDA_API_KEY" flag:"api-key" example:"pk-2" help:"API key as read from the Secret that PREFECT_KEDA_API_KEY_SECRET names; wins over the variable PREFECT__CLOUD__API_KEY, and keeps the key out of the text of the Jobs"`
	TenantID       string  `env:"PREFECT__CLOUD__TENANT_ID" flag:"tenant-id" example:"3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11" help:"tenant (a UUID); by default the key's own, or the Server's oldest"`
	RequestTimeout Seconds `env:"PREFECT__CLOUD__REQUEST_TIMEOUT, default=15" flag:"request-timeout" example:"20" help:"time for one request to the API, in seconds or as a duration"`
	ServerEndpoint string  `env:"PREFECT__SERVER__ENDPOINT" flag:"server-endpoint" example:"http://prefect:4200" help:"where a Prefect Server is, when PREFECT__CLOUD__API is not set"`
	ServerHost     string  `env:"PREFECT__SERVER__HOST, default=http://localhost" flag:"server-host" example:"http://prefect" help:"first half of PREFECT__SERVER__ENDPOINT"`
	ServerPort     int     `env:"PREFECT__SERVER__PORT, default=4200" flag:"server-port" example:"4300" help:"second half of PREFECT__SERVER__ENDPOINT"`
	CloudEndpoint  string  `env:"PREFECT__CLOUD__ENDPOINT, default=https://api.prefect.io" flag:"cloud-endpoint" example:"https://prefect.example.com" help:"where Prefect Cloud is, when PREFECT__CLOUD__API is not set"`
}

// Agent says which runs are ours and how we sign.
type Agent struct {
	Name          string  `env:"PREFECT__CLOUD__AGENT__NAME, default=agent" flag:"name" short:"n" example:"etl" help:"name shown in the Prefect UI and signed under log lines"`
	Labels        Labels  `env:"PREFECT__CLOUD__AGENT__LABELS" flag:"label" short:"l" example:"['gpu', 'prod']" help:"labels of the flow runs to launch; a run is taken when all its labels are among these, an unlabelled run only when there are none. A list in Python or JSON text, or a,b" flaghelp:"label of the flow runs to launch, one each time the flag is given, a comma being part of it; a run is taken when all its labels are among these, an unlabelled run only when there are none"`
	AgentConfigID string  `env:"PREFECT_KEDA_AGENT_CONFIG_ID" flag:"agent-config-id" example:"8a1d4bb8-6d0f-4a3e-8f60-0a8f0a9c3f10" help:"id of an agent config in Prefect Cloud (a UUID)"`
	MaxPolls      int     `env:"PREFECT_KEDA_MAX_POLLS" flag:"max-polls" example:"3" help:"leave after so many looks for due runs; 0 for no limit"`
	AgentAddress  Address `env:"PREFECT__CLOUD__AGENT__AGENT_ADDRESS" flag:"agent-address" example:"http://:8081" help:"serve the agent's /api/health and /api/poke here; the port is mandatory"`
}

// Jobs are the defaults of the Jobs that flow runs get.
type Jobs struct {
	Namespace          string            `env:"NAMESPACE, default=default" flag:"namespace" example:"flows" help:"namespace of the Jobs"`
	JobTemplate        location.Location `env:"JOB_TEMPLATE" flag:"job-template" example:"/etc/prefect-keda/job.yaml" help:"path or URL (http, https, s3, gs) of the Job template for runs that bring none"`
	ServiceAccountName string            `env:"SERVICE_ACCOUNT_NAME" flag:"service-account-name" example:"flows" help:"service account of the flows' pods"`
	ImagePullSecrets   Names             `env:"IMAGE_PULL_SECRETS" flag:"image-pull-secrets" example:"registry,mirror" help:"names of image pull secrets, separated by commas"`
	EnvVars            EnvVars           `env:"PREFECT__CLOUD__AGENT__ENV_VARS" flag:"env" short:"e" example:"{'A': '1'}" help:"variables for every flow run: a dict in Python or JSON text, or A=1,B=2" flaghelp:"variable for every flow run, KEY=VALUE, one each time the flag is given"`
	LoggingLevel       string            `env:"PREFECT__LOGGING__LEVEL, default=INFO" flag:"flow-log-level" example:"DEBUG" help:"log level inside the flows' pods"`
	SendFlowRunLogs    Bool              `env:"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS, default=true" flag:"no-cloud-logs" off:"false" example:"false" help:"whether flows send their logs to the API" flaghelp:"do not have flows send their logs to the API"`
	DeleteFinishedJobs ExactlyTrue       `env:"DELETE_FINISHED_JOBS, default=True" flag:"disable-job-deletion" off:"False" example:"False" help:"whether finished Jobs are removed. On only if it is exactly True, as in the agent" flaghelp:"keep finished Jobs"`
	JobTTL             time.Duration     `env:"PREFECT_KEDA_JOB_TTL, default=10m" flag:"job-ttl" example:"1h" help:"how long a finished Job stays before Kubernetes removes it; at least 5m"`
	PodSecurity        PodSecurity       `env:"PREFECT_KEDA_POD_SECURITY" flag:"pod-security" example:"baseline" help:"Pod Security level that flows' pods are held to before Kubernetes is asked: privileged, baseline or restricted; nothing holds them to none. A run whose own template goes beyond it fails, with words for its author; if it is the launcher's template, runs wait"`
	APIKeySecret       SecretKey         `env:"PREFECT_KEDA_API_KEY_SECRET" flag:"api-key-secret" example:"prefect-api-key/api-key" help:"NAME/KEY of a Secret in the Jobs' namespace that holds PREFECT_KEDA_API_KEY; pods read it there. A PREFECT__CLOUD__API_KEY is text in the Job, as with the agent"`
}

// Launching is how fast and how long.
type Launching struct {
	IdleTimeout  time.Duration `env:"PREFECT_KEDA_IDLE_TIMEOUT, default=15m" flag:"idle-timeout" example:"20m" help:"leave after nothing has been due for so long; longer than KEDA's cooldown, so that KEDA is first"`
	PollInterval time.Duration `env:"PREFECT_KEDA_POLL_INTERVAL, default=1s" flag:"poll-interval" example:"2s" help:"time between two looks for due runs"`
	Lookahead    time.Duration `env:"PREFECT_KEDA_LOOKAHEAD, default=10s" flag:"lookahead" example:"20s" help:"fetch runs so long before they are due, to be on time; 0 for not before"`
	Concurrency  int           `env:"PREFECT_KEDA_CONCURRENCY, default=16" flag:"concurrency" example:"32" help:"flow runs handled at the same time"`
	ClaimGrace   time.Duration `env:"PREFECT_KEDA_CLAIM_GRACE, default=10s" flag:"claim-grace" example:"12s" help:"leave another launcher so long to create the Job it claimed a run for"`
	DrainTimeout time.Duration `env:"PREFECT_KEDA_DRAIN_TIMEOUT, default=25s" flag:"drain-timeout" example:"40s" help:"time to finish what is in hand after SIGTERM; below the pod's grace period"`
}

// Trouble says when something is wrong with a Job. The scaler wakes launchers by
// it and they act by it, so both have to be told the same.
type Trouble struct {
	PodGrace       time.Duration `env:"PREFECT_KEDA_POD_GRACE, default=60s" flag:"pod-grace" example:"3m" help:"how long a pod may fail to start (image, node, volume, quota) before its run is told; and before it is failed, where waiting does not help"`
	PendingTimeout time.Duration `env:"PREFECT_KEDA_PENDING_TIMEOUT, default=0s" flag:"pending-timeout" example:"30m" help:"fail a run that has waited so long for a node, a volume or a quota; 0 lets it wait"`
	CancelGrace    time.Duration `env:"PREFECT_KEDA_CANCEL_GRACE, default=10m" flag:"cancel-grace" example:"5m" help:"how long a flow may go on that was cancelled before its Job is stopped and its run set Cancelled; 0 for as long as it likes"`
	FinishedGrace  time.Duration `env:"PREFECT_KEDA_FINISHED_GRACE, default=0s" flag:"finished-grace" example:"10m" help:"how long a flow may go on whose run has finished in Prefect before its Job is stopped; 0 for as long as it likes. Prefect at times calls a run Failed whose flow goes on and ends well"`
	PodRetries     bool          `env:"PREFECT_KEDA_POD_RETRIES, default=false" flag:"pod-retries" example:"true" help:"let Kubernetes use up a Job's backoffLimit before its run is failed; else the first failed pod fails it, as with the agent"`
}

// Aftermath is what launchers do about Jobs in trouble.
type Aftermath struct {
	KeepFailedJobs bool `env:"PREFECT_KEDA_KEEP_FAILED_JOBS, default=false" flag:"keep-failed-jobs" example:"true" help:"keep failed Jobs and their pods for a look at them, whatever becomes of the others"`
	LogLines       int  `env:"PREFECT_KEDA_FAILED_LOG_LINES, default=50" flag:"failed-log-lines" example:"200" help:"copy so many last lines of a failed container into its flow run's log; 0 for none"`
}

// Scaling is what is counted, and how often.
type Scaling struct {
	JobNamespaces     Names         `env:"NAMESPACE, default=default" flag:"namespace" example:"flows,flows-2" help:"namespaces of the Jobs, separated by commas"`
	PollInterval      time.Duration `env:"PREFECT_KEDA_POLL_INTERVAL, default=1s" flag:"poll-interval" example:"2s" help:"time between two looks at the Prefect API; one request each, and one about Jobs every 30s, whatever the number of ScaledObjects"`
	WarmUpLead        time.Duration `env:"PREFECT_KEDA_WARM_UP_LEAD, default=10s" flag:"warm-up-lead" example:"30s" help:"wake a launcher so long before a scheduled run is due; 0 for not before"`
	MaxStaleness      time.Duration `env:"PREFECT_KEDA_MAX_STALENESS, default=2m" flag:"max-staleness" example:"5m" help:"serve the last answer for so long while Prefect is away, then answer KEDA with an error"`
	AllowedNamespaces Names         `env:"PREFECT_KEDA_ALLOWED_NAMESPACES, default=*" flag:"allowed-namespaces" example:"prefect-keda,team-a" help:"namespaces whose ScaledObjects may ask about the connection default, separated by commas; * for all. KEDA says which namespace it asks for, so let nobody but KEDA reach the port"`
	Connections       Names         `env:"PREFECT_KEDA_CONNECTIONS" flag:"connections" example:"prod,team-a" help:"names of further Prefect APIs, for the connection key of a ScaledObject. Each NAME reads PREFECT_KEDA_CONNECTION_<NAME>_BACKEND, _API, _API_KEY, _TENANT_ID, _NAMESPACE and _ALLOWED_NAMESPACES (capitals, - as _); the last two are by default those of the connection default"`
}

// Serving is the port KEDA speaks to.
type Serving struct {
	Listen          Address `env:"PREFECT_KEDA_LISTEN, default=:9090" flag:"listen" example:":9091" help:"address of the gRPC server"`
	TLSCertFile     string  `env:"PREFECT_KEDA_TLS_CERT_FILE" flag:"tls-cert-file" example:"/tls/tls.crt" help:"certificate of the gRPC server (PEM); re-read when it changes"`
	TLSKeyFile      string  `env:"PREFECT_KEDA_TLS_KEY_FILE" flag:"tls-key-file" example:"/tls/tls.key" help:"its key (PEM)"`
	TLSClientCAFile string  `env:"PREFECT_KEDA_TLS_CLIENT_CA_FILE" flag:"tls-client-ca-file" example:"/tls/ca.crt" help:"demand client certificates signed by this CA (PEM)"`
	TLSClientNames  Names   `env:"PREFECT_KEDA_TLS_CLIENT_NAMES" flag:"tls-client-names" example:"keda,spiffe://cluster.local/ns/keda/sa/keda-operator" help:"demand one of these names, separated by commas, among the alternative names (DNS or URI) of a client's certificate; without, every certificate of the CA will do"`
	Reflection      bool    `env:"PREFECT_KEDA_REFLECTION, default=false" flag:"reflection" example:"true" help:"offer gRPC reflection, for grpcurl"`
}

// Process is what every process of ours has.
type Process struct {
	OpsListen Address   `env:"PREFECT_KEDA_OPS_LISTEN, default=:8080" flag:"ops-listen" example:":8082" help:"address of /metrics, /livez, /readyz"`
	LogLevel  Level     `env:"PREFECT__CLOUD__AGENT__LEVEL, default=INFO" flag:"log-level" example:"DEBUG" help:"our own log level: DEBUG, INFO, WARNING, ERROR or CRITICAL"`
	LogFormat LogFormat `env:"PREFECT_KEDA_LOG_FORMAT, default=auto" flag:"log-format" example:"json" help:"json, text, or auto: text on a terminal"`
}

// Kubernetes is how its API is reached.
type Kubernetes struct {
	Kubeconfig  string  `env:"KUBECONFIG" flag:"kubeconfig" example:"/root/.kube/config" help:"kubeconfig file; by default the pod's own service account, outside a cluster ~/.kube/config"`
	KubeContext string  `env:"PREFECT_KEDA_KUBE_CONTEXT" flag:"context" example:"kind" help:"context of the kubeconfig"`
	KubeQPS     float32 `env:"PREFECT_KEDA_KUBE_QPS, default=200" flag:"kube-qps" example:"50" help:"requests per second to the Kubernetes API"`
	KubeBurst   int     `env:"PREFECT_KEDA_KUBE_BURST, default=400" flag:"kube-burst" example:"100" help:"requests at once to the Kubernetes API"`
	KeepAlive   Bool    `env:"PREFECT__CLOUD__AGENT__KUBERNETES_KEEP_ALIVE, default=false" flag:"keep-alive" example:"true" help:"probe idle connections to the Kubernetes API as the agent did, against networks that drop them silently"`
}

// Connection is a further Prefect API of the scaler; its variables follow its
// own prefix.
type Connection struct {
	Name              string
	Backend           Backend `env:"BACKEND, default=cloud"`
	API               string  `env:"API"`
	Key               Secret  `env:"API_KEY"`
	TenantID          string  `env:"TENANT_ID"`
	JobNamespaces     Names   `env:"NAMESPACE"`
	AllowedNamespaces Names   `env:"ALLOWED_NAMESPACES"`
}

// Address is the URL to speak to: what PREFECT__CLOUD__API says, or where the
// backend is (prefect1-spec §7.1).
func (p Prefect) Address() string {
	address, _ := p.address()
	return address
}

// AddressSetting is what says so.
func (p Prefect) AddressSetting() string {
	_, variable := p.address()
	for _, s := range Settings(p) {
		if s.Variable == variable {
			return s.Name()
		}
	}
	return variable
}

// address is Address, with the variable that says so.
func (p Prefect) address() (text, variable string) {
	switch {
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

// APIKey is the key to send: that of the Secret, where there is one.
func (p Prefect) APIKey() Secret {
	if p.SecretKey != "" {
		return p.SecretKey
	}
	return p.Key
}

// LogValue shows every setting, secrets masked: what a process ran with can be
// read from its log.
func (l Launcher) LogValue() slog.Value { return logValue(l) }

// LogValue is as for Launcher.
func (s Scaler) LogValue() slog.Value { return logValue(s) }
