package workpool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
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
	names []string
	// few are the fields in the order of their names. Most objects have so few that looking at
	// each takes less than a map would.
	few []*value
	// many are the fields by their names if they are more than maxFew.
	many map[string]*value
}

const maxFew = 8

func newObject() *object { return &object{} }

func (o *object) len() int {
	if o == nil {
		return 0
	}
	return len(o.names)
}

// get is the field of a name; nil if there is none.
func (o *object) get(name string) *value {
	switch i := o.at(name); {
	case i < 0:
		return nil
	case o.many != nil:
		return o.many[name]
	default:
		return o.few[i]
	}
}

func (o *object) has(name string) bool { return o.at(name) >= 0 }

// at is the place of a name, as far as it matters: of many it is not known. It is negative
// if there is no such name.
func (o *object) at(name string) int {
	if o == nil {
		return -1
	}
	if o.many == nil {
		return slices.Index(o.names, name)
	}
	if _, ok := o.many[name]; !ok {
		return -1
	}
	return 0
}

// set keeps the place of a name that is there.
func (o *object) set(name string, v *value) {
	i := o.at(name)
	if i < 0 {
		o.names = append(o.names, name)
	}
	if i < 0 && o.many == nil && len(o.names) > maxFew {
		o.many = make(map[string]*value, 2*maxFew)
		for i, v := range o.few {
			o.many[o.names[i]] = v
		}
		o.few = nil
	}
	switch {
	case o.many != nil:
		o.many[name] = v
	case i < 0:
		o.few = append(o.few, v)
	default:
		o.few[i] = v
	}
}

func (o *object) remove(name string) {
	i := o.at(name)
	switch {
	case i < 0:
		return
	case o.many != nil:
		delete(o.many, name)
		i = slices.Index(o.names, name)
	default:
		o.few = slices.Delete(o.few, i, i+1)
	}
	o.names = slices.Delete(o.names, i, i+1)
}

func (o *object) all() iter.Seq2[string, *value] {
	return func(yield func(string, *value) bool) {
		if o == nil {
			return
		}
		for i, name := range o.names {
			var v *value
			if o.many != nil {
				v = o.many[name]
			} else {
				v = o.few[i]
			}
			if !yield(name, v) {
				return
			}
		}
	}
}

// first is another object with so many of the fields, and room for all.
func (o *object) first(n int) *object {
	some := newObject()
	if o == nil {
		return some
	}
	some.names = make([]string, 0, len(o.names))
	if len(o.names) > maxFew {
		some.many = make(map[string]*value, len(o.names))
	} else {
		some.few = make([]*value, 0, len(o.names))
	}
	for name, v := range o.all() {
		if n--; n < 0 {
			break
		}
		some.set(name, v)
	}
	return some
}

// clone is another object with the same fields.
func (o *object) clone() *object { return o.first(o.len()) }

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
func (v *value) MarshalJSON() ([]byte, error) { return v.appendTo(nil) }

// MarshalJSON writes the fields in their order.
func (o *object) MarshalJSON() ([]byte, error) { return (&value{data: o}).appendTo(nil) }

func (v *value) appendTo(b []byte) (_ []byte, err error) {
	switch data := v.data.(type) {
	case string:
		return appendText(b, data)
	case []*value:
		b = append(b, '[')
		for i, item := range data {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = item.appendTo(b); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case *object:
		b = append(b, '{')
		begin := len(b)
		for name, field := range data.all() {
			if len(b) > begin {
				b = append(b, ',')
			}
			if b, err = appendText(b, name); err != nil {
				return nil, err
			}
			if b, err = field.appendTo(append(b, ':')); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	text, err := json.Marshal(v.data)
	return append(b, text...), err
}

// appendText spares most texts the way through json.Marshal, which takes several times as long.
func appendText(b []byte, text string) ([]byte, error) {
	if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return append(append(append(b, '"'), text...), '"'), nil
	}
	quoted, err := json.Marshal(text)
	return append(b, quoted...), err
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
