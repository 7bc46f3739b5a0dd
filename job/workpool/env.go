package workpool

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
)

const (
	// RunVariable tells the flow's container its run.
	RunVariable = "PREFECT__FLOW_RUN_ID"
	// onTerm says what a run does when its pod is being ended.
	onTerm = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"
)

// variable is an entry of a container's env.
func variable(name string, v *value) *value {
	o := newObject()
	o.set("name", &value{data: name, from: v.from})
	o.set("value", &value{data: str(v), from: v.from, secret: v.hasSecret()})
	return &value{data: o, from: v.from}
}

// environment makes the env of the flow's container (prefect3 §3.6): the launcher's
// variables, over them the author's, what SIGTERM does, and at last those of the container's
// own list that nothing else sets.
func (r *rendering) environment() error {
	all := newObject()
	if err := r.ours(all); err != nil {
		return err
	}
	if err := r.authors(all); err != nil {
		return err
	}
	r.onTerm(all)
	var env []*value
	for _, v := range all.all() {
		env = append(env, v)
	}
	literal, _ := r.manifest.container.get("env").list()
	for _, v := range literal {
		entry, _ := v.object()
		if name, _ := entry.get("name").text(); !all.has(name) && name != RunVariable {
			env = append(env, v)
		}
	}
	r.manifest.env = env
	r.manifest.container.set("env", &value{data: env, from: r.inputs.templateFrom})
	return nil
}

// authors puts what pool, deployment and run set over the launcher's variables. A null
// takes a variable away.
func (r *rendering) authors(all *object) error {
	given := r.config.env
	if variables, ok := given.object(); ok {
		for name, v := range variables.all() {
			r.setVariable(all, name, v)
		}
		return nil
	}
	items, ok := given.list()
	if !ok && !given.isNull() && given.data != "" {
		return authorError("env, which is from %s, is %s: it must be an object of names and values, or a list of variables as a container has it", given.from, given.kind())
	}
	references := newObject()
	for i, item := range items {
		entry, _ := item.object()
		name, _ := entry.get("name").text()
		switch {
		case name == "":
			return authorError("env[%d], which is from %s, has no name: give it one", i, item.from)
		case !entry.get("valueFrom").isNull():
			references.set(name, item.withoutNulls())
		default:
			r.setVariable(all, name, entry.get("value"))
		}
	}
	// The worker keeps its own value, too, of which Kubernetes takes the last.
	for name, v := range references.all() {
		if name != RunVariable {
			all.remove(name)
			all.set(name, v)
		}
	}
	return nil
}

func (r *rendering) setVariable(all *object, name string, v *value) {
	switch {
	case name == RunVariable:
		r.warn("%s in env is the flow run's, always", name)
	case v.isNull():
		all.remove(name)
	default:
		all.set(name, variable(name, v))
	}
}

// ours are the launcher's variables: where Prefect is, which run it is, and what is set for
// all runs. Secrets go by reference where we can: a Job is readable by many.
func (r *rendering) ours(all *object) error {
	s, in := r.settings, r.inputs
	text := func(name, text, from string) {
		if text != "" {
			all.set(name, variable(name, &value{data: text, from: from}))
		}
	}
	reference := func(name string, of *corev1.SecretKeySelector, plain, from string) error {
		if of == nil {
			text(name, plain, name+" of the launcher")
			return nil
		}
		return put(all, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: of}}, from)
	}
	text("PREFECT_API_URL", s.APIURL, "PREFECT_API_URL of the launcher")
	if err := reference("PREFECT_API_KEY", s.APIKeySecret, s.APIKey, "the launcher's Secret for the API key"); err != nil {
		return err
	}
	if err := reference("PREFECT_API_AUTH_STRING", s.AuthStringSecret, s.AuthString, "the launcher's Secret for the auth string"); err != nil {
		return err
	}
	for _, v := range s.Env {
		if err := put(all, v, "PREFECT_KEDA_FLOW_ENV"); err != nil {
			return err
		}
	}
	text(RunVariable, r.run.ID, "the flow run")
	text("PREFECT__WORKER_NAME", s.WorkerName, "the launcher")
	text("PREFECT__FLOW_ID", in.flow.ID, "the flow")
	text("PREFECT__FLOW_NAME", in.flow.Name, "the flow")
	text("PREFECT__DEPLOYMENT_ID", in.deployment.ID, "the deployment")
	text("PREFECT__DEPLOYMENT_NAME", in.deployment.Name, "the deployment")
	return nil
}

// put sets a variable as Kubernetes spells it.
func put(all *object, v corev1.EnvVar, from string) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the launcher's variable %s: %w", v.Name, err)
	}
	entry, err := decode(raw, from)
	if err != nil {
		return fmt.Errorf("the launcher's variable %s %w", v.Name, err)
	}
	all.set(v.Name, entry)
	return nil
}

// onTerm has a run start again when its pod is being ended, by Prefect or by Kubernetes: both
// would start it twice. Kubernetes does it if there is a back-off limit. An author who sets
// the variable to nothing has not decided.
func (r *rendering) onTerm(all *object) {
	spec, _ := r.manifest.root.get("spec").object()
	behaviour, from := "relinquish", job.Always+" with a back-off limit other than 0"
	if spec.get("backoffLimit").isZero() {
		given, _ := all.get(onTerm).object()
		if text, plain := given.get("value").text(); all.has(onTerm) && (!plain || text != "") {
			return
		}
		behaviour, from = "reschedule", "the Job's back-off limit of 0"
	}
	all.set(onTerm, variable(onTerm, &value{data: behaviour, from: from}))
}
