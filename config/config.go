package config

import (
	"time"

	"github.com/prefect-keda/prefect-keda/location"
)

// The tags of a field describe its setting completely. env holds the variable and the
// default as go-envconfig reads them; flag and short name the flag; off is the value that
// a bare flag stands for; example is another valid value, for documents and tests; help
// says what the setting means, and flaghelp what the flag does where that differs. group
// on an embedded struct is its heading. env3 holds the variable of Prefect 3, its default, or
// both, where they differ; only names the kind of Prefect that has the setting; and alias
// names the flag of `prefect worker start` that does the same.

// Launcher holds all settings of the launcher process.
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

// Scaler holds all settings of the scaler process.
type Scaler struct {
	Prefect    `group:"Prefect API"`
	Scaling    `group:"Scaling"`
	Trouble    `group:"Jobs in trouble (the same for scaler and launcher)"`
	Serving    `group:"gRPC"`
	Process    `group:"Process"`
	Kubernetes `group:"Kubernetes API"`

	// Named are the further connections that PREFECT_KEDA_CONNECTIONS lists.
	Named []Connection
	// Others is Trouble with the defaults of the other kind of Prefect.
	Others Trouble
}

// TroubleOf says when something is wrong with the Jobs of a kind of Prefect. The scaler may
// serve both kinds, and their launchers differ in what they do by default.
func (s Scaler) TroubleOf(kind Kind) Trouble {
	if kind == s.Kind {
		return s.Trouble
	}
	return s.Others
}

