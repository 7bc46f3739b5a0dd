package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

// Problem is one mistake in the settings, for the person who made them.
type Problem struct {
	// Setting is the variable, with its flag.
	Setting string
	// Text says what is wrong and what to change.
	Text string
}

// Error joins both.
func (p Problem) Error() string { return p.Setting + ": " + p.Text }

// LoadLauncher reads and checks the launcher's settings. The error joins all Problems.
func LoadLauncher(ctx context.Context, env envconfig.Lookuper) (Launcher, error) {
	var l Launcher
	kind, undecided := KindOf(env)
	wrong := load(ctx, &l, env, "", kind)
	l.Kind = kind
	l.AuthString = cmp.Or(l.SecretAuth, l.AuthString)
	for _, name := range l.TemplateEnv {
		if text, set := env.Lookup(name); set {
			l.TemplateValues = append(l.TemplateValues, EnvVar{Name: name, Value: text})
		}
	}
	return l, errors.Join(undecided, wrong, l.limit(env), l.Validate())
}

// limit reads -l as `prefect worker start` does. A launcher's own -l is a label, which
// Prefect 3 does not have.
func (l *Launcher) limit(env envconfig.Lookuper) error {
	text, given := env.Lookup("--label")
	if l.Kind != Prefect3 || !given {
		return nil
	}
	var items Labels
	if err := items.UnmarshalText([]byte(text)); err == nil && len(items) == 1 {
		if n, err := strconv.Atoi(items[0]); err == nil {
			l.Concurrency = n
			return nil
		}
	}
	return Problem{Setting: "--label (-l)", Text: "is for Prefect 1: Prefect 3 has no labels, so give --pool and --work-queue; and -l is the limit of `prefect worker start`, one whole number"}
}

// LoadScaler does the same for the scaler and its further connections.
func LoadScaler(ctx context.Context, env envconfig.Lookuper) (Scaler, error) {
	var s Scaler
	kind, undecided := KindOf(env)
	problems := []error{undecided, load(ctx, &s, env, "", kind)}
	s.Kind = kind
	s.AuthString = cmp.Or(s.SecretAuth, s.AuthString)
	other := Prefect3
	if kind == Prefect3 {
		other = Prefect1
	}
	_ = load(ctx, &s.Others, env, "", other) // its problems are those of s.Trouble
	for _, name := range s.Connections {
		c := Connection{Name: name}
		problems = append(problems, load(ctx, &c, env, connectionPrefix(name), kind))
		if text, _ := env.Lookup(c.Variable("BACKEND")); text == "" && c.APIURL != "" {
			c.Backend = OfPrefect3
		}
		if len(c.JobNamespaces) == 0 {
			c.JobNamespaces = s.AllNamespaces()
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

// Variable is the full name of a variable of the connection.
func (c Connection) Variable(name string) string { return connectionPrefix(c.Name) + name }

// load decodes field by field, so that it finds every problem and can name its variable.
// go-envconfig alone would stop at the first error and name the Go field in it.
func load(ctx context.Context, target any, env envconfig.Lookuper, prefix string, kind Kind) error {
	v := reflect.ValueOf(target).Elem()
	var problems []error
	for _, s := range Settings(v.Interface()) {
		given, text, set := s.find(env, prefix, kind)
		if other := s.Only; set && other != "" && other != kind {
			if strings.HasPrefix(given, "--") && s.Flag != "label" {
				problems = append(problems, Problem{Setting: given, Text: fmt.Sprintf("is for %s, but the settings are for %s: leave it out, or set %s", other, kind, s.choosing(other))})
			}
			set = false
		}
		value := map[string]string{}
		if set {
			value[s.Variable] = text
		} else if def := s.DefaultFor(kind); def != s.Default {
			value[s.Variable] = def
		}
		decoded, err := s.decode(ctx, value)
		if err != nil {
			problems = append(problems, Problem{Setting: s.nameOf(prefix, given), Text: s.plain(text, err).Error()})
			// The checks between settings take the default instead.
			decoded, _ = s.decode(ctx, map[string]string{s.Variable: s.DefaultFor(kind)})
		}
		if decoded.IsValid() {
			v.FieldByIndex(s.field).Set(decoded)
		}
	}
	return errors.Join(problems...)
}

// decode lets go-envconfig read one setting, by the tag of its field.
func (s Setting) decode(ctx context.Context, value map[string]string) (reflect.Value, error) {
	if value[s.Variable] == "" && s.Default == "" && !s.emptyCounts {
		return reflect.Value{}, nil // go-envconfig would call a type's own decoder with ""
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
	kind := kindOf(of)
	var attrs []slog.Attr
	for _, s := range Settings(of) {
		if s.Only != "" && s.Only != kind {
			continue
		}
		attrs = append(attrs, slog.String(strings.ToLower(s.For(kind)), fmt.Sprint(v.FieldByIndex(s.field).Interface())))
	}
	return slog.GroupValue(attrs...)
}

// Environment interpolates the process's environment as Prefect does: in Prefect's own
// variables, a leading ~ and $NAME or ${NAME} mean the same as in a shell, and unknown
// names stay as they are (prefect1 §5.2).
func Environment(env envconfig.Lookuper) envconfig.Lookuper { return interpolated{env} }

type interpolated struct{ env envconfig.Lookuper }

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

// reference is a variable in a text, as os.path.expandvars of Python finds it.
var reference = regexp.MustCompile(`\$(?:\{[^$}]*\}|[0-9A-Za-z_]+)`)

func (i interpolated) expand(text string) string {
	return reference.ReplaceAllStringFunc(text, func(found string) string {
		name := strings.TrimSuffix(strings.TrimPrefix(found[1:], "{"), "}")
		if value, known := i.env.Lookup(name); known {
			return value
		}
		return found
	})
}
