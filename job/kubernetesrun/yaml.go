package kubernetesrun

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlToJSON reads the one document of a text as the agent's reader did, which was
// PyYAML's safe loader: YAML 1.1, where yes is true and 010 is eight, and keys of
// any type. What it took without a word and nobody means is an error: a key given
// twice. A key that overrides what << merges in is not.
func yamlToJSON(text []byte) ([]byte, error) {
	if err := checkYAML(text); err != nil {
		return nil, err
	}
	document, count, err := yamlDocument(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("is not valid YAML: %w", err)
	case count == 0:
		return nil, errEmpty
	case count > 1:
		return nil, fmt.Errorf("holds %d YAML documents: keep one, a Kubernetes Job", count)
	}
	tree, err := (&composer{within: map[*yaml.Node]bool{}}).value(document)
	if err != nil {
		return nil, fmt.Errorf("is not valid YAML: %w", err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // one character would become six
	err = encoder.Encode(tree)
	return bytes.TrimSpace(out.Bytes()), err
}

var errEmpty = errors.New("is empty: it must hold one Kubernetes Job")

// yamlDocument is the first document of a text that says anything, and how many do.
func yamlDocument(text []byte) (first *yaml.Node, count int, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		document := &yaml.Node{}
		err := decoder.Decode(document)
		if errors.Is(err, io.EOF) {
			return first, count, nil
		}
		if err != nil {
			return nil, 0, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if root := document.Content[0]; root.Kind != yaml.ScalarNode || !isNull(root) {
			if count++; count == 1 {
				first = root
			}
		}
	}
}

// isBlank: a text that says nothing.
func isBlank(text []byte) bool {
	if checkYAML(text) != nil {
		return false
	}
	_, count, err := yamlDocument(text)
	return err == nil && count == 0
}

// composer makes JSON's values of YAML's nodes. A few aliases make much of little, so
// what it makes is bounded again.
type composer struct {
	values int
	bytes  int
	within map[*yaml.Node]bool // being made
}

func (c *composer) value(n *yaml.Node) (any, error) {
	c.values++
	c.bytes += len(n.Value)
	switch {
	case c.values > maxValues:
		return nil, fmt.Errorf("it has more than %d values when its aliases are followed", maxValues)
	case c.bytes > maxTemplate:
		return nil, errors.New("it is larger than 1 MiB when its aliases are followed")
	case c.within[n]:
		return nil, fmt.Errorf("line %d: it contains itself", n.Line)
	case len(c.within) >= maxDepth:
		return nil, fmt.Errorf("line %d: it is nested more than %d deep, and no Job is", n.Line, maxDepth)
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
	c.bytes += len(n.Value)
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
