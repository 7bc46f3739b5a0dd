package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

// Problem is one thing that is wrong, addressed to whoever set it.
type Problem struct {
	// Setting is the variable, with its flag.
	Setting string
	// Text says what is wrong and what to change.
	Text string
}

// Error is both.
func (p Problem) Error() string { return p.Setting + ": " + p.Text }

// LoadLauncher reads and checks the launcher's settings. The error joins every
// Problem there is.
func LoadLauncher(ctx context.Context, env envconfig.Lookuper) (Launcher, error) {
	var l Launcher
	return l, errors.Join(load(ctx, &l, env, ""), l.Validate())
}

// LoadScaler is as LoadLauncher, for the scaler and its further connections.
func LoadScaler(ctx context.Context, env envconfig.Lookuper) (Scaler, error) {
	var s Scaler
	problems := []error{load(ctx, &s, env, "")}
	for _, name := range s.Connections {
		c := Connection{Name: name}
		problems = append(problems, load(ctx, &c, env, connectionPrefix(name)))
		if len(c.JobNamespaces) == 0 {
			c.JobNamespaces = s.JobNamespaces
		}
		if len(c.AllowedNamespaces) == 0 {
			c.AllowedNamespaces = s.AllowedNamespaces
		}
		s.Named = append(s.Named, c)
	}
	return s, errors.Join(append(problems, s.Validate())...)
}

func connectionPrefix(name string) string {
	return "PREFECT_KEDA_CONNECTION_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_"
}

// Variable is the full name of one of the connection's variables.
func (c Connection) Variable(name string) string { return connectionPrefix(c.Name) + name }

// Setting is what is known of one setting.
type Setting struct {
	Variable, Default     string
	Flag, Short, Off      string
	Group, Help, Example  string
	FlagHelp              string
	field                 []int
	repeated, emptyCounts bool
	kind                  reflect.Type
	tag                   reflect.StructTag
}

// Name is the variable with its flag, as errors and documents say it.
func (s Setting) Name() string {
	if s.Flag == "" {
		return s.Variable
	}
	return s.Variable + " (--" + s.Flag + ")"
}

// Settings lists the settings of a Launcher, a Scaler or a Connection in order.
func Settings(of any) []Setting { return settings(reflect.TypeOf(of), nil, "") }

func settings(t reflect.Type, index []int, group string) []Setting {
	var all []Setting
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int{}, index...), i)
		if f.Anonymous {
			all = append(all, settings(f.Type, at, f.Tag.Get("group"))...)
			continue
		}
		variable, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		if variable == "" {
			continue
		}
		_, def, _ := strings.Cut(options, "default=")
		_, emptyCounts := reflect.TypeAssert[interface{ emptyIsAValue() }](reflect.New(f.Type))
		all = append(all, Setting{
			Variable: variable, Default: def, Group: group,
			Flag: f.Tag.Get("flag"), Short: f.Tag.Get("short"), Off: f.Tag.Get("off"),
			Help: f.Tag.Get("help"), Example: f.Tag.Get("example"), FlagHelp: cmp.Or(f.Tag.Get("flaghelp"), f.Tag.Get("help")),
			field: at, kind: f.Type, tag: f.Tag, emptyCounts: emptyCounts,
			repeated: f.Type == reflect.TypeFor[Labels]() || f.Type == reflect.TypeFor[EnvVars](),
		})
	}
	return all
}

// load decodes field by field, because go-envconfig stops at the first error and
// names the Go field in it; so every problem is found and names its variable.
func load(ctx context.Context, target any, env envconfig.Lookuper, prefix string) error {
	v := reflect.ValueOf(target).Elem()
	var problems []error
	for _, s := range Settings(v.Interface()) {
		text, set := env.Lookup(prefix + s.Variable)
		set = set && (text != "" || s.emptyCounts)
		value := map[string]string{}
		if set {
			value[s.Variable] = text
		}
		decoded, err := s.decode(ctx, value)
		if err != nil {
			problems = append(problems, Problem{Setting: prefix + s.Name(), Text: s.plain(text, err).Error()})
			// The checks between settings go on as if it had not been set.
			decoded, _ = s.decode(ctx, nil)
		}
		if decoded.IsValid() {
			v.FieldByIndex(s.field).Set(decoded)
		}
	}
	return errors.Join(problems...)
}

// decode has go-envconfig read one setting, by the tag of its field.
func (s Setting) decode(ctx context.Context, value map[string]string) (reflect.Value, error) {
	if value[s.Variable] == "" && s.Default == "" && !s.emptyCounts {
		return reflect.Value{}, nil // a decoder of its own would be called with ""
	}
	one := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Value", Type: s.kind, Tag: s.tag}}))
	err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: one.Interface(), Lookuper: envconfig.MapLookuper(value)})
	if cause := errors.Unwrap(err); cause != nil && strings.HasPrefix(err.Error(), "Value: ") {
		err = cause
	}
	return one.Elem().Field(0), err
}

func logValue(of any) slog.Value {
	v := reflect.ValueOf(of)
	var attrs []slog.Attr
	for _, s := range Settings(of) {
		attrs = append(attrs, slog.String(strings.ToLower(s.Variable), fmt.Sprint(v.FieldByIndex(s.field).Interface())))
	}
	return slog.GroupValue(attrs...)
}

// Environment is the process's environment with the interpolation Prefect does:
// in its own variables a leading ~ and $NAME or ${NAME} stand for what they do in
// a shell, and unknown names stay as they are (prefect1-spec §5.2).
func Environment(env envconfig.Lookuper) envconfig.Lookuper { return interpolated{env} }

type interpolated struct{ env envconfig.Lookuper }

// Lookup is that of envconfig.Lookuper.
func (i interpolated) Lookup(name string) (string, bool) {
	text, ok := i.env.Lookup(name)
	if !ok || !strings.HasPrefix(name, "PREFECT__") {
		return text, ok
	}
	if home, set := i.env.Lookup("HOME"); set && (text == "~" || strings.HasPrefix(text, "~/")) {
		text = home + text[1:]
	}
	return i.expand(text), true
}

func (i interpolated) expand(text string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		var name, rest string
		if strings.HasPrefix(after, "{") {
			name, rest, found = strings.Cut(after[1:], "}")
		} else {
			end := strings.IndexFunc(after, func(r rune) bool {
				return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
			})
			if end < 0 {
				end = len(after)
			}
			name, rest = after[:end], after[end:]
		}
		value, known := i.env.Lookup(name)
		if !found || name == "" || !known {
			out.WriteByte('$')
			text = after
			continue
		}
		out.WriteString(value)
		text = rest
	}
}
