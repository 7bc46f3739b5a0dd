package config_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/config"
)

func TestLabels(t *testing.T) {
	for text, want := range map[string]config.Labels{
		"":                       nil,
		" [] ":                   nil,
		`['a','b']`:              {"a", "b"},
		`["a", "b"]`:             {"a", "b"},
		`["a", 'b',]`:            {"a", "b"},
		`('a',)`:                 {"a"},
		`'a', 'b'`:               {"a", "b"},
		`"dev"`:                  {"dev"},
		"dev":                    {"dev"},
		"a,b":                    {"a", "b"},
		" gpu = yes , b":         {"gpu = yes", "b"},
		`['it\'s', "\"", 'ü,x']`: {"it's", `"`, "ü,x"},
		`['\u00fc\n\q']`:         {"ü\n\\q"},
		"null":                   nil,
		" None ":                 nil,
		`""`:                     nil,
		`''`:                     nil,
		"none":                   {"none"},
	} {
		var got config.Labels
		err := got.UnmarshalText([]byte(text))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%q: %v, -want +got:\n%s", text, err, d)
		}
	}
	for text, want := range map[string]string{
		"a,,b":                  `"a,,b" contains an empty label: remove the spare comma`,
		"['']":                  "contains an empty label: remove it",
		"[1]":                   "1 is not a text: put every text of a list in quotes, as in ['a', 'b']",
		"[a]":                   "cannot be read: character 2 begins something other than a text, number, list or dict: put texts in quotes: give a list such as ['a', 'b'] or a,b",
		"{'a':1}":               "{'a':1} is not a list: give a list such as ['a', 'b'] or a,b",
		"['a'":                  "cannot be read: character 5 should be a comma or ]: give a list such as ['a', 'b'] or a,b",
		"['a'] x":               "cannot be read: character 7 does not belong there: give a list such as ['a', 'b'] or a,b",
		strings.Repeat("[", 99): "cannot be read: character 17 is nested too deeply: give a list such as ['a', 'b'] or a,b",
	} {
		var got config.Labels
		if err := got.UnmarshalText([]byte(text)); fmt.Sprint(err) != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

// What the official chart wrote of imagePullSecrets, as text and as JSON, and what
// people write by hand.
func TestNames(t *testing.T) {
	for text, want := range map[string]config.Names{
		"": nil, "[]": nil, `""`: nil, "null": nil, "None": nil, `[""]`: nil, " , ": nil,
		"a": {"a"}, `"a"`: {"a"}, `["a"]`: {"a"}, "['a', \"b\"]": {"a", "b"}, " a ,, b,": {"a", "b"},
	} {
		got := config.Names{"from before"}
		err := got.UnmarshalText([]byte(text))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%q: %v, -want +got:\n%s", text, err, d)
		}
	}
	got := config.Names{"from before"}
	if err := got.UnmarshalText([]byte("[a]")); fmt.Sprint(err) != "cannot be read: character 2 begins something other than a text, number, list or dict: put texts in quotes: give a list such as ['a', 'b'] or a,b" || got != nil {
		t.Errorf("[a] is %v, %v", got, err)
	}
}

func TestEnvVars(t *testing.T) {
	for text, want := range map[string]config.EnvVars{
		"":                                  nil,
		"{}":                                nil,
		`{'A': '1', "B": "x, y"}`:           {{Name: "A", Value: "1"}, {Name: "B", Value: "x, y"}},
		`{"A": true, "B": 1.50, "C": True}`: {{Name: "A", Value: "true"}, {Name: "B", Value: "1.50"}, {Name: "C", Value: "True"}},
		"A=1,B==2":                          {{Name: "A", Value: "1"}, {Name: "B", Value: "=2"}},
		"{'A': '1', 'B': '', 'A': '2'}":     {{Name: "A", Value: "2"}, {Name: "B", Value: ""}},
	} {
		var got config.EnvVars
		err := got.UnmarshalText([]byte(text))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%q: %v, -want +got:\n%s", text, err, d)
		}
	}
	for text, want := range map[string]string{
		"A":            "variable 1 has no =: give KEY=VALUE; where a value has a comma, use {'KEY': 'VALUE'}",
		"=1":           "has a variable without a name: give KEY=VALUE",
		"{'A': null}":  "A has no value: give a text, or '' for an empty one",
		"{'A': ['b']}": "A has a list or a dict as its value: a variable is a text, put it in quotes",
		"{1: '1'}":     "1 is not a name: put the names of variables in quotes",
		"{'A B': '1'}": `"A B" cannot be the name of a variable: no spaces, no =, ASCII only`,
		"{'A'}":        "cannot be read: character 5 should be a colon: give a dict such as {'A': '1', 'B': '2'}",
	} {
		var got config.EnvVars
		if err := got.UnmarshalText([]byte(text)); fmt.Sprint(err) != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

// What is read and written as JSON reads the same again; nothing panics, and no
// label or name is ever empty.
func FuzzLabels(f *testing.F) {
	for _, s := range []string{"", "a,b", `['a', "b"]`, `('a',)`, `['\u00fc\'']`, "[1]", "[[["} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got, again config.Labels
		if got.UnmarshalText([]byte(text)) != nil {
			return
		}
		for _, l := range got {
			if l == "" {
				t.Fatalf("%q has an empty label", text)
			}
		}
		if len(got) == 0 || !json.Valid([]byte(text)) {
			return
		}
		encoded, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalText(encoded); err != nil {
			t.Fatalf("%s: %v", encoded, err)
		}
		if d := cmp.Diff(got, again); d != "" {
			t.Fatalf("%q and %s differ:\n%s", text, encoded, d)
		}
	})
}

func FuzzEnvVars(f *testing.F) {
	for _, s := range []string{"", "A=1,B=2", `{'A': '1', "B": true}`, `{"A": {"B": 1}}`, `{'A': '\x41'}`, "{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got config.EnvVars
		if got.UnmarshalText([]byte(text)) != nil {
			return
		}
		seen := map[string]bool{}
		for _, v := range got {
			if v.Name == "" || seen[v.Name] || strings.Contains(v.Name, "=") {
				t.Fatalf("%q gives the name %q", text, v.Name)
			}
			seen[v.Name] = true
		}
	})
}
