package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/pflag"
)

// Group holds the flags under one heading of a command's help.
type Group struct {
	Title string
	Flags *pflag.FlagSet
}

// Flags returns a flag for every setting of a Launcher or a Scaler. Override puts their
// values before the variables, and the same rules read both.
func Flags(of any) []Group {
	var groups []Group
	for _, s := range Settings(of) {
		if len(groups) == 0 || groups[len(groups)-1].Title != s.Group {
			groups = append(groups, Group{Title: s.Group, Flags: pflag.NewFlagSet(s.Group, pflag.ContinueOnError)})
		}
		s.addTo(groups[len(groups)-1].Flags)
	}
	return groups
}

func (s Setting) addTo(fs *pflag.FlagSet) {
	if s.Flag == "" {
		return
	}
	help := s.FlagHelp + " [" + s.variables() + "]"
	for name, text := range s.Aliases {
		if text != "" {
			fs.Bool(name, false, fmt.Sprintf("as --%s=%s", s.Flag, text))
		} else {
			fs.String(name, "", "as --"+s.Flag)
		}
	}
	switch {
	case s.Off != "" || s.kind == reflect.TypeFor[Bool]() || s.kind.Kind() == reflect.Bool:
		fs.BoolP(s.Flag, s.Short, false, help)
	case s.repeated:
		fs.StringArrayP(s.Flag, s.Short, nil, help)
	default:
		fs.StringP(s.Flag, s.Short, "", help)
	}
}

// variables names the setting's variables with their defaults, that of Prefect 3 first.
func (s Setting) variables() string {
	with := func(variable, def string) string {
		if def == "" {
			return variable
		}
		return variable + "=" + def
	}
	switch {
	case s.For(Prefect3) != s.Variable:
		return with(s.Variable3, s.Default3) + ", " + with(s.Variable, s.Default)
	case s.Default3 != s.Default && s.Only == "":
		return with(s.Variable, s.Default3) + ", with Prefect 1 " + s.Default
	}
	return with(s.Variable, s.Default)
}

// Override puts the flags given on the command line before env, under their own names
// (--api) and those of their variables.
func Override(env envconfig.Lookuper, of any, fs *pflag.FlagSet) envconfig.Lookuper {
	given := map[string]string{}
	for _, s := range Settings(of) {
		if f := fs.Lookup(s.Flag); f != nil && f.Changed {
			if text, ok := s.fromFlag(fs, f); ok {
				given[s.Variable], given["--"+s.Flag] = text, text
			}
		}
		for name, text := range s.Aliases {
			if f := fs.Lookup(name); f != nil && f.Changed && f.Value.String() != "false" {
				given["--"+name] = cmp.Or(text, f.Value.String())
			}
		}
	}
	const key, secretKey = "PREFECT__CLOUD__API_KEY", "PREFECT_KEDA_API_KEY"
	if _, text := given[key]; text && given[secretKey] == "" {
		given[secretKey] = "" // the flag also wins over the Secret
	}
	return envconfig.MultiLookuper(envconfig.MapLookuper(given), env)
}

// fromFlag writes the flag as its variable would spell it.
func (s Setting) fromFlag(fs *pflag.FlagSet, f *pflag.Flag) (string, bool) {
	switch f.Value.Type() {
	case "bool":
		on, err := strconv.ParseBool(f.Value.String())
		if s.Off != "" {
			return s.Off, err == nil && on // --no-cloud-logs=false leaves the variable alone
		}
		return f.Value.String(), true
	case "stringArray":
		items, _ := fs.GetStringArray(f.Name)
		switch {
		case s.kind == reflect.TypeFor[EnvVars]():
			return envText(items), true
		case s.kind == reflect.TypeFor[Places]():
			return placesText(items), true
		case len(items) == 1 && strings.HasPrefix(items[0], "["):
			return items[0], true
		}
		return labelsText(items), true
	}
	return f.Value.String(), true
}
