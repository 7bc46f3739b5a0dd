package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/sethvargo/go-envconfig"
)

// WithFiles adds Prefect's own files in a person's home behind env, unless that is for Prefect 3: config.toml,
// backend.toml, and the key and tenant that `prefect auth login` left in auth.toml for
// this very API (prefect1 §5.2, §7.1). The variables that move these files work as in
// Prefect. A pod has no such files. The error joins a Problem for each file that cannot be
// read.
func WithFiles(ctx context.Context, env envconfig.Lookuper) (envconfig.Lookuper, error) {
	if kind, _ := KindOf(env); kind == Prefect3 { // loading tells of settings for both
		return env, nil
	}
	text := func(name string) string { t, _ := env.Lookup(name); return t }
	home := text("PREFECT__HOME_DIR")
	if home == "" && text("HOME") != "" {
		home = filepath.Join(text("HOME"), ".prefect")
	}
	path := func(variable, name string) string {
		if given := text(variable); given != "" || home == "" {
			return given
		}
		return filepath.Join(home, name)
	}
	var trees [3]map[string]any
	var problems []error
	for i, file := range []string{
		path("PREFECT__BACKEND_CONFIG_PATH", "backend.toml"),
		path("PREFECT__USER_CONFIG_PATH", "config.toml"),
		path("", "auth.toml"),
	} {
		var err error
		if trees[i], err = readTOML(file); err != nil {
			problems = append(problems, Problem{Setting: file, Text: err.Error()})
		}
	}
	found := layers{tomlTree(trees[0]), tomlTree(trees[1])}
	all := layers{env, interpolated{append(found, env)}}

	var api Prefect
	_ = load(ctx, &api, all, "", Prefect1) // the caller loads all settings and finds the same problems
	saved, _ := trees[2][slug(api.Address().Reveal())].(map[string]any)
	return append(all, envconfig.MapLookuper(map[string]string{
		"PREFECT__CLOUD__API_KEY":   tomlText(saved["api_key"]),
		"PREFECT__CLOUD__TENANT_ID": tomlText(saved["tenant_id"]),
	})), errors.Join(problems...)
}

// layers asks one after the other. An empty text counts only if no layer has another.
type layers []envconfig.Lookuper

func (l layers) Lookup(name string) (string, bool) {
	set := false
	for _, layer := range l {
		text, here := layer.Lookup(name)
		if text != "" {
			return text, true
		}
		set = set || here
	}
	return "", set
}

// readTOML gives nil for a file that does not exist. Its errors do not quote the text,
// which may be a key.
func readTOML(path string) (map[string]any, error) {
	text, err := os.ReadFile(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", errors.Unwrap(err))
	}
	var tree map[string]any
	if _, err := toml.Decode(string(text), &tree); err != nil {
		line := 0
		if parse, ok := errors.AsType[toml.ParseError](err); ok {
			line = parse.Position.Line
		}
		return nil, fmt.Errorf("is not TOML at line %d: fix it, or move the file away", line)
	}
	return tree, nil
}

// tomlTree finds PREFECT__CLOUD__AGENT__NAME as name in the table cloud.agent.
type tomlTree map[string]any

func (t tomlTree) Lookup(name string) (string, bool) {
	path, ok := strings.CutPrefix(name, "PREFECT__")
	if !ok {
		return "", false
	}
	var at any = map[string]any(t)
	for key := range strings.SplitSeq(strings.ToLower(path), "__") {
		table, _ := at.(map[string]any)
		if at, ok = table[key]; !ok {
			return "", false
		}
	}
	return tomlText(at), true
}

// tomlText writes a value as the variable would spell it.
func tomlText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// slug is the name of an API in auth.toml: its host and port, with - for all but letters,
// digits, dots and dashes.
func slug(api string) string {
	u, err := url.Parse(api)
	if err != nil {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, strings.ToLower(u.Host))
}