// Prefect says which API to use, and with which key.
type Prefect struct {
	Kind           Kind              `env:"PREFECT_KEDA_BACKEND" flag:"prefect" example:"prefect3" help:"which Prefect: prefect1, or prefect3 for Prefect 3 and 2. By default what the settings are for: PREFECT_API_URL is Prefect 3's, PREFECT__BACKEND and PREFECT__CLOUD__... are Prefect 1's. Where this is set, those of the other count as not set"`
	Backend        Backend           `env:"PREFECT__BACKEND, default=cloud" flag:"backend" only:"prefect1" example:"server" help:"kind of Prefect 1 API: cloud or server"`
	API            location.Location `env:"PREFECT__CLOUD__API" env3:"PREFECT_API_URL" flag:"api" short:"a" example:"http://prefect-apollo.prefect:4200" help:"URL of the Prefect API, for us and for the flows' pods. In Prefect 3 it ends with /api, for example http://prefect-server.prefect:4200/api; for Prefect Cloud it contains account and workspace. In Prefect 1 it is by default where the backend usually is. A user and password in it (http://user:password@host, for a proxy) are sent as basic authentication instead of the key. They show only in the Jobs, because the pods need them"`
	Key            Secret            `env:"PREFECT__CLOUD__API_KEY" env3:"PREFECT_API_KEY" flag:"key" short:"k" example:"pk-1" help:"API key; prefer the variable, because everyone on the node can see a flag"`
	SecretKey      Secret            `env:"PREFECT_KEDA_API_KEY" flag:"api-key" example:"pk-2" help:"API key, read from the Secret that PREFECT_KEDA_API_KEY_SECRET names; wins over the variables PREFECT_API_KEY and PREFECT__CLOUD__API_KEY, and keeps the key out of the text of the Jobs"`
	AuthString     Secret            `env:"PREFECT_API_AUTH_STRING" flag:"auth-string" only:"prefect3" example:"admin:pass" help:"user:password of a server of your own; wins over an API key. Prefer the variable, because everyone on the node can see a flag"`
	SecretAuth     Secret            `env:"PREFECT_KEDA_API_AUTH_STRING" flag:"api-auth-string" only:"prefect3" example:"admin:pass2" help:"auth string, read from the Secret that PREFECT_KEDA_API_AUTH_STRING_SECRET names; wins over PREFECT_API_AUTH_STRING, and keeps it out of the text of the Jobs"`
	Headers        Headers           `env:"PREFECT_KEDA_API_HEADERS" env3:"PREFECT_CLIENT_CUSTOM_HEADERS" flag:"api-headers" example:"X-Proxy-Token: t-1" help:"headers for all our requests to the API, for a proxy in front of it: NAME: VALUE, each on a line of its own, or a dict in Python or JSON text. Keep them in a Secret. Authorization replaces the key's. Flows' pods do not send them; in Prefect 3 they do if you set PREFECT_CLIENT_CUSTOM_HEADERS in its place"`
	TenantID       string            `env:"PREFECT__CLOUD__TENANT_ID" flag:"tenant-id" only:"prefect1" example:"3f0b5a3e-0f6c-4f0e-9a55-0d5a1c1f7b11" help:"tenant (a UUID); by default the key's own, or the Server's oldest"`
	RequestTimeout Seconds           `env:"PREFECT__CLOUD__REQUEST_TIMEOUT, default=15" env3:"PREFECT_API_REQUEST_TIMEOUT" flag:"request-timeout" example:"20" help:"time for one request to the API, in seconds or as a duration"`
	CertFile       string            `env:"PREFECT_API_SSL_CERT_FILE" flag:"api-ssl-cert-file" only:"prefect3" example:"/tls/ca.crt" help:"file (PEM) with the CAs to trust for the Prefect API; by default those of the system"`
	SkipVerify     Bool              `env:"PREFECT_API_TLS_INSECURE_SKIP_VERIFY, default=false" flag:"api-tls-insecure-skip-verify" only:"prefect3" example:"true" help:"do not verify the API's certificate; better give PREFECT_API_SSL_CERT_FILE"`
	CSRF           Bool              `env:"PREFECT_CLIENT_CSRF_SUPPORT_ENABLED, default=true" flag:"no-csrf" off:"false" only:"prefect3" example:"false" help:"whether to fetch a CSRF token for a server that asks for one" flaghelp:"do not ask the server for a CSRF token"`
	Announce       Bool              `env:"PREFECT_KEDA_ANNOUNCE, default=true" flag:"no-announce" off:"false" only:"prefect3" example:"false" help:"whether work pools are told that a worker is there, so that the UI shows them as ready; runs start either way" flaghelp:"do not tell work pools that a worker is there"`
	ServerEndpoint location.Location `env:"PREFECT__SERVER__ENDPOINT" flag:"server-endpoint" only:"prefect1" example:"http://prefect:4200" help:"URL of a Prefect Server, used when PREFECT__CLOUD__API is not set"`
	ServerHost     location.Location `env:"PREFECT__SERVER__HOST, default=http://localhost" flag:"server-host" only:"prefect1" example:"http://prefect" help:"first half of PREFECT__SERVER__ENDPOINT"`
	ServerPort     int               `env:"PREFECT__SERVER__PORT, default=4200" flag:"server-port" only:"prefect1" example:"4300" help:"second half of PREFECT__SERVER__ENDPOINT"`
	CloudEndpoint  location.Location `env:"PREFECT__CLOUD__ENDPOINT, default=https://api.prefect.io" flag:"cloud-endpoint" only:"prefect1" example:"https://prefect.example.com" help:"URL of Prefect Cloud, used when PREFECT__CLOUD__API is not set"`
}

// Agent says which runs to launch, and under which name.
type Agent struct {
	Pools         Places  `env:"PREFECT_KEDA_WORK_POOLS" flag:"pool" short:"p" only:"prefect3" example:"['etl', 'ml']" help:"work pools to serve: a,b, or a list in Python or JSON text; by default every work pool of type kubernetes"`
	Queues        Places  `env:"PREFECT_KEDA_WORK_QUEUES" flag:"work-queue" short:"q" only:"prefect3" example:"['high', 'default']" help:"work queues to serve in each of those work pools; by default all"`
	Name          string  `env:"PREFECT__CLOUD__AGENT__NAME, default=agent" env3:"PREFECT_KEDA_WORKER_NAME, default=prefect-keda" flag:"name" short:"n" example:"etl" help:"name shown in the Prefect UI and in the runs' log lines"`
	Labels        Labels  `env:"PREFECT__CLOUD__AGENT__LABELS" flag:"label" short:"l" only:"prefect1" example:"['gpu', 'prod']" help:"labels of the flow runs to launch; a run is taken when all its labels are among these, an unlabelled run only when there are none. A list in Python or JSON text, or a,b; none for nothing, None or null" flaghelp:"label of the flow runs to launch, one each time the flag is given, a comma being part of it; a run is taken when all its labels are among these, an unlabelled run only when there are none. In Prefect 3, -l N is --limit N"`
	AgentConfigID string  `env:"PREFECT_KEDA_AGENT_CONFIG_ID" flag:"agent-config-id" only:"prefect1" example:"8a1d4bb8-6d0f-4a3e-8f60-0a8f0a9c3f10" help:"id of an agent config in Prefect Cloud (a UUID)"`
	MaxPolls      int     `env:"PREFECT_KEDA_MAX_POLLS" flag:"max-polls" alias:"run-once=1" example:"3" help:"leave after so many polls for due runs; 0 for no limit"`
	AgentAddress  Address `env:"PREFECT__CLOUD__AGENT__AGENT_ADDRESS" flag:"agent-address" only:"prefect1" example:"http://:8081" help:"serve the agent's /api/health and /api/poke here; the port is mandatory"`
}

