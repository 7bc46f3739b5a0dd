package config

import (
	"cmp"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"
)

// Setting describes one setting.
type Setting struct {
	Variable, Default    string
	Flag, Short, Off     string
	Group, Help, Example string
	FlagHelp             string
	// Variable3 and Default3 take the place of the others with Prefect 3. Of a Variable
	// that is ours, Variable3 is another name.
	Variable3, Default3 string
	// Only is the kind that has the setting; empty for both.
	Only Kind
	// Aliases are further flags, those of `prefect worker start`, with the text that a
	// bare one stands for.
	Aliases               map[string]string
	field                 []int
	repeated, emptyCounts bool
	kind                  reflect.Type
	tag                   reflect.StructTag
}

// Name is the variable with its flag, for errors and documents.
func (s Setting) Name() string {
	if s.Flag == "" {
		return s.Variable
	}
	return s.Variable + " (--" + s.Flag + ")"
}

// NameOf is the name of the setting of something that a variable has; the variable itself
// if there is none. Of settings of a kind, it is the name with that kind.
func NameOf(variable string, of ...any) string {
	for _, one := range of {
		kind := kindOf(one)
		for _, s := range Settings(one) {
			if variable == s.Variable && kind == Prefect3 {
				s.Variable = s.For(kind)
				return s.Name()
			}
			if variable == s.Variable || variable == s.Variable3 {
				s.Variable = variable
				return s.Name()
			}
		}
	}
	return variable
}

// kindOf is that of loaded settings; empty for others.
func kindOf(settings any) Kind {
	switch of := settings.(type) {
	case Launcher:
		return of.Kind
	case Scaler:
		return of.Kind
	case Prefect:
		return of.Kind
	}
	return ""
}

// Settings lists the settings of a Launcher, a Scaler or a Connection in order.
func Settings(of any) []Setting { return settings(reflect.TypeOf(of), nil, "") }

func settings(t reflect.Type, index []int, group string) []Setting {
	var all []Setting
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(append([]int{}, index...), i)
		if f.Anonymous {
			all = append(all, settings(f.Type, at, cmp.Or(f.Tag.Get("group"), group))...)
			continue
		}
		variable, options, _ := strings.Cut(f.Tag.Get("env"), ",")
		if variable == "" {
			continue
		}
		_, def, _ := strings.Cut(options, "default=")
		variable3, def3 := ofPrefect3(f.Tag, def)
		_, emptyCounts := reflect.TypeAssert[interface{ emptyIsAValue() }](reflect.New(f.Type))
		all = append(all, Setting{
			Variable: variable, Default: def, Group: group, Variable3: variable3, Default3: def3,
			Only: Kind(f.Tag.Get("only")), Aliases: aliases(f.Tag.Get("alias")),
			Flag: f.Tag.Get("flag"), Short: f.Tag.Get("short"), Off: f.Tag.Get("off"),
			Help: f.Tag.Get("help"), Example: f.Tag.Get("example"), FlagHelp: cmp.Or(f.Tag.Get("flaghelp"), f.Tag.Get("help")),
			field: at, kind: f.Type, tag: f.Tag, emptyCounts: emptyCounts,
			repeated: f.Type == reflect.TypeFor[Labels]() || f.Type == reflect.TypeFor[EnvVars]() || f.Type == reflect.TypeFor[Places](),
		})
	}
	return all
}

// ofPrefect3 reads the tag env3: a variable, a default, or both.
func ofPrefect3(tag reflect.StructTag, def string) (variable, def3 string) {
	variable, options, _ := strings.Cut(tag.Get("env3"), ",")
	if _, own, has := strings.Cut(options, "default="); has {
		def = own
	}
	return variable, def
}

// aliases reads the tag alias: a flag, or flag=text for a switch.
func aliases(tag string) map[string]string {
	if tag == "" {
		return nil
	}
	flag, text, _ := strings.Cut(tag, "=")
	return map[string]string{flag: text}
}

// For is the variable of the setting with a kind of Prefect.
func (s Setting) For(kind Kind) string {
	if kind == Prefect3 && s.Variable3 != "" && !strings.HasPrefix(s.Variable, "PREFECT_KEDA_") {
		return s.Variable3
	}
	return s.Variable
}

// DefaultFor is its default.
func (s Setting) DefaultFor(kind Kind) string {
	if kind == Prefect3 {
		return s.Default3
	}
	return s.Default
}

// choosing says how to tell us that the other kind is meant.
func (Setting) choosing(kind Kind) string {
	if kind == Prefect3 {
		return apiURL
	}
	return kindVariable + "=" + string(kind)
}

// find looks for the setting's text: in its flags, then in its variables. Given is the
// name by which it was found; without a text, the variable to set.
func (s Setting) find(env envconfig.Lookuper, prefix string, kind Kind) (given, text string, set bool) {
	names := []string{}
	if prefix == "" && s.Flag != "" {
		names = append(names, "--"+s.Flag)
	}
	for flag := range s.Aliases {
		names = append(names, "--"+flag)
	}
	names = append(names, prefix+s.For(kind))
	if kind == Prefect3 && s.Variable3 != "" {
		names = append(names, prefix+s.Variable3)
	}
	for _, name := range names {
		if text, set = env.Lookup(name); set && (text != "" || s.emptyCounts) {
			return name, s.seconds(name, text), true
		}
	}
	return prefix + s.For(kind), "", false
}

// seconds gives a duration its unit where the name is one of Prefect's, whose durations
// are numbers of seconds.
func (s Setting) seconds(name, text string) string {
	_, isAlias := s.Aliases[strings.TrimPrefix(name, "--")]
	if _, err := strconv.ParseFloat(text, 64); err == nil && s.kind == reflect.TypeFor[time.Duration]() && (isAlias || name == s.Variable3) {
		return text + "s"
	}
	return text
}

// nameOf is Name for a variable or a flag of the setting.
func (s Setting) nameOf(prefix, given string) string {
	if given == s.Variable3 {
		s.Variable = s.Variable3
	}
	return prefix + s.Name()
}
