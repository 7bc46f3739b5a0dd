package install

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// manifests are objects under change. The first thing that is not where it is
// expected is kept as the error, and all that follows does nothing.
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

// note says once where a flag went.
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

func (m *manifests) insert(at int, text string) spot {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		m.fail(err)
		return spot{m, &yaml.Node{Kind: yaml.MappingNode}}
	}
	o := spot{m, document.Content[0]}
	m.objects = slices.Insert(m.objects, at, o)
	return o
}

func (s spot) kind() string { return s.field("kind").node.Value }

func (s spot) container() spot {
	return s.field("spec", "template", "spec", "containers").item(0)
}

// field goes down a path of keys. What is not there comes to be.
func (s spot) field(path ...string) spot {
	for _, key := range path {
		if s.node.Kind == 0 || s.node.Tag == "!!null" {
			*s.node = yaml.Node{Kind: yaml.MappingNode}
		}
		if s.node.Kind != yaml.MappingNode {
			s.of.fail(fmt.Errorf("%s: %s is beneath something that has no fields", strings.Join(path, "."), key))
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

func (s spot) item(i int) spot {
	if s.node.Kind != yaml.SequenceNode || i >= len(s.node.Content) {
		s.of.fail(fmt.Errorf("a list has no item %d", i))
		return spot{s.of, &yaml.Node{}}
	}
	return spot{s.of, s.node.Content[i]}
}

// named is the item of a list that has a name.
func (s spot) named(list, name string) spot {
	for _, n := range s.field(list).node.Content {
		if item := (spot{s.of, n}); item.field("name").node.Value == name {
			return item
		}
	}
	s.of.fail(fmt.Errorf("%s has no %s", list, name))
	return spot{s.of, &yaml.Node{}}
}

// set gives a field a value, and the flag as its comment.
func (s spot) set(value any, flag string, path ...string) {
	n := s.field(path...).node
	s.of.fail(n.Encode(value))
	if n.LineComment = ""; flag != "" {
		n.LineComment = "# " + flag
	}
}

// add appends to a list.
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

// contentHash is kustomize's suffix for a ConfigMap, so that both give one
// content one name. (It means to hash the name too, and looks for it in vain.)
func contentHash(data map[string]string) string {
	text, err := json.Marshal(map[string]any{"kind": "ConfigMap", "name": "", "data": data})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	// Without vowels and what looks like them, so that it spells nothing.
	return strings.NewReplacer("0", "g", "1", "h", "3", "k", "a", "m", "e", "t").Replace(hex.EncodeToString(sum[:])[:10])
}
