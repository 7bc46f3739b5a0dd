package config

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/pflag"
)

// Group is the flags under one heading of a command's help.
type Group struct {
	Title string
	Flags *pflag.FlagSet
}

// Flags returns a flag for every setting of a Launcher or a Scaler. Their values
// are read by the same rules as the variables, once Override puts them in front.
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
	help := s.FlagHelp + " [" + s.Variable
	if s.Default != "" {
		help += "=" + s.Default
	}
	help += "]"
	switch {
	case s.Off != "" || s.kind == reflect.TypeFor[Bool]() || s.kind.Kind() == reflect.Bool:
		fs.BoolP(s.Flag, s.Short, false, help)
	case s.repeated:
		fs.StringArrayP(s.Flag, s.Short, nil, help)
	default:
		fs.StringP(s.Flag, s.Short, "", help)
	}
}

// Override is env with the flags given on the command line in front of it.
func Override(env envconfig.Lookuper, of any, fs *pflag.FlagSet) envconfig.Lookuper {
	given := map[string]string{}
	for _, s := range Settings(of) {
		if f := fs.Lookup(s.Flag); f != nil && f.Changed {
			if text, ok := s.fromFlag(fs, f); ok {
				given[s.Variable] = text
			}
		}
	}
	const key, secretKey = "PREFECT__CLOUD__API_KEY", "PREFECT_KEDA_API_KEY"
	if _, text := given[key]; text && given[secretKey] == "" {
		given[secretKey] = "" // the flag wins over the Secret as well
	}
	return envconfig.MultiLookuper(envconfig.MapLookuper(given), env)
}

// fromFlag is the flag as its variable would say it.
func (s Setting) fromFlag(fs *pflag.FlagSet, f *pflag.Flag) (string, bool) {
	switch f.Value.Type() {
	case "bool":
		on, err := strconv.ParseBool(f.Value.String())
		if s.Off != "" {
			return s.Off, err == nil && on // --no-cloud-logs=false says nothing
		}
		return f.Value.String(), true
	case "stringArray":
		items, _ := fs.GetStringArray(f.Name)
		switch s.kind {
		case reflect.TypeFor[EnvVars]():
			return envText(items), true
		default:
			if len(items) == 1 && strings.HasPrefix(items[0], "[") {
				return items[0], true
			}
			return labelsText(items), true
		}
	}
	return f.Value.String(), true
}
