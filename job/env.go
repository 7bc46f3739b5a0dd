package job

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// RunVariable tells the flow's container its run, and others which container that
// is.
const RunVariable = "PREFECT__CONTEXT__FLOW_RUN_ID"

// environment is container 0's env (prefect1-spec §4.3). Precedence: what Prefect
// forces, the run config's, the launcher's, the logging default, and the
// template's last, kept verbatim when nothing else names the variable.
func environment(run prefect.FlowRun, s Settings, rc RunConfig, image string, template []corev1.EnvVar, from Origins) []corev1.EnvVar {
	env := ordered{from: from}
	level := s.LoggingLevel
	if level == "" {
		level = "INFO"
	}
	env.set("PREFECT__LOGGING__LEVEL", level, "PREFECT__LOGGING__LEVEL of the launcher")
	for _, v := range s.Env {
		env.set(v.Name, v.Value, "PREFECT__CLOUD__AGENT__ENV_VARS")
	}
	for _, v := range rc.Env {
		env.set(v.Name, v.Value, "run_config.env")
	}
	const sendLogs, sendLogsFrom = "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS", "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS of the launcher"
	switch _, ok := env.get(sendLogs); {
	case !s.SendFlowRunLogs:
		env.set(sendLogs, "false", sendLogsFrom)
	case !ok:
		env.set(sendLogs, "true", sendLogsFrom)
	}
	tenant := s.TenantID
	if !s.hasKey() {
		tenant = ""
	}
	for _, own := range []struct{ name, value string }{
		{"PREFECT__BACKEND", s.Backend},
		{"PREFECT__CLOUD__AGENT__LABELS", pythonList(s.Labels)},
		{"PREFECT__CLOUD__API", s.API},
	} {
		env.set(own.name, own.value, "the launcher's own")
	}
	env.setKey("PREFECT__CLOUD__API_KEY", s)
	env.set("PREFECT__CLOUD__TENANT_ID", tenant, "the launcher's own")
	env.set("PREFECT__CLOUD__USE_LOCAL_SECRETS", "false", always)
	env.set(RunVariable, run.ID, "the flow run")
	env.set("PREFECT__CONTEXT__FLOW_ID", run.Flow.ID, "the flow run")
	env.set("PREFECT__CONTEXT__IMAGE", image, "the container's image")
	env.set("PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS", "prefect.engine.cloud.CloudFlowRunner", always)
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
	from Origins
}

func (o *ordered) index(name string) int {
	return slices.IndexFunc(o.vars, func(v corev1.EnvVar) bool { return v.Name == name })
}

func (o *ordered) get(name string) (string, bool) {
	if i := o.index(name); i >= 0 {
		return o.vars[i].Value, true
	}
	return "", false
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
	o.put(corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: s.APIKeySecret.Name}, Key: s.APIKeySecret.Key,
	}}}, "PREFECT_KEDA_API_KEY_SECRET")
}

// pythonList spells labels as Python prints a list of strings.
func pythonList(labels []string) string {
	quoted := make([]string, len(labels))
	for i, l := range labels {
		quoted[i] = pythonString(l)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// pythonString is repr().
func pythonString(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\' || string(r) == quote:
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return quote + b.String() + quote
}
