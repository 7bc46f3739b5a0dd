package workpool

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

// defaultTemplate is the base job template that a pool has which was made with none, and that
// a worker would store there (prefect3 §3.4).
//
//go:embed default-template.json
var defaultTemplate []byte

// named is what the flow run, its flow, its deployment and its work pool have in common.
type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// inputs are a run's objects, decoded as far as its Job needs them.
type inputs struct {
	run, flow           named
	deployment          deployment
	flowRunRow, flowRow json.RawMessage
	serverVersion       string

	runVariables *object
	pool
}

// deployment is a run's; there need not be any.
type deployment struct {
	named
	is        bool
	updated   string
	variables *object
}

// pool is a work pool with its base job template. Many runs share it, so nobody changes it.
type pool struct {
	poolIs named
	// templateFrom says in words whose the base job template is.
	templateFrom string
	// configuration and defaults are the base job template's.
	configuration, defaults *object
}

// library are the objects of the API that many runs share, decoded.
type library struct {
	pools       job.Kept[pool]
	deployments job.Kept[deployment]
	flows       job.Kept[named]
}

func open(of recipe.Inputs, shared *library) (inputs, error) {
	in := inputs{serverVersion: of.ServerVersion, flowRunRow: of.FlowRun, flowRow: of.Flow}
	var row struct {
		named
		JobVariables json.RawMessage `json:"job_variables"`
	}
	if err := unmarshal(of.FlowRun, "flow run", &row); err != nil {
		return in, err
	}
	in.run = row.named
	var err error
	if in.runVariables, err = jobVariables(row.JobVariables, "the flow run"); err != nil {
		return in, err
	}
	if in.flow, err = shared.flows.Open(of.Flow, openFlow); err != nil {
		return in, err
	}
	if in.deployment, err = shared.deployments.Open(of.Deployment, openDeployment); err != nil {
		return in, err
	}
	in.pool, err = shared.pools.Open(of.WorkPool, openPool)
	return in, err
}

func openPool(raw []byte) (p pool, err error) {
	var row struct {
		named
		Template json.RawMessage `json:"base_job_template"`
	}
	if err := unmarshal(raw, "work pool", &row); err != nil {
		return p, err
	}
	p.poolIs = row.named
	return p, p.openTemplate(row.Template)
}

// unmarshal reads a row of the API, which is no author's work.
func unmarshal(raw json.RawMessage, what string, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the %s in the API's answer does not parse: %w", what, err)
	}
	return nil
}

func isGiven(raw json.RawMessage) bool {
	return len(raw) > 0 && string(bytes.TrimSpace(raw)) != "null"
}

func openFlow(raw []byte) (flow named, err error) {
	return flow, unmarshal(raw, "flow", &flow)
}

func openDeployment(raw []byte) (deployment, error) {
	d := deployment{variables: newObject()}
	if !isGiven(raw) {
		return d, nil
	}
	var row struct {
		named
		Updated      string          `json:"updated"`
		JobVariables json.RawMessage `json:"job_variables"`
		// InfraOverrides is the name of the same in Prefect 2 (prefect3 §7.3).
		InfraOverrides json.RawMessage `json:"infra_overrides"`
	}
	if err := unmarshal(raw, "deployment", &row); err != nil {
		return d, err
	}
	d.named, d.is, d.updated = row.named, true, row.Updated
	of := row.JobVariables
	if !isGiven(of) {
		of = row.InfraOverrides
	}
	var err error
	d.variables, err = jobVariables(of, "the deployment")
	return d, err
}

// jobVariables knows of each variable whose it is.
func jobVariables(raw json.RawMessage, of string) (*object, error) {
	all := newObject()
	if !isGiven(raw) {
		return all, nil
	}
	v, err := decode(raw, "job_variables of "+of)
	if err != nil {
		return nil, authorError("job_variables of %s %v", of, err)
	}
	given, ok := v.object()
	if !ok {
		return nil, authorError("job_variables of %s is %s: it must be an object", of, v.kind())
	}
	for name, v := range given.all() {
		all.set(name, v.stamped(fmt.Sprintf("job_variables.%s of %s", name, of), false))
	}
	return all, nil
}

const (
	ofTemplate = "the work pool's base job template"
	ofBuiltin  = "prefect-keda's default base job template"
)

func (p *pool) openTemplate(raw json.RawMessage) error {
	from := ofTemplate
	template, err := decode(raw, from)
	if !isGiven(raw) || err == nil && template.isEmpty() {
		from = ofBuiltin
		template, err = decode(defaultTemplate, from)
	}
	if err != nil {
		return authorError("%s %v", from, err)
	}
	p.templateFrom = from
	parts, ok := template.object()
	if !ok {
		return authorError("%s is %s: it must be an object with job_configuration and variables", from, template.kind())
	}
	if p.configuration, ok = parts.get("job_configuration").object(); !ok {
		return authorError("%s has no object job_configuration: give it one, or reset the template of the work pool", from)
	}
	schema, ok := parts.get("variables").object()
	if !ok && !parts.get("variables").isNull() {
		return authorError("variables in %s is %s: it must be an object", from, parts.get("variables").kind())
	}
	p.defaults = newObject()
	properties, _ := schema.get("properties").object()
	for name, property := range properties.all() {
		fields, _ := property.object()
		if v := fields.get("default"); !v.isNull() {
			p.defaults.set(name, v.stamped(defaultOf(name, from), false))
		}
	}
	return nil
}

func defaultOf(name, template string) string {
	return fmt.Sprintf("the default of %s in %s", name, template)
}

// isUntouched reports whether a value is the one that the schema of a new pool has, which
// nobody has chosen.
func isUntouched(v *value) bool {
	text, _ := v.text()
	return text == "default" && (v.from == defaultOf("namespace", ofTemplate) || v.from == defaultOf("namespace", ofBuiltin))
}

func authorError(format string, args ...any) error {
	return &prefect.AuthorError{Message: job.Shortened(fmt.Sprintf(format, args...), maxMessage)}
}