// Jobs are the defaults of the Jobs that flow runs get.
type Jobs struct {
	Namespace          string            `env:"NAMESPACE, default=default" flag:"namespace" example:"flows" help:"namespace of the Jobs"`
	FurtherNamespaces  Names             `env:"PREFECT_KEDA_JOB_NAMESPACES" env3:"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES" flag:"job-namespaces" only:"prefect3" example:"team-a,team-b" help:"further namespaces in which work pools and deployments may have their Jobs, by their variable namespace; each needs the Role"`
	JobTemplate        location.Location `env:"JOB_TEMPLATE" flag:"job-template" only:"prefect1" example:"/etc/prefect-keda/job.yaml" help:"path or URL (http, https, s3, gs) of the Job template for runs that bring none"`
	ServiceAccountName string            `env:"SERVICE_ACCOUNT_NAME" flag:"service-account-name" only:"prefect1" example:"flows" help:"service account of the flows' pods; in Prefect 3 the work pool's variable service_account_name says it"`
	ImagePullSecrets   Names             `env:"IMAGE_PULL_SECRETS" flag:"image-pull-secrets" only:"prefect1" example:"registry,mirror" help:"names of image pull secrets: a,b, or a list in Python or JSON text; in Prefect 3 the work pool's template has them"`
	EnvVars            EnvVars           `env:"PREFECT__CLOUD__AGENT__ENV_VARS" env3:"PREFECT_KEDA_FLOW_ENV" flag:"env" short:"e" example:"{'A': '1'}" help:"variables for every flow run: a dict in Python or JSON text, or A=1,B=2" flaghelp:"variable for every flow run, KEY=VALUE, one each time the flag is given"`
	LoggingLevel       string            `env:"PREFECT__LOGGING__LEVEL, default=INFO" flag:"flow-log-level" only:"prefect1" example:"DEBUG" help:"log level inside the flows' pods; in Prefect 3 they get PREFECT_LOGGING_LEVEL"`
	SendFlowRunLogs    Bool              `env:"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS, default=true" flag:"no-cloud-logs" only:"prefect1" off:"false" example:"false" help:"whether flows send their logs to the API" flaghelp:"do not have flows send their logs to the API"`
	DeleteFinishedJobs ExactlyTrue       `env:"DELETE_FINISHED_JOBS, default=True" flag:"disable-job-deletion" off:"False" example:"False" help:"whether finished Jobs are removed. On only if it is exactly True, as in the agent" flaghelp:"keep finished Jobs"`
	JobTTL             time.Duration     `env:"PREFECT_KEDA_JOB_TTL, default=10m" flag:"job-ttl" example:"1h" help:"how long a finished Job stays before Kubernetes removes it; at least 5m"`
	PodSecurity        PodSecurity       `env:"PREFECT_KEDA_POD_SECURITY" flag:"pod-security" example:"baseline" help:"Pod Security level for flows' pods, checked before Kubernetes is asked: privileged, baseline or restricted; empty for no check. A run whose own template goes beyond it fails, and its log says why; if the launcher's template does, runs wait"`
	APIKeySecret       SecretKey         `env:"PREFECT_KEDA_API_KEY_SECRET" flag:"api-key-secret" example:"prefect-api-key/api-key" help:"NAME/KEY of a Secret in the Jobs' namespace that holds PREFECT_KEDA_API_KEY; pods read it there. PREFECT__CLOUD__API_KEY and PREFECT_API_KEY are text in the Job, as with agent and worker"`
	AuthStringSecret   SecretKey         `env:"PREFECT_KEDA_API_AUTH_STRING_SECRET" flag:"auth-string-secret" only:"prefect3" example:"prefect-auth-string/auth-string" help:"NAME/KEY of a Secret in the Jobs' namespace that holds PREFECT_KEDA_API_AUTH_STRING; pods read it there. PREFECT_API_AUTH_STRING is text in the Job, as with the worker"`
	DefaultImage       string            `env:"PREFECT_KEDA_DEFAULT_IMAGE" flag:"default-image" only:"prefect3" example:"registry.example.com/flows:1" help:"image of flow runs that name none; by default prefecthq/prefect with the server's version"`
	TemplateEnv        Names             `env:"PREFECT_KEDA_TEMPLATE_ENV" flag:"template-env" only:"prefect3" example:"REGION,CLUSTER" help:"names of the launcher's variables that a work pool's template may use as {{ $NAME }}; by default none. A worker lets it use all"`
	TemplateSecrets    TemplateSecrets   `env:"PREFECT_KEDA_TEMPLATE_SECRETS, default=secret" flag:"template-secrets" only:"prefect3" example:"inline" help:"what becomes of secret blocks in a Job's variables: secret puts them into a Secret that goes with the Job, inline writes them into the Job as a worker does, refuse fails the run"`
	WorkersSecrets

	// TemplateValues are the variables that TemplateEnv names and that are set.
	TemplateValues EnvVars
	// PassedOn are the variables that pods get from the process's own environment, as
	// PassedOn finds them.
	PassedOn EnvVars
}

