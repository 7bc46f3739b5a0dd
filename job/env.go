package job

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// environment is container 0's env (prefect1-spec §4.3). Precedence: what Prefect
// forces, the run config's, the launcher's, the logging default, and the
// template's last, kept verbatim when nothing else names the variable.
func environment(run prefect.FlowRun, s Settings, rc RunConfig, image string, template []corev1.EnvVar) []corev1.EnvVar {
	var env ordered
	level := s.LoggingLevel
	if level == "" {
		level = "INFO"
	}
	env.set("PREFECT__LOGGING__LEVEL", level)
	for _, v := range slices.Concat(s.Env, rc.Env) {
		env.set(v.Name, v.Value)
	}
	const sendLogs = "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS"
	switch user, ok := env.get(sendLogs); {
	case !s.SendFlowRunLogs:
		env.set(sendLogs, "false")
	case !ok || user == "":
		env.set(sendLogs, "true")
	}
	tenant := s.TenantID
	if s.APIKey == "" && s.APIKeySecret == nil {
		tenant = ""
	}
	env.set("PREFECT__BACKEND", s.Backend)
	env.set("PREFECT__CLOUD__AGENT__LABELS", pythonList(s.Labels))
	env.set("PREFECT__CLOUD__API", s.API)
	env.setKey("PREFECT__CLOUD__API_KEY", s)
	env.set("PREFECT__CLOUD__TENANT_ID", tenant)
	env.set("PREFECT__CLOUD__USE_LOCAL_SECRETS", "false")
	env.set("PREFECT__CONTEXT__FLOW_RUN_ID", run.ID)
	env.set("PREFECT__CONTEXT__FLOW_ID", run.Flow.ID)
	env.set("PREFECT__CONTEXT__IMAGE", image)
	env.set("PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS", "prefect.engine.cloud.CloudFlowRunner")
	env.set("PREFECT__LOGGING__LOG_TO_CLOUD", strconv.FormatBool(s.SendFlowRunLogs)) // for cores before 0.15
	env.setKey("PREFECT__CLOUD__AUTH_TOKEN", s)                                      // for cores before 1.0
	for _, v := range template {
		if _, ok := env.get(v.Name); !ok {
			env = append(env, v)
		}
	}
	return env
}

// ordered keeps the position a variable was first given, like a Python dict.
type ordered []corev1.EnvVar

func (o ordered) index(name string) int {
	return slices.IndexFunc(o, func(v corev1.EnvVar) bool { return v.Name == name })
}

func (o ordered) get(name string) (string, bool) {
	if i := o.index(name); i >= 0 {
		return o[i].Value, true
	}
	return "", false
}

func (o *ordered) set(name, value string) { o.put(corev1.EnvVar{Name: name, Value: value}) }

func (o *ordered) put(v corev1.EnvVar) {
	if i := o.index(v.Name); i >= 0 {
		(*o)[i] = v
		return
	}
	*o = append(*o, v)
}

// setKey gives the API key by reference where we can: a Job is readable by many.
func (o *ordered) setKey(name string, s Settings) {
	if s.APIKeySecret == nil {
		o.set(name, s.APIKey)
		return
	}
	o.put(corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: s.APIKeySecret.Name}, Key: s.APIKeySecret.Key,
	}}})
}

// pythonList spells labels as Python prints a list of strings.
func pythonList(labels []string) string {
	quoted := make([]string, len(labels))
	for i, l := range labels {
		quoted[i] = pythonString(l)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func pythonString(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	s = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s)
	if quote == "'" {
		s = strings.ReplaceAll(s, "'", `\'`)
	}
	return quote + s + quote
}
