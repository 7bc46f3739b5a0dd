package workpool

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// A placeholder is a name in two braces, with the characters that Python takes for parts of
// words and for white space (prefect3 §3.2). Everything else in braces is left as it is.
//
//nolint:gochecknoglobals // compiled once, where it is needed, and never changed
var placeholder = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\{\{[\s\v\x1c-\x1f\x{85}\p{Z}]*([\p{L}\p{N}_.\-$\[\]]+)[\s\v\x1c-\x1f\x{85}\p{Z}]*\}\}`)
})

const (
	blocks    = "prefect.blocks."
	variables = "prefect.variables."
)

// finding is what stands for a placeholder.
type finding struct {
	// value is nil if there is none: whatever is nothing but the placeholder goes.
	value *value
	// keep leaves the placeholder to a later pass.
	keep bool
}

// finder finds the value for the name in a placeholder; whole says that the text is nothing
// but the placeholder.
type finder func(name string, whole bool) (finding, error)

// filler fills placeholders in, and bounds what that makes: a few placeholders for one long
// value would be a Job of many gigabytes.
type filler struct {
	find finder
	room *int
	// reference resolves an object that stands for another value, if it does; nil has none.
	reference func(*object) (*value, error)
}

// value fills in everything in a value; nil if nothing is left of it. The names of fields
// are never placeholders.
func (f filler) value(v *value) (*value, error) {
	switch data := v.data.(type) {
	case string:
		return f.text(v, data)
	case []*value:
		items, changed, err := f.items(data)
		if err != nil || !changed {
			return v, err
		}
		return &value{data: items, from: v.from, secret: v.secret}, nil
	case *object:
		if f.reference != nil {
			if found, err := f.reference(data); found != nil || err != nil {
				return found, err
			}
		}
		o, err := f.object(data)
		if err != nil || o == data {
			return v, err
		}
		return &value{data: o, from: v.from, secret: v.secret}, nil
	}
	return v, nil
}

// object is the same one if nothing in it is filled in, as in most of a template in most passes.
func (f filler) object(o *object) (*object, error) {
	filled, i := o, -1
	for name, field := range o.all() {
		i++
		into, err := f.value(field)
		if err != nil {
			return nil, err
		}
		if into != field && filled == o {
			filled = o.first(i)
		}
		if into != nil && filled != o {
			filled.set(name, into)
		}
	}
	return filled, nil
}

// items reports whether anything in a list is filled in.
func (f filler) items(all []*value) (filled []*value, changed bool, err error) {
	for i, item := range all {
		into, err := f.value(item)
		if err != nil {
			return nil, false, err
		}
		if into != item && !changed {
			filled, changed = append([]*value{}, all[:i]...), true
		}
		if into != nil && changed {
			filled = append(filled, into)
		}
	}
	return filled, changed, nil
}

// text fills in a text in one pass: what is filled in is not looked at again.
func (f filler) text(v *value, text string) (*value, error) {
	if !strings.Contains(text, "{{") {
		return v, nil
	}
	if name, ok := plainly(text); ok {
		return f.whole(v, name)
	}
	matches := placeholder().FindAllStringSubmatchIndex(text, -1)
	if len(matches) == 1 && matches[0][0] == 0 && matches[0][1] == len(text) {
		return f.whole(v, text[matches[0][2]:matches[0][3]])
	}
	filled := &value{from: v.from, secret: v.secret}
	var b strings.Builder
	at := 0
	for _, m := range matches {
		b.WriteString(text[at:m[0]])
		at = m[1]
		found, err := f.find(text[m[2]:m[3]], false)
		switch {
		case err != nil:
			return nil, err
		case found.keep:
			b.WriteString(text[m[0]:m[1]])
		case found.value != nil:
			if err := f.take(found.value.size()); err != nil {
				return nil, err
			}
			b.WriteString(str(found.value))
			filled.secret = filled.secret || found.value.hasSecret()
			if len(filled.from) < maxFrom && !strings.Contains(filled.from, found.value.from) {
				filled.from += " with " + found.value.from
			}
		}
	}
	b.WriteString(text[at:])
	filled.data = b.String()
	return filled, nil
}

// plainly reports whether a text is nothing but a placeholder, as people write them, and its name:
// the regular expression, which knows them all, takes a fifth of what a whole Job costs.
func plainly(text string) (name string, ok bool) {
	name, opens := strings.CutPrefix(text, "{{ ")
	name, closes := strings.CutSuffix(name, " }}")
	isOther := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '.'
	}
	return name, opens && closes && name != "" && !strings.ContainsFunc(name, isOther)
}

// whole is what stands for a text that is nothing but the placeholder of a name.
func (f filler) whole(v *value, name string) (*value, error) {
	found, err := f.find(name, true)
	if err != nil || found.value == nil && !found.keep {
		return nil, err
	}
	if found.keep {
		return v, nil
	}
	return found.value, f.take(found.value.size())
}

// maxFrom bounds the words for where a text of many parts is from.
const maxFrom = 500

// placeholderSize counts for each placeholder that is filled in: finding takes time, too.
const placeholderSize = 64

func (f filler) take(size int) error {
	if *f.room -= size + placeholderSize; *f.room < 0 {
		return authorError("what the placeholders of the work pool's base job template bring is larger than 1.5 MiB, and Kubernetes takes no such Job: %s", lengthAdvice)
	}
	return nil
}

// at is the value at a path such as a.b[0].c; nil if there is none.
func at(v *value, path string) *value {
	for key := range strings.SplitSeq(strings.ReplaceAll(strings.ReplaceAll(path, "[", "."), "]", ""), ".") {
		if v == nil {
			return nil
		}
		v = v.child(key)
	}
	return v
}

// child is a field of an object, or an item of a list or a character of a text by its
// number, from the end if that is negative.
func (v *value) child(key string) *value {
	if o, ok := v.object(); ok {
		return o.get(key)
	}
	index, err := strconv.Atoi(strings.ReplaceAll(key, "_", ""))
	if err != nil {
		return nil
	}
	if text, ok := v.text(); ok {
		if c := character(text, index); c != "" {
			return &value{data: c, from: v.from, secret: v.secret}
		}
		return nil
	}
	items, _ := v.list()
	if index < 0 {
		index += len(items)
	}
	if index < 0 || index >= len(items) {
		return nil
	}
	return items[index]
}

// maxIndex of a character: counting to it takes time, and nobody does it.
const maxIndex = 10_000

// character is one of a text; empty if there is none.
func character(text string, index int) string {
	if index > maxIndex || index < -maxIndex {
		return ""
	}
	for ; index < -1; index++ {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	if index == -1 {
		_, size := utf8.DecodeLastRuneInString(text)
		return text[len(text)-size:]
	}
	for _, r := range text {
		if index == 0 {
			return string(r)
		}
		index--
	}
	return ""
}

// variablesPass fills in job variables and, if they are allowed, variables of the launcher's
// environment. Blocks and variables of Prefect are left to the next passes, which look at
// the values of job variables, too.
func (r *rendering) variablesPass(of *object) filler {
	all := &value{data: of}
	return filler{room: &r.room, find: func(name string, _ bool) (finding, error) {
		switch {
		case strings.HasPrefix(name, blocks), strings.HasPrefix(name, variables):
			return finding{keep: true}, nil
		case strings.HasPrefix(name, "$"):
			text, ok := r.settings.TemplateEnv[name[1:]]
			if !ok {
				r.warn("{{ %s }} in the work pool's base job template is empty: the launcher's operator would have to add %s to PREFECT_KEDA_TEMPLATE_ENV", name, name[1:])
			}
			return finding{value: &value{data: text, from: fmt.Sprintf("%s of the launcher", name[1:])}}, nil
		}
		return finding{value: at(all, name)}, nil
	}}
}
