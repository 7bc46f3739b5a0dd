package fake

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
)

// asOld writes an answer as an older server does (prefect3 §7.3).
func (a *API) asOld(text []byte) []byte {
	if a.version.since(withPrefect3) {
		return text
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v any
	if decoder.Decode(&v) != nil {
		return text
	}
	// Prefect 2 spells the zone in numbers.
	return regexp.MustCompile(`"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?)Z"`).ReplaceAll(encode(prefect2(v)), []byte(`"$1+00:00"`))
}

// prefect2 leaves out what Prefect 2 does not have, and names what it names otherwise.
func prefect2(v any) any {
	switch v := v.(type) {
	case map[string]any:
		_, isDeployment := v["pull_steps"]
		for name, inner := range v {
			switch {
			case slices.Contains([]string{
				"labels", "active_slots", "storage_configuration", "deployment_concurrency_lease_id", "global_concurrency_limit",
				"concurrency_options", "deployment_version",
			}, name):
				delete(v, name)
			case !slices.Contains([]string{"base_job_template", "job_variables", "parameters", "context", "data", "payload"}, name):
				v[name] = prefect2(inner)
			}
		}
		if isDeployment {
			v["infra_overrides"] = v["job_variables"]
			delete(v, "job_variables")
			delete(v, "work_queue_id")
		}
	case []any:
		for i := range v {
			v[i] = prefect2(v[i])
		}
	}
	return v
}