// Launching says how fast a launcher works and how long it stays.
type Launching struct {
	IdleTimeout  time.Duration `env:"PREFECT_KEDA_IDLE_TIMEOUT, default=15m" flag:"idle-timeout" example:"20m" help:"leave when nothing was due for so long; give more than KEDA's cooldown, so that KEDA is first. 0 for never: then only KEDA removes launchers, or nobody, if one is always wanted (minReplicaCount: 1, no KEDA). Not for a ScaledJob: its launchers have to end"`
	PollInterval time.Duration `env:"PREFECT_KEDA_POLL_INTERVAL, default=1s" flag:"poll-interval" example:"2s" help:"time between two polls for due runs"`
	Lookahead    time.Duration `env:"PREFECT_KEDA_LOOKAHEAD, default=10s" env3:"PREFECT_WORKER_PREFETCH_SECONDS" flag:"lookahead" alias:"prefetch-seconds" example:"20s" help:"fetch runs so long before they are due, to start them on time; 0 for not before"`
	Concurrency  int           `env:"PREFECT_KEDA_CONCURRENCY, default=16" flag:"concurrency" alias:"limit" example:"32" help:"flow runs handled at the same time"`
	ClaimGrace   time.Duration `env:"PREFECT_KEDA_CLAIM_GRACE, default=10s" flag:"claim-grace" example:"12s" help:"leave another launcher so much time to create the Job of a run it claimed"`
	DrainTimeout time.Duration `env:"PREFECT_KEDA_DRAIN_TIMEOUT, default=25s" flag:"drain-timeout" example:"40s" help:"time to finish runs in flight after SIGTERM; give less than the pod's grace period"`
}

// Trouble says when something is wrong with a Job. The scaler wakes launchers by these
// settings and launchers act by them, so both need the same values.
type Trouble struct {
	PodGrace       time.Duration `env:"PREFECT_KEDA_POD_GRACE, default=60s" flag:"pod-grace" example:"3m" help:"how long a pod may fail to start (image, node, volume, quota) before the run's log says so, and before the run is failed if waiting does not help"`
	PendingTimeout time.Duration `env:"PREFECT_KEDA_PENDING_TIMEOUT, default=0s" flag:"pending-timeout" example:"30m" help:"fail a run that has waited so long for a node, a volume or a quota; 0 lets it wait"`
	CancelGrace    time.Duration `env:"PREFECT_KEDA_CANCEL_GRACE, default=10m" env3:", default=2m" flag:"cancel-grace" example:"5m" help:"how long a cancelled flow may go on before its Job is stopped and its run set Cancelled; 0 for as long as it likes"`
	FinishedGrace  time.Duration `env:"PREFECT_KEDA_FINISHED_GRACE, default=0s" flag:"finished-grace" example:"10m" help:"how long a flow may go on after its run has finished in Prefect, before its Job is stopped; 0 for as long as it likes. Prefect sometimes fails a run whose flow goes on and succeeds"`
	PodRetries     bool          `env:"PREFECT_KEDA_POD_RETRIES, default=false" flag:"pod-retries" example:"true" help:"fail a run only when Kubernetes has used up the Job's backoffLimit; otherwise the first failed pod fails it, as with the agent"`
}

