package main

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/prefect-keda/prefect-keda/job"
)

// annotated is YAML with a comment at each value that says where it is from.
func annotated(text []byte, from job.Origins) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if len(document.Content) == 1 {
		annotate(document.Content[0], nil, "", from)
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(&document); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

// annotate goes down to the values. A comment beside a text of several lines
// would be part of it, so it goes above its key.
func annotate(node, key *yaml.Node, path string, from job.Origins) {
	switch {
	case node.Kind == yaml.MappingNode && len(node.Content) > 0:
		for i := 0; i < len(node.Content); i += 2 {
			name := node.Content[i]
			annotate(node.Content[i+1], name, strings.TrimPrefix(path+"."+name.Value, "."), from)
		}
	case node.Kind == yaml.SequenceNode && len(node.Content) > 0:
		for i, item := range node.Content {
			if name := nameOf(item); name != nil && strings.HasSuffix(path, ".env") {
				name.LineComment = from.Of(path + "[" + name.Value + "]") // its value is from there too
				continue
			}
			annotate(item, key, fmt.Sprintf("%s[%d]", path, i), from)
		}
	case strings.Contains(node.Value, "\n"):
		if key != nil {
			key.HeadComment = from.Of(path)
		}
	default:
		node.LineComment = from.Of(path)
	}
}

func nameOf(node *yaml.Node) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == "name" {
			return node.Content[i+1]
		}
	}
	return nil
}
