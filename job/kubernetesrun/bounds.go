package kubernetesrun

import "fmt"

// What a template and a run config may be: far above any Job, and far below what
// hurts a launcher, which renders many at once.
const (
	maxTemplate = 1 << 20
	// maxRunConfig is what etcd takes of a Job, in which most of a run config ends.
	maxRunConfig = 3 << 19
	// maxValues of a template, with its aliases followed, or of a run config. In memory
	// a value takes a hundred times what it takes in a text.
	maxValues = 20_000
	maxDepth  = 100
	// maxMessage to an author, in bytes.
	maxMessage = 4000
)

const lengthAdvice = "have the pod mount what is long in it from a ConfigMap, or bring it in the image"

// checkYAML refuses a text that would become too many values, before it does.
func checkYAML(text []byte) error {
	if len(text) > maxTemplate {
		return fmt.Errorf("is larger than 1 MiB: %s", lengthAdvice)
	}
	if yamlMarks(text) > maxValues {
		return fmt.Errorf("has more than %d commas, colons, dashes, question marks and opening brackets, and no Job needs as many: %s", maxValues, lengthAdvice)
	}
	return nil
}

// yamlMarks counts the characters that may begin or part values. No value but a
// document's first is without one, and none makes more than two. Those in quotes
// count as well: what is quoted only the whole of YAML's grammar tells. A dash
// counts unless it goes on as a word; that holds for UTF-16, too.
func yamlMarks(text []byte) int {
	marks := 0
	for i, c := range text {
		switch c {
		case ',', ':', '?', '[', '{':
			marks++
		case '-':
			if i+1 == len(text) || !isWord(text[i+1]) {
				marks++
			}
		}
	}
	return marks
}

func isWord(c byte) bool {
	return c == '-' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// checkRunConfig does for a run config, and an inline template that is an object,
// what checkYAML does for a text.
func checkRunConfig(raw []byte) error {
	if len(raw) > maxRunConfig {
		return authorError("the run_config is larger than 1.5 MiB, and Kubernetes takes no such Job: %s", lengthAdvice)
	}
	values, depth, quoted := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ',', c == ':':
			values++
		case c == '[', c == '{':
			values++
			depth++
		case c == ']', c == '}':
			depth--
		}
		if values > maxValues {
			return authorError("the run_config has more than %d values, and no Job needs as many: %s", maxValues, lengthAdvice)
		}
		if depth > maxDepth {
			return authorError("the run_config is nested more than %d deep, and no Job is", maxDepth)
		}
	}
	return nil
}