// Aftermath says what launchers do with Jobs in trouble.
type Aftermath struct {
	KeepFailedJobs bool `env:"PREFECT_KEDA_KEEP_FAILED_JOBS, default=false" flag:"keep-failed-jobs" example:"true" help:"keep failed Jobs and their pods, so that you can look at them; other Jobs still go"`
	LogLines       int  `env:"PREFECT_KEDA_FAILED_LOG_LINES, default=50" env3:"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_FORWARD_CRASHED_RUN_LOGS_TAIL_LINES" flag:"failed-log-lines" example:"200" help:"copy the last so many lines of a failed container into its flow run's log; 0 for none"`
}

// Scaling says what the scaler counts, and how often.
type Scaling struct {
	JobNamespaces     Names             `env:"NAMESPACE, default=default" flag:"namespace" example:"flows,flows-2" help:"namespaces of the Jobs, separated by commas"`
	FurtherNamespaces Names             `env:"PREFECT_KEDA_JOB_NAMESPACES" env3:"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES" flag:"job-namespaces" only:"prefect3" example:"team-a,team-b" help:"further namespaces in which work pools and deployments may have their Jobs, by their variable namespace; each needs the Role"`
	Events            Bool              `env:"PREFECT_KEDA_EVENTS, default=true" flag:"no-events" off:"false" only:"prefect3" example:"false" help:"whether to listen to Prefect's events, which tell of new runs at once and save polls" flaghelp:"do not listen to Prefect's events"`
	PollInterval      time.Duration     `env:"PREFECT_KEDA_POLL_INTERVAL, default=1s" flag:"poll-interval" example:"2s" help:"time between two polls of the Prefect API; each is one request (with Prefect 3 up to four while runs wait), plus one about Jobs every 30s, for any number of ScaledObjects"`
	WarmUpLead        time.Duration     `env:"PREFECT_KEDA_WARM_UP_LEAD, default=10s" flag:"warm-up-lead" example:"30s" help:"wake a launcher so long before a scheduled run is due; 0 for not before"`
	MaxStaleness      time.Duration     `env:"PREFECT_KEDA_MAX_STALENESS, default=2m" flag:"max-staleness" example:"5m" help:"answer KEDA from the last poll for so long while Prefect is away, then with an error"`
	AllowedNamespaces Names             `env:"PREFECT_KEDA_ALLOWED_NAMESPACES, default=*" flag:"allowed-namespaces" example:"prefect-keda,team-a" help:"namespaces whose ScaledObjects may ask about the connection default, separated by commas; * for all. We rely on KEDA for the namespace it asks for, so let only KEDA reach the port"`
	UIURL             location.Location `env:"PREFECT_KEDA_UI_URL" env3:"PREFECT_UI_URL" flag:"ui-url" example:"https://prefect.example.com" help:"URL of Prefect's UI, as a browser reaches it, for links to runs on the scaler's page; with Prefect 1 it ends with the tenant, as in http://host:8080/default. {id} in it stands for the run's id, as in http://host:4200/flow-runs/flow-run/{id} for Prefect 2. By default a Prefect 3 server's own address or Cloud's UI; with Prefect 1 there are no links"`
	Connections       Names             `env:"PREFECT_KEDA_CONNECTIONS" flag:"connections" example:"prod,team-a" help:"names of further Prefect APIs, for the connection key of a ScaledObject. Each NAME reads PREFECT_KEDA_CONNECTION_<NAME>_BACKEND (cloud, server or prefect3), _API_URL (Prefect 3) or _API (Prefect 1), _API_KEY, _API_AUTH_STRING, _API_HEADERS, _TENANT_ID, _UI_URL, _NAMESPACE and _ALLOWED_NAMESPACES (capitals, - as _); the last two are by default those of the connection default"`
}

