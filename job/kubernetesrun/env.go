package kubernetesrun

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/literal"
)

// environment is container 0's env (prefect1 §4.3). Precedence: what Prefect
// forces, the run config's, the launcher's, the logging default, and the
// template's last, kept verbatim when nothing else names the variable.
func environment(runID, flowID string, s Settings, rc runConfig, image string, template []corev1.EnvVar, from job.Origins) []corev1.EnvVar {
	env := ordered{from: from}
	env.set("PREFECT__LOGGING__LEVEL", cmp.Or(s.LoggingLevel, "INFO"), "PREFECT__LOGGING__LEVEL of the launcher")
	for _, v := range s.Env {
		env.set(v.Name, v.Value, "PREFECT__CLOUD__AGENT__ENV_VARS")
	}
	for _, v := range rc.Env {
		env.set(v.Name, v.Value, "run_config.env")
	}
	const sendLogs, sendLogsFrom = "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS of the launcher"
	switch {
	case !s.SendFlowRunLogs:
		env.set(sendLogs, "false", sendLogsFrom)
	case env.index(sendLogs) < 0:
		env.set(sendLogs, "true", sendLogsFrom)
	}
	tenant := s.TenantID
	if !s.hasKey() {
		tenant = ""
	}
	const own = "the launcher's own"
	env.set("PREFECT__BACKEND", s.Backend, own)
	env.set("PREFECT__CLOUD__AGENT__LABELS", pythonList(s.Labels), own)
	env.set("PREFECT__CLOUD__API", s.API, own)
	env.setKey("PREFECT__CLOUD__API_KEY", s)
	env.set("PREFECT__CLOUD__TENANT_ID", tenant, own)
	env.set("PREFECT__CLOUD__USE_LOCAL_SECRETS", "false", job.Always)
	env.set(runVariable, runID, "the flow run")
	env.set("PREFECT__CONTEXT__FLOW_ID", flowID, "the flow run")
	env.set("PREFECT__CONTEXT__IMAGE", image, "the container's image")
	env.set("PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS", "prefect.engine.cloud.CloudFlowRunner", job.Always)
	env.set("PREFECT__LOGGING__LOG_TO_CLOUD", strconv.FormatBool(s.SendFlowRunLogs), sendLogsFrom+", for cores before 0.15")
	env.setKey("PREFECT__CLOUD__AUTH_TOKEN", s) // for cores before 1.0
	ours := len(env.vars)
	for _, v := range template {
		// Of two of the template's own the last counts, as Kubernetes has it.
		if i := env.index(v.Name); i < 0 || i >= ours {
			env.vars = append(env.vars, v)
		}
	}
	return env.vars
}

// ordered keeps the position a variable was first given, like a Python dict.
type ordered struct {
	vars []corev1.EnvVar
	from job.Origins
}

func (o *ordered) index(name string) int {
	return slices.IndexFunc(o.vars, func(v corev1.EnvVar) bool { return v.Name == name })
}

func (o *ordered) set(name, value, from string) {
	o.put(corev1.EnvVar{Name: name, Value: value}, from)
}

func (o *ordered) put(v corev1.EnvVar, from string) {
	o.from[containerPath+"env["+v.Name+"]"] = from
	if i := o.index(v.Name); i >= 0 {
		o.vars[i] = v
		return
	}
	o.vars = append(o.vars, v)
}

// setKey gives the API key by reference where we can: a Job is readable by many.
func (o *ordered) setKey(name string, s Settings) {
	if s.APIKeySecret == nil {
		o.set(name, s.APIKey, "the launcher's own")
		return
	}
	o.put(corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: s.APIKeySecret.DeepCopy()}}, "PREFECT_KEDA_API_KEY_SECRET")
}

// pythonList spells labels as Python prints a list of strings.
func pythonList(labels []string) string {
	quoted := make([]string, len(labels))
	for i, l := range labels {
		quoted[i] = literal.Quote(l)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
