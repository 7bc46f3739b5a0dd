package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kjson "sigs.k8s.io/json"
)

// Decode reads a Job strictly: the API server drops a misspelt field silently, and its
// author then looks for days why it does nothing. Of what does not fit it tells all
// that there is in tree, which is the same read without a type.
func Decode(raw []byte, tree map[string]any) (*batchv1.Job, error) {
	j := &batchv1.Job{}
	strict, err := kjson.UnmarshalStrict(raw, j)
	if err != nil {
		why := err.Error()
		if all := Misfits(tree); len(all) > 0 {
			why = told(all)
		}
		return nil, fmt.Errorf("is not a Kubernetes Job: %s", why)
	}
	if err := errors.Join(strict...); err != nil {
		return nil, fmt.Errorf("has fields that no Job has: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if (j.Kind != "" && j.Kind != "Job") || (j.APIVersion != "" && j.APIVersion != "batch/v1") {
		return nil, fmt.Errorf("is a %s %s; it must be a batch/v1 Job", j.APIVersion, j.Kind)
	}
	return j, nil
}

// maxMisfits bounds the errors about one template; further ones show once these are fixed.
const maxMisfits = 20

// Misfit is a place of a Job in JSON that has no room for what stands there.
type Misfit struct {
	// Path is as Origins spells it.
	Path string
	// Why begins behind the path; empty if no Job has such a field.
	Why string
}

// String is the misfit in a sentence for its author.
func (m Misfit) String() string {
	if m.Why == "" {
		return fmt.Sprintf("unknown field %q", m.Path)
	}
	return m.Path + " " + m.Why
}

// Misfits are all of a Job's: the decoder stops at the first and does not say where it is.
func Misfits(tree map[string]any) []Misfit {
	w := &fitting{}
	w.value("", tree, reflect.TypeFor[batchv1.Job]())
	return w.found
}

func told(all []Misfit) string {
	var lines []string
	for _, m := range all[:min(len(all), maxMisfits)] {
		lines = append(lines, m.String())
	}
	if len(all) > maxMisfits {
		lines = append(lines, fmt.Sprintf("and %d more", len(all)-maxMisfits))
	}
	return strings.Join(lines, "; ")
}

type fitting struct{ found []Misfit }

func (w *fitting) add(path, format string, args ...any) {
	w.found = append(w.found, Misfit{path, fmt.Sprintf(format, args...)})
}

func (w *fitting) value(path string, v any, t reflect.Type) {
	if v == nil {
		return // nothing is left out
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		w.own(path, v, t)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if fields, ok := v.(map[string]any); ok {
			w.object(path, fields, t)
			return
		}
		w.add(path, "is %s: it must be an object", called(v))
	case reflect.Map:
		entries, ok := v.(map[string]any)
		if !ok {
			w.add(path, "is %s: it must be an object", called(v))
			return
		}
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			w.value(path+"."+key, entries[key], t.Elem())
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return // a Job has no such field
		}
		items, ok := v.([]any)
		if !ok {
			w.add(path, "is %s: it must be a list", called(v))
			return
		}
		for i, item := range items {
			w.value(fmt.Sprintf("%s[%d]", path, i), item, t.Elem())
		}
	default:
		w.scalar(path, v, t.Kind())
	}
}

// own is for types that read themselves: quantities, times, numbers or texts.
func (w *fitting) own(path string, v any, t reflect.Type) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	switch {
	case err == nil:
	case t == reflect.TypeFor[resource.Quantity]():
		w.add(path, "is %s, which is no quantity: give for example 500m, 2 or 1Gi", beginning(string(text)))
	default:
		w.add(path, "is %s, which cannot be read: %v", beginning(string(text)), err)
	}
}

func (w *fitting) object(path string, fields map[string]any, t reflect.Type) {
	known := map[string]reflect.Type{}
	named(t, known)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		at := strings.TrimPrefix(path+"."+name, ".")
		if field, ok := known[name]; ok {
			w.value(at, fields[name], field)
		} else {
			w.found = append(w.found, Misfit{Path: at})
		}
	}
}

// named are a struct's fields by their names in JSON.
func named(t reflect.Type, into map[string]reflect.Type) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" || strings.Contains(options, "inline"):
			named(f.Type, into)
		case name != "" && name != "-":
			into[name] = f.Type
		}
	}
}

func (w *fitting) scalar(path string, v any, kind reflect.Kind) {
	var fits bool
	var wanted string
	switch kind {
	case reflect.String:
		_, fits = v.(string)
		wanted = "a text; put it in quotes"
	case reflect.Bool:
		_, fits = v.(bool)
		wanted = "true or false"
	default:
		_, fits = v.(int64)
		wanted = "a whole number"
	}
	if !fits {
		w.add(path, "is %s: it must be %s", called(v), wanted)
	}
}

// called says in words what kind of value a tree holds.
func called(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return fmt.Sprintf("the text %q", beginning(v))
	}
	return fmt.Sprint(v)
}

func beginning(text string) string { return Shortened(text, 40) }

// Shortened is a text, or its beginning with so many bytes and an ellipsis.
func Shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
