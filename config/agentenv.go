package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prefect-keda/prefect-keda/literal"
)

// Labels are agent labels, in the order given.
type Labels []string

// UnmarshalText reads a list as literal.List does.
func (l *Labels) UnmarshalText(text []byte) (err error) {
	*l, err = literal.List(string(text))
	switch {
	case !slices.Contains(*l, ""):
	case strings.ContainsAny(string(text), `'"`):
		*l, err = nil, errors.New("contains an empty label: remove it")
	default:
		*l, err = nil, fmt.Errorf("%q contains an empty label: remove the spare comma", strings.TrimSpace(string(text)))
	}
	return err
}

// labelsText writes repeated --label flags as one variable: sorted and without
// duplicates, as the agent did with its flags.
func labelsText(flags []string) string {
	return listText(slices.Compact(slices.Sorted(slices.Values(flags))))
}

func listText(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = literal.Quote(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// EnvVar is a variable for flow runs.
type EnvVar struct{ Name, Value string }

// EnvVars are variables in the order given; their values stay out of logs.
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

// UnmarshalText reads a dict in Python or JSON text, or A=1,B=2, or a list of A=1, which
// envText writes when a flag is wrong. The last value of a repeated name wins, at the
// place of the first. Numbers and booleans become text as they are spelt; the agent
// passed them on, and Kubernetes refused them.
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
	v, err := literal.Parse(t)
	if err != nil {
		return fmt.Errorf("%w: give a dict such as {'A': '1', 'B': '2'}", err)
	}
	for _, entry := range v.(literal.Dict) {
		name, ok := entry.Key.(string)
		if !ok {
			return fmt.Errorf("%v is not a name: put the names of variables in quotes", entry.Key)
		}
		switch value := entry.Value.(type) {
		case string:
			err = e.set(name, value)
		case literal.Word:
			if value.IsNone() {
				err = fmt.Errorf("%s has no value: give a text, or '' for an empty one", name)
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
	v, err := literal.Parse(t)
	items, _ := v.([]any)
	var all []string
	for _, item := range items {
		text, ok := item.(string)
		if !ok {
			err = errors.New("contains something other than texts")
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
			// The error does not quote it: it may be the rest of a secret with a comma in it.
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

// envText writes repeated --env flags as one variable. It cuts each at its first =, so
// values may hold anything.
func envText(flags []string) string {
	entries := make([]string, len(flags))
	for i, f := range flags {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			return listText(flags) // UnmarshalText names the one without =
		}
		entries[i] = literal.Quote(name) + ": " + literal.Quote(value)
	}
	return "{" + strings.Join(entries, ", ") + "}"
}
