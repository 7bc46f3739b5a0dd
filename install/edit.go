package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// manifests are objects that are being changed. They keep the first error, for example
// about a missing field; the changes after it do no harm.
type manifests struct {
	objects []spot
	notes   []string
	err     error
}

// spot is a place in an object.
type spot struct {
	of   *manifests
	node *yaml.Node
}

func (m *manifests) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// note records once what a flag has set.
func (m *manifests) note(flag, place string) {
	if line := fmt.Sprintf("%-24s %s", flag, place); flag != "" && !slices.Contains(m.notes, line) {
		m.notes = append(m.notes, line)
	}
}

func (m *manifests) config() spot {
	i := slices.IndexFunc(m.objects, func(o spot) bool { return o.kind() == "ConfigMap" })
	if i < 0 {
		m.fail(fmt.Errorf("there is no ConfigMap"))
		return spot{m, &yaml.Node{Kind: yaml.MappingNode}}
	}
	return m.objects[i]
}

func (m *manifests) remove(kinds ...string) {
	m.objects = slices.DeleteFunc(m.objects, func(o spot) bool { return slices.Contains(kinds, o.kind()) })
}

func (m *manifests) insert(at int, object any) spot {
	o := spot{m, &yaml.Node{}}
	m.fail(o.node.Encode(object))
	m.objects = slices.Insert(m.objects, at, o)
	return o
}

func (s spot) kind() string { return s.field("kind").node.Value }

func (s spot) container() spot {
	return s.field("spec", "template", "spec", "containers").first()
}

// field goes down a path of keys and adds those that are missing.
func (s spot) field(path ...string) spot {
	for _, key := range path {
		if s.node.Kind == 0 || s.node.Tag == "!!null" {
			*s.node = yaml.Node{Kind: yaml.MappingNode}
		}
		if s.node.Kind != yaml.MappingNode {
			s.of.fail(fmt.Errorf("%s: cannot add %s, because its parent is not a mapping", strings.Join(path, "."), key))
			return spot{s.of, &yaml.Node{}}
		}
		i := s.index(key)
		if i < 0 {
			i = len(s.node.Content)
			s.node.Content = append(s.node.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &yaml.Node{})
		}
		s = spot{s.of, s.node.Content[i+1]}
	}
	return s
}

func (s spot) index(key string) int {
	for i := 0; i+1 < len(s.node.Content); i += 2 {
		if s.node.Content[i].Value == key {
			return i
		}
	}
	return -1
}

func (s spot) first() spot {
	if s.node.Kind != yaml.SequenceNode || len(s.node.Content) == 0 {
		s.of.fail(fmt.Errorf("a list is empty"))
		return spot{s.of, &yaml.Node{}}
	}
	return spot{s.of, s.node.Content[0]}
}

func (s spot) named(list, name string) spot {
	for _, n := range s.field(list).node.Content {
		if item := (spot{s.of, n}); item.field("name").node.Value == name {
			return item
		}
	}
	s.of.fail(fmt.Errorf("%s has no %s", list, name))
	return spot{s.of, &yaml.Node{}}
}

// documents are those of a stream that say anything.
func documents(text []byte) (all []*yaml.Node, err error) {
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var document yaml.Node
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		case len(document.Content) > 0:
			all = append(all, document.Content[0])
		}
	}
}

// set gives a field a value, and the flag as its comment.
func (s spot) set(value any, flag string, path ...string) {
	n := s.field(path...).node
	s.of.fail(n.Encode(value))
	if n.LineComment = ""; flag != "" {
		n.LineComment = "# " + flag
	}
}

func (s spot) add(value any, flag string) {
	if s.node.Kind == 0 {
		*s.node = yaml.Node{Kind: yaml.SequenceNode}
	}
	n := &yaml.Node{}
	s.of.fail(n.Encode(value))
	n.HeadComment = "# " + flag
	s.node.Content = append(s.node.Content, n)
}

func (s spot) drop(key string) {
	if i := s.index(key); i >= 0 {
		s.node.Content = slices.Delete(s.node.Content, i, i+2)
	}
}

// sort orders a mapping by its keys, as kustomize does.
func (s spot) sort() {
	pairs := slices.Collect(slices.Chunk(s.node.Content, 2))
	slices.SortStableFunc(pairs, func(a, b []*yaml.Node) int { return strings.Compare(a[0].Value, b[0].Value) })
	s.node.Content = slices.Concat(pairs...)
}

// contentHash is kustomize's suffix for a ConfigMap, so that both give the same content
// the same name. (Kustomize tries to hash the name too, but does not find it.)
func contentHash(data map[string]string) string {
	text, err := json.Marshal(map[string]any{"kind": "ConfigMap", "name": "", "data": data})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	// Kustomize avoids vowels and digits that look like them, so that no words appear.
	return strings.NewReplacer("0", "g", "1", "h", "3", "k", "a", "m", "e", "t").Replace(hex.EncodeToString(sum[:])[:10])
}