// Serving is the port for KEDA.
type Serving struct {
	Listen          Address `env:"PREFECT_KEDA_LISTEN, default=:9090" flag:"listen" example:":9091" help:"address of the gRPC server"`
	TLSCertFile     string  `env:"PREFECT_KEDA_TLS_CERT_FILE" flag:"tls-cert-file" example:"/tls/tls.crt" help:"certificate of the gRPC server (PEM); re-read when it changes"`
	TLSKeyFile      string  `env:"PREFECT_KEDA_TLS_KEY_FILE" flag:"tls-key-file" example:"/tls/tls.key" help:"its key (PEM)"`
	TLSClientCAFile string  `env:"PREFECT_KEDA_TLS_CLIENT_CA_FILE" flag:"tls-client-ca-file" example:"/tls/ca.crt" help:"demand client certificates signed by this CA (PEM)"`
	TLSClientNames  Names   `env:"PREFECT_KEDA_TLS_CLIENT_NAMES" flag:"tls-client-names" example:"keda,spiffe://cluster.local/ns/keda/sa/keda-operator" help:"demand one of these names, separated by commas, among the alternative names (DNS or URI) of a client's certificate; by default every certificate of the CA is accepted"`
	Reflection      bool    `env:"PREFECT_KEDA_REFLECTION, default=false" flag:"reflection" example:"true" help:"offer gRPC reflection, for grpcurl"`
}

// Process holds the settings that both processes have.
type Process struct {
	OpsListen Address   `env:"PREFECT_KEDA_OPS_LISTEN, default=:8080" flag:"ops-listen" example:":8082" help:"address of /metrics, /livez, /readyz"`
	LogLevel  Level     `env:"PREFECT__CLOUD__AGENT__LEVEL, default=INFO" env3:"PREFECT_LOGGING_LEVEL" flag:"log-level" example:"DEBUG" help:"our own log level: DEBUG, INFO, WARNING, ERROR or CRITICAL"`
	LogFormat LogFormat `env:"PREFECT_KEDA_LOG_FORMAT, default=auto" flag:"log-format" example:"json" help:"json, text, or auto: text on a terminal"`
}

// Kubernetes says how to reach its API, and in which namespace we run.
type Kubernetes struct {
	Home        string `env:"PREFECT_KEDA_NAMESPACE" flag:"install-namespace" example:"prefect-keda" help:"namespace of the scaler and the launchers; kustomize and install put everything there. By default the pod's own. A pod in another namespace says so and stops"`
	Kubeconfig  string `env:"KUBECONFIG" flag:"kubeconfig" example:"/root/.kube/config" help:"kubeconfig file; by default the pod's own service account, outside a cluster ~/.kube/config"`
	KubeContext string `env:"PREFECT_KEDA_KUBE_CONTEXT" flag:"context" example:"kind" help:"context of the kubeconfig"`
	// By default these two only hold a fault of ours back: far fewer requests are under way at
	// once, and what a busy API server takes is its own to say (API Priority and Fairness).
	KubeQPS   float32 `env:"PREFECT_KEDA_KUBE_QPS, default=1000" flag:"kube-qps" example:"50" help:"requests per second to the Kubernetes API"`
	KubeBurst int     `env:"PREFECT_KEDA_KUBE_BURST, default=2000" flag:"kube-burst" example:"100" help:"requests at once to the Kubernetes API"`
	KeepAlive Bool    `env:"PREFECT__CLOUD__AGENT__KUBERNETES_KEEP_ALIVE, default=false" env3:"PREFECT_INTEGRATIONS_KUBERNETES_WORKER_ADD_TCP_KEEPALIVE" flag:"keep-alive" example:"true" help:"probe idle connections to the Kubernetes API, as the agent did, because some networks drop them silently"`
}

// Connection is a further Prefect API of the scaler. Its variables begin with a prefix of
// their own.
type Connection struct {
	Name              string
	Backend           Backend           `env:"BACKEND, default=cloud"`
	API               location.Location `env:"API"`
	APIURL            location.Location `env:"API_URL"`
	Key               Secret            `env:"API_KEY"`
	AuthString        Secret            `env:"API_AUTH_STRING"`
	TenantID          string            `env:"TENANT_ID"`
	Headers           Headers           `env:"API_HEADERS"`
	UIURL             location.Location `env:"UI_URL"`
	JobNamespaces     Names             `env:"NAMESPACE"`
	AllowedNamespaces Names             `env:"ALLOWED_NAMESPACES"`
}
