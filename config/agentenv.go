package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Labels are agent labels, in the order given.
type Labels []string

// UnmarshalText reads a list in Python or JSON text, or names separated by
// commas. There the agent is not followed: it took the text a,b for the three
// labels "a", "," and "b" (prefect1-spec §3.1), which nobody can want.
func (l *Labels) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	*l = nil
	if t == "" {
		return nil
	}
	if !strings.ContainsAny(t, `[](){}'"`) {
		for label := range strings.SplitSeq(t, ",") {
			if label = strings.TrimSpace(label); label == "" {
				return fmt.Errorf("%q has an empty label in it: remove the spare comma", t)
			}
			*l = append(*l, label)
		}
		return nil
	}
	if strings.ContainsAny(t[:1], `'"`) { // 'a', 'b' is a tuple to Python
		t = "[" + t + "]"
	}
	v, err := parseLiteral(t)
	if err != nil {
		return fmt.Errorf("%w: give a list such as ['a', 'b'] or a,b", err)
	}
	items, ok := v.([]any)
	if !ok {
		return fmt.Errorf("%s is not a list: give a list such as ['a', 'b'] or a,b", t)
	}
	for _, item := range items {
		label, ok := item.(string)
		if !ok {
			return fmt.Errorf("%v is not a text: put every label in quotes, as in ['a', 'b']", item)
		}
		if label == "" {
			return errors.New("has an empty label in it: remove it")
		}
		*l = append(*l, label)
	}
	return nil
}

// labelsText is how repeated --label flags are written as one variable: sorted
// and each once, as the agent did with its flags.
func labelsText(flags []string) string {
	return listText(slices.Compact(slices.Sorted(slices.Values(flags))))
}

func listText(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = quote(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// EnvVar is a variable for flow runs.
type EnvVar struct{ Name, Value string }

// EnvVars are variables in the order given; their values are not for logs.
type EnvVars []EnvVar

// String names them without their values.
func (e EnvVars) String() string {
	names := make([]string, len(e))
	for i, v := range e {
		names[i] = v.Name
	}
	return strings.Join(names, ",")
}

// GoString is String, for %#v.
func (e EnvVars) GoString() string { return e.String() }

// MarshalText is String, for JSON and YAML.
func (e EnvVars) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads a dict in Python or JSON text, or A=1,B=2, or what flags
// are written as if not all are right: a list of A=1. A name that comes again replaces the value and keeps its place. A value may be a number or
// a boolean, which the agent passed on for Kubernetes to refuse; here it is taken
// as it is spelt.
func (e *EnvVars) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	*e = nil
	switch {
	case t == "":
		return nil
	case strings.HasPrefix(t, "["):
		pairs, err := texts(t)
		if err != nil {
			return err
		}
		return e.fromPairs(pairs, "")
	case !strings.HasPrefix(t, "{"):
		return e.fromPairs(strings.Split(t, ","), "; where a value has a comma, use {'KEY': 'VALUE'}")
	}
	v, err := parseLiteral(t)
	if err != nil {
		return fmt.Errorf("%w: give a dict such as {'A': '1', 'B': '2'}", err)
	}
	for _, entry := range v.(dict) {
		name, ok := entry.key.(string)
		if !ok {
			return fmt.Errorf("%v is not a name: put the names of variables in quotes", entry.key)
		}
		switch value := entry.value.(type) {
		case string:
			err = e.set(name, value)
		case word:
			if value.isNone() {
				err = fmt.Errorf("%s has no value: give a text, '' for an empty one", name)
			} else {
				err = e.set(name, string(value))
			}
		default:
			err = fmt.Errorf("%s has a list or a dict as its value: a variable is a text, put it in quotes", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// texts reads a list that listText wrote.
func texts(t string) ([]string, error) {
	v, err := parseLiteral(t)
	items, _ := v.([]any)
	var all []string
	for _, item := range items {
		text, ok := item.(string)
		if !ok {
			err = errors.New("has more than texts in it")
		}
		all = append(all, text)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: give a dict such as {'A': '1', 'B': '2'}", err)
	}
	return all, nil
}

func (e *EnvVars) fromPairs(pairs []string, hint string) error {
	for i, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			// Not repeated in the error: it may be the rest of a secret that has a comma.
			return fmt.Errorf("variable %d has no =: give KEY=VALUE%s", i+1, hint)
		}
		if err := e.set(strings.TrimSpace(name), value); err != nil {
			return err
		}
	}
	return nil
}

func (e *EnvVars) set(name, value string) error {
	if name == "" {
		return errors.New("has a variable without a name: give KEY=VALUE")
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '=' }) {
		return fmt.Errorf("%q cannot be the name of a variable: no spaces, no =, ASCII only", name)
	}
	if strings.Contains(value, "\x00") {
		return fmt.Errorf("%s has a NUL character in its value", name)
	}
	for i, v := range *e {
		if v.Name == name {
			(*e)[i].Value = value
			return nil
		}
	}
	*e = append(*e, EnvVar{Name: name, Value: value})
	return nil
}

// envText is how repeated --env flags are written as one variable: each is cut
// at its first =, so values may hold anything.
func envText(flags []string) string {
	entries := make([]string, len(flags))
	for i, f := range flags {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			return listText(flags) // refused for having no =, by its place among them
		}
		entries[i] = quote(name) + ": " + quote(value)
	}
	return "{" + strings.Join(entries, ", ") + "}"
}
