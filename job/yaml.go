package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxValues is far above any Job, and bounds what a few aliases can grow to.
const maxValues = 100_000

// yamlToJSON reads the one document of a text as the agent's reader did, which was
// PyYAML's safe loader: YAML 1.1, where yes is true and 010 is eight, and keys of
// any type. What it took without a word and nobody means is an error: a key given
// twice. A key that overrides what << merges in is not.
func yamlToJSON(text []byte) ([]byte, error) {
	documents, err := yamlDocuments(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("is not valid YAML: %w", err)
	case len(documents) == 0:
		return nil, errEmpty
	case len(documents) > 1:
		return nil, fmt.Errorf("holds %d YAML documents: keep one, a Kubernetes Job", len(documents))
	}
	tree, err := (&composer{within: map[*yaml.Node]bool{}}).value(documents[0])
	if err != nil {
		return nil, fmt.Errorf("is not valid YAML: %w", err)
	}
	return json.Marshal(tree)
}

var errEmpty = errors.New("is empty: it must hold one Kubernetes Job")

// yamlDocuments are those of a text that say anything.
func yamlDocuments(text []byte) ([]*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var documents []*yaml.Node
	for {
		document := &yaml.Node{}
		err := decoder.Decode(document)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if root := document.Content[0]; root.Kind != yaml.ScalarNode || !isNull(root) {
			documents = append(documents, root)
		}
	}
}

// composer makes JSON's values of YAML's nodes.
type composer struct {
	values int
	within map[*yaml.Node]bool // being made
}

func (c *composer) value(n *yaml.Node) (any, error) {
	if c.values++; c.values > maxValues {
		return nil, fmt.Errorf("it has more than %d values when its aliases are followed", maxValues)
	}
	if c.within[n] {
		return nil, fmt.Errorf("line %d: it contains itself", n.Line)
	}
	c.within[n] = true
	defer delete(c.within, n)
	switch n.Kind {
	case yaml.AliasNode:
		return c.value(n.Alias)
	case yaml.ScalarNode:
		return scalar(n)
	case yaml.SequenceNode:
		if err := plainTag(n, "!!seq"); err != nil {
			return nil, err
		}
		list := make([]any, len(n.Content))
		for i, element := range n.Content {
			var err error
			if list[i], err = c.value(element); err != nil {
				return nil, err
			}
		}
		return list, nil
	case yaml.MappingNode:
		if err := plainTag(n, "!!map"); err != nil {
			return nil, err
		}
		return c.object(n)
	}
	return nil, fmt.Errorf("line %d: this is no value", n.Line)
}

// plainTag refuses tags that change what a collection is.
func plainTag(n *yaml.Node, tag string) error {
	if t := n.ShortTag(); t != tag && t != "!" {
		return fmt.Errorf("line %d: nothing is known of the tag %s", n.Line, t)
	}
	return nil
}

// object is a mapping: its own keys, and what it merges where it has no key of its own.
func (c *composer) object(n *yaml.Node) (map[string]any, error) {
	object := make(map[string]any, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if isMerge(name) {
			merged = append(merged, value)
			continue
		}
		key, err := c.key(name)
		if err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("line %d: key %q is given twice", name.Line, key)
		}
		if object[key], err = c.value(value); err != nil {
			return nil, err
		}
	}
	for _, m := range merged {
		if err := c.merge(object, m, true); err != nil {
			return nil, err
		}
	}
	return object, nil
}

// merge adds the keys of a mapping, or of each in a list, that are not there.
func (c *composer) merge(into map[string]any, n *yaml.Node, listed bool) error {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.SequenceNode && listed {
		for _, element := range n.Content {
			if err := c.merge(into, element, false); err != nil {
				return err
			}
		}
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: << takes a mapping or a list of mappings", n.Line)
	}
	from, err := c.value(n)
	if err != nil {
		return err
	}
	for key, value := range from.(map[string]any) {
		if _, own := into[key]; !own {
			into[key] = value
		}
	}
	return nil
}

// key is spelled as JSON spells a key of another type, and the agent with it.
func (c *composer) key(n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("line %d: a list or a mapping is no key", n.Line)
	}
	value, err := scalar(n)
	if err != nil {
		return "", err
	}
	if text, ok := value.(string); ok {
		return text, nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}
