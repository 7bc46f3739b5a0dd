package job

import "strings"

// Origins says of fields of a Job what set them: a field of the run config or of
// the flow, a variable of the launcher, a template. Keys are paths such as
// spec.template.spec.containers[0].image; a variable is ….env[NAME]. The empty
// path is everything else, which is the template's.
type Origins map[string]string

// Always is the origin of what nobody can change.
const Always = "always"

// Of is the origin of the field at a path: its own, or that of what it is part of.
func (o Origins) Of(path string) string {
	for path != "" {
		if from, ok := o[path]; ok {
			return from
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return o[""]
}
