package workpool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
)

// What may come from outside: far above any Job, and far below what hurts a launcher, which
// renders many at once.
const (
	// maxText of one object of the API, and of all that placeholders bring: etcd takes no
	// larger Job.
	maxText = 3 << 19
	// maxValues of one object of the API. In memory a value takes a hundred times what it
	// takes in a text.
	maxValues = 20_000
	maxDepth  = 100
)

const lengthAdvice = "have the pod mount what is long from a ConfigMap, or bring it in the image"

// value is a value of JSON that knows who gave it.
type value struct {
	// data is nil, a bool, a json.Number, a string, a []*value or an *object. Whoever has
	// a value may keep it, so nobody changes it.
	data any
	// from says in words who gave it.
	from string
	// secret is set if it, or a part of its text, is out of a block.
	secret bool
}

// isNull is also true for no value at all.
func (v *value) isNull() bool { return v == nil || v.data == nil }

func (v *value) object() (*object, bool) {
	if v == nil {
		return nil, false
	}
	o, ok := v.data.(*object)
	return o, ok
}

func (v *value) list() ([]*value, bool) {
	if v == nil {
		return nil, false
	}
	items, ok := v.data.([]*value)
	return items, ok
}

func (v *value) text() (string, bool) {
	if v == nil {
		return "", false
	}
	text, ok := v.data.(string)
	return text, ok
}

// isEmpty is what Python takes for false.
func (v *value) isEmpty() bool {
	if v.isNull() {
		return true
	}
	switch data := v.data.(type) {
	case bool:
		return !data
	case string:
		return data == ""
	case []*value:
		return len(data) == 0
	case *object:
		return data.len() == 0
	}
	return v.isZero()
}

// isZero reports whether Python takes the value for equal to 0.
func (v *value) isZero() bool {
	if v.isNull() {
		return false
	}
	switch data := v.data.(type) {
	case bool:
		return !data
	case json.Number:
		f, err := data.Float64()
		return err == nil && f == 0
	}
	return false
}

// object keeps its fields in order: variables of a container may use those before them.
type object struct {
	names  []string
	fields map[string]*value
}

func newObject() *object { return &object{fields: map[string]*value{}} }

func (o *object) len() int {
	if o == nil {
		return 0
	}
	return len(o.names)
}

// get is the field of a name; nil if there is none.
func (o *object) get(name string) *value {
	if o == nil {
		return nil
	}
	return o.fields[name]
}

func (o *object) has(name string) bool {
	if o == nil {
		return false
	}
	_, ok := o.fields[name]
	return ok
}

// set keeps the place of a name that is there.
func (o *object) set(name string, v *value) {
	if !o.has(name) {
		o.names = append(o.names, name)
	}
	o.fields[name] = v
}

func (o *object) remove(name string) {
	if o.has(name) {
		delete(o.fields, name)
		o.names = slices.DeleteFunc(o.names, func(n string) bool { return n == name })
	}
}

func (o *object) all() iter.Seq2[string, *value] {
	return func(yield func(string, *value) bool) {
		if o == nil {
			return
		}
		for _, name := range o.names {
			if !yield(name, o.fields[name]) {
				return
			}
		}
	}
}

// clone is another object with the same fields.
func (o *object) clone() *object { return newObject().with(o) }

// with sets all fields of another object.
func (o *object) with(more *object) *object {
	for name, v := range more.all() {
		o.set(name, v)
	}
	return o
}

// decode reads JSON from outside.
func decode(raw json.RawMessage, from string) (*value, error) {
	if len(raw) > maxText {
		return nil, fmt.Errorf("is larger than 1.5 MiB, and Kubernetes takes no such Job: %s", lengthAdvice)
	}
	r := reader{dec: json.NewDecoder(bytes.NewReader(raw)), from: from}
	r.dec.UseNumber()
	v, err := r.value(0)
	if err == nil {
		if _, more := r.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("does not parse: something follows its end")
		}
	}
	return v, err
}

// reader makes values of one text.
type reader struct {
	dec  *json.Decoder
	from string
	read int
}

func (r *reader) value(depth int) (*value, error) {
	if r.read++; r.read > maxValues {
		return nil, fmt.Errorf("has more than %d values, and no Job needs as many: %s", maxValues, lengthAdvice)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("is nested more than %d deep, and no Job is", maxDepth)
	}
	token, err := r.dec.Token()
	if err != nil {
		return nil, fmt.Errorf("does not parse: %w", err)
	}
	v := &value{data: token, from: r.from}
	switch token {
	case json.Delim('{'):
		v.data, err = r.object(depth)
	case json.Delim('['):
		v.data, err = r.items(depth)
	}
	return v, err
}

func (r *reader) object(depth int) (*object, error) {
	o := newObject()
	for r.dec.More() {
		name, err := r.dec.Token()
		if err != nil {
			return nil, fmt.Errorf("does not parse: %w", err)
		}
		field, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o.set(fmt.Sprint(name), field)
	}
	return o, r.end()
}

func (r *reader) items(depth int) ([]*value, error) {
	items := []*value{}
	for r.dec.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, r.end()
}

// end reads the bracket that closes what More has come to the end of.
func (r *reader) end() error {
	if _, err := r.dec.Token(); err != nil {
		return fmt.Errorf("does not parse: %w", err)
	}
	return nil
}

// stamped is the value as one that somebody else gave, with everything in it.
func (v *value) stamped(from string, secret bool) *value {
	s := &value{data: v.data, from: from, secret: secret}
	switch data := v.data.(type) {
	case []*value:
		items := make([]*value, len(data))
		for i, item := range data {
			items[i] = item.stamped(from, secret)
		}
		s.data = items
	case *object:
		o := newObject()
		for name, field := range data.all() {
			o.set(name, field.stamped(from, secret))
		}
		s.data = o
	}
	return s
}

// hasSecret reports whether anything in the value is secret.
func (v *value) hasSecret() bool {
	if v == nil || v.secret {
		return v != nil
	}
	switch data := v.data.(type) {
	case []*value:
		return slices.ContainsFunc(data, (*value).hasSecret)
	case *object:
		for _, field := range data.all() {
			if field.hasSecret() {
				return true
			}
		}
	}
	return false
}

// MarshalJSON keeps the order of fields.
func (v *value) MarshalJSON() ([]byte, error) {
	if o, ok := v.data.(*object); ok {
		return o.MarshalJSON()
	}
	return json.Marshal(v.data)
}

// MarshalJSON writes the fields in their order.
func (o *object) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	for name, field := range o.all() {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		text, err := field.MarshalJSON()
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(text)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// size is about how long the value is as a text.
func (v *value) size() int {
	n := 1
	switch data := v.data.(type) {
	case string:
		n += len(data)
	case json.Number:
		n += len(data)
	case []*value:
		for _, item := range data {
			n += item.size()
		}
	case *object:
		for name, field := range data.all() {
			n += len(name) + field.size()
		}
	}
	return n
}
