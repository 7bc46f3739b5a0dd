package workpool

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The vectors are what the worker and the Python beneath it answered (prefect3 §3.2, §3.8).

func TestSlugs(t *testing.T) {
	for text, want := range map[string]struct{ name, value string }{
		"My Run": {"my-run", "My-Run"}, "a_b": {"a-b", "a_b"}, "1,000 rows": {"1000-rows", "1000-rows"}, "1,2,3": {"123", "123"},
		"it's": {"it-s", "it-s"}, "a’b": {"ab", "ab"}, "''a''": {"a", "a"}, "x--y": {"x-y", "x-y"}, "_x_": {"x", "x"}, "a&b": {"a-b", "a-b"},
		"&amp; co": {"co", "co"}, "&#65;b": {"ab", "Ab"}, "&#x41;b": {"ab", "Ab"}, "&#0;a": {"a", "a"}, "&#99999999;": {"99999999", "99999999"},
		"&eacute;t": {"e-t", "e-t"}, "&nope;x": {"nope-x", "nope-x"}, "&#xd800;a": {"a", "a"}, "&#x110000;": {"x110000", "x110000"},
		"你好": {"ni-hao", "Ni-Hao"}, "Ü": {"u", "U"}, "ß": {"ss", "ss"}, "½": {"1-2", "1-2"}, "№": {"no", "No"}, "ﬁ": {"fi", "fi"}, "Ⅷ": {"viii", "VIII"},
		"１，０００": {"1000", "1000"}, "€5": {"eur5", "EUR5"}, "し": {"si", "si"}, "a\ue000b": {"a-b", "a-b"}, "Є": {"e", "E"},
		strings.Repeat("A", 70):        {strings.Repeat("a", 45), strings.Repeat("A", 63)},
		strings.Repeat("a", 44) + "-b": {strings.Repeat("a", 44), strings.Repeat("a", 44) + "-b"},
		"🚀":                            {"", ""}, "..": {"", ""}, "…": {"", ""}, "": {"", ""},
	} {
		if name, value := nameSlug(text), valueSlug(text); name != want.name || value != want.value {
			t.Errorf("%q: name %q, value %q; want %+v", text, name, value, want)
		}
	}
	for text, want := range map[string]string{"a/b/c": "a/b-c", "Foo Bar/Baz Qux": "Foo-Bar/Baz-Qux", "🚀/x": "x", "x/🚀": "", "under_score/a_b": "under-score/a_b"} {
		if got := keySlug(text); got != want {
			t.Errorf("key %q: %q, want %q", text, got, want)
		}
	}
	if got := valueSlug(strings.Repeat("é", 1<<20)); got != strings.Repeat("e", 63) {
		t.Errorf("a long text: %q", got)
	}
}

func TestSplit(t *testing.T) {
	for command, want := range map[string][]string{
		"": {}, " \t\r\n": {}, "a 'b c' d": {"a", "b c", "d"}, `"a\"b\\c\d"`: {`a"b\c\d`}, `a\ b`: {"a b"}, "''": {""}, "a''b": {"ab"}, `a""`: {"a"},
		"#x y": {"#x", "y"}, "a;b|c&&d": {"a;b|c&&d"}, "a\nb\tc\rd\x0be\x0cf": {"a", "b", "c", "d\x0be\x0cf"}, "\\\n": {"\n"}, `'a\'`: {`a\`},
		"é ü": {"é", "ü"}, "$HOME `x`": {"$HOME", "`x`"}, `a'b'"c"`: {"abc"}, `"\n\$x"`: {`\n\$x`}, "\"a\\\nb\"": {"a\\\nb"}, "\u00a0a": {"\u00a0a"},
	} {
		if got, err := split(command); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%q: %q, %v; want %q", command, got, err, want)
		}
	}
	for command, want := range map[string]string{
		`a\`: "ends with a backslash that escapes nothing", `"a`: "opens a quote that is never closed", "'": "opens a quote that is never closed", `"\`: "ends with a backslash that escapes nothing",
	} {
		if got, err := split(command); fmt.Sprint(err) != want {
			t.Errorf("%q: %q, %v; want %s", command, got, err, want)
		}
	}
}

// given are the job variables of TestPlaceholders.
const given = `{"a": 1, "b": true, "n": null, "f": 1.5, "o": {"a": 1, "k": [1, "x", {"z": null}]}, "l": [1, "x", null], "l0": [[5]], "s": "it's", "t": "{{ a }}",
"größe": "g", "a.b": "dotted", "x-y": "dash", "big": 1e20, "e": "", "nl": "a\nb\"'", "env": {"A": "1"}, "d": {"0": "zero", "-1": "m", "größe": "g", "$x": 1},
"m": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"], "": {"0": "q"}, "a$b": "ab", "blk": "{{ prefect.variables.v }}", "neg": -0.0, "int": -0}`

func TestPlaceholders(t *testing.T) {
	const gone, same = "<gone>", "<same>"
	v, err := decode(json.RawMessage(given), "given")
	if err != nil {
		t.Fatal(err)
	}
	vars, _ := v.object()
	for text, want := range map[string]string{
		"{{ a }}": `1`, "{{a}}": `1`, "{{  a\t}}": `1`, "{{\na }}": `1`, " {{ a }}": `" 1"`, "{{ a }}{{ b }}": `"1True"`, "{{\u00a0a }}": `1`, "{{ a\u3000}}": `1`, "{{ \x1ca }}": `1`,
		"{{ n }}": `null`, "x{{ n }}": `"xNone"`, "{{ miss }}": gone, "{{ miss }}-": `"-"`, "x {{ o }}": `"x {'a': 1, 'k': [1, 'x', {'z': None}]}"`, "q{{ l }}": `"q[1, 'x', None]"`,
		"{{ o.a }}": `1`, "{{ o.k[0] }}": `1`, "{{ o.k.0 }}": `1`, "{{ o.k[00] }}": `1`, "{{ o.k[1] }}x": `"xx"`, "{{ o.k[2].z }}": `null`, "{{ o.k[9] }}": gone, "{{ o.k[-1] }}": `{"z":null}`, "{{ o.k[-9] }}": gone,
		"{{ o[a] }}": `1`, "{{ o['a'] }}": same, "{{ o.k[1]x }}": gone, "{{ o.k[] }}": gone, "{{ o[0] }}": gone, "{{ n.x }}": gone, "{{ o..a }}": gone, "{{ a. }}": gone, "{{ .a }}": gone, "{{ . }}": gone,
		"{{ a.b }}": gone, "{{ x-y }}": `"dash"`, "{{ s.x }}": gone, "{{ s[0] }}": `"i"`, "{{ s[-1] }}": `"s"`, "{{ s[99] }}": gone, "{{ s[-99] }}": gone, "{{ s.0.0 }}": `"i"`, "{{ s[20000] }}": gone, "{{ s[3] }}": `"s"`,
		"{{ t }}": `"{{ a }}"`, "x{{ t }}": `"x{{ a }}"`, "{{ größe }}": `"g"`, "{{ d.größe }}": `"g"`, "{{ d.0 }}": `"zero"`, "{{ d[-1] }}": `"m"`, "{{ d.$x }}": `1`, "{{ m.1_0 }}": `"k"`, "{{ m[+1] }}": same,
		"{{ [0] }}": `"q"`, "{{ a$b }}": `"ab"`, "{{ l0[0][0] }}": `5`, "{{ l0.0.0 }}": `5`, "{{ l0[[0]] }}": gone, "{{ l[0]] }}": `1`, "{{ d[d.0] }}": gone,
		"{{ a b }}": same, "{{ a | upper }}": same, "{{- a }}": same, "{{{ a }}}": `"{1}"`, "{{ a }": same, "{{ {{ a }} }}": `"{{ 1 }}"`, "{{ }}": same, "{{}}": same, "{{ a‿b }}": same, "{{ 你 }}": gone, "{{ ² }}": gone,
		"{{ big }}": `1e20`, "z{{ big }}": `"z1e+20"`, "f{{ f }}": `"f1.5"`, "n{{ neg }}": `"n-0.0"`, "n{{ int }}": `"n0"`, "{{ e }}": `""`, "[{{ nl }}]": `"[a\nb\"']"`, "{{ env.A }}": `"1"`, "{{ env }}": `{"A":"1"}`,
		"{{ $ZONE }}": `"z1"`, "x{{ $ZONE }}y": `"xz1y"`, "{{ $MISS }}": `""`, "{{ $ }}": `""`, "{{ $ZONE.x }}": `""`, "{{ $ZONE }}{{ a }}": `"z11"`,
		"{{ prefect.blocks.x.y }}": same, "p{{ prefect.variables.v }}{{ a }}": `"p{{ prefect.variables.v }}1"`, "{{ prefect.foo }}": gone, "{{ prefect.variables }}": gone, "{{ blk }}": `"{{ prefect.variables.v }}"`, "{{ ctx.flow.name }}": gone,
	} {
		r := &rendering{room: maxText, settings: Settings{TemplateEnv: map[string]string{"ZONE": "z1"}}}
		got, err := r.variablesPass(vars).value(&value{data: text})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		is := gone
		if got != nil {
			raw, err := got.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if is = string(raw); got.data == text {
				is = same
			}
		}
		if is != want {
			t.Errorf("%q: %s, want %s", text, is, want)
		}
	}
}

// What is gone goes from lists and objects; names of fields are no placeholders.
func TestPlaceholdersInside(t *testing.T) {
	v, err := decode(json.RawMessage(`{"{{ a }}": ["{{ miss }}", 1, "{{ n }}", "{{ a }}", ["{{ miss }}"]], "gone": "{{ miss }}", "b": true}`), "it")
	if err != nil {
		t.Fatal(err)
	}
	vars := newObject()
	vars.set("a", &value{data: "x"})
	vars.set("n", &value{})
	r := &rendering{room: maxText}
	got, err := r.variablesPass(vars).value(v)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := got.MarshalJSON()
	if want := `{"{{ a }}":[1,null,"x",[]],"b":true}`; err != nil || string(raw) != want {
		t.Errorf("%s, %v; want %s", raw, err, want)
	}
}

func TestStr(t *testing.T) {
	for text, want := range map[string]string{
		`null`: "None", `true`: "True", `false`: "False", `"it's"`: "it's", `["it's", "q\"u'o\n", "é\u200b\u0001😀"]`: `["it's", 'q"u\'o\n', 'é\u200b\x01😀']`,
		`{"a": {"b": [1, null]}, "it's": 1}`: `{'a': {'b': [1, None]}, "it's": 1}`, `[]`: "[]", `{}`: "{}", `1e20`: "1e+20", `1E5`: "100000.0", `2.50`: "2.5", `1e-7`: "1e-07", `0.0001`: "0.0001",
		`100000000000000000000`: "100000000000000000000", `-0`: "0", `-0.0`: "-0.0", `1e999`: "inf", `-1e999`: "-inf", `1e16`: "1e+16", `123456789012345.0`: "123456789012345.0",
	} {
		v, err := decode(json.RawMessage(text), "it")
		if err != nil {
			t.Fatal(err)
		}
		if got := str(v); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct{ cfg, defaults, deployment, run, wantCfg, wantVars, wantErr string }{
		"the run over the deployment over the pool": {
			`{"env": "{{ env }}", "x": 1}`, `{"a": "pool", "b": "pool", "c": "pool"}`, `{"b": "deployment", "c": "deployment"}`, `{"c": "run"}`,
			`{"env":"{{ env }}","x":1}`, `{"a":"pool","b":"deployment","c":"run"}`, "",
		},
		"env is merged in its order": {
			`{"env": "{{ env }}"}`, `{"env": {"A": "pool", "Z": "pool"}}`, `{"env": {"A": "deployment", "B": "deployment"}}`, `{"env": {"A": "run", "C": "run"}}`,
			`{"env":{"A":"run","Z":"pool","B":"deployment","C":"run"}}`, `{"env":{"A":"run","B":"deployment","C":"run"}}`, "",
		},
		"env of the template itself":                    {`{"env": {"C": "1", "A": "1"}}`, `{"env": {"A": "2"}}`, `{}`, `{"env": {"A": "3"}}`, `{"env":{"C":"1","A":"3"}}`, `{"env":{"A":"3"}}`, ""},
		"labels are replaced":                           {`{}`, `{"labels": {"x": 1}}`, `{"labels": {"y": 1}}`, `{"labels": {"z": 1}}`, `{}`, `{"labels":{"z":1}}`, ""},
		"a null takes away, and no merge":               {`{}`, `{"image": "pool"}`, `{"env": {"A": "1"}}`, `{"image": null, "env": null}`, `{}`, `{"image":null,"env":{"A":"1"}}`, ""},
		"no object in the deployment":                   {`{}`, `{}`, `{"env": [{"name": "A"}]}`, `{"env": {"C": "run"}}`, `{}`, `{"env":{"C":"run"}}`, ""},
		"dots":                                          {`{}`, `{}`, `{"env": {"A": "deployment"}}`, `{"env.A": "run", "env.B": "run"}`, `{}`, `{"env":{"A":"deployment","B":"run"}}`, ""},
		"dots beside objects":                           {`{}`, `{}`, `{"labels.a": "1"}`, `{"labels": {"b": "2"}, "a.b": 1, "a": {"c": 2}}`, `{}`, `{"labels":{"a":"1","b":"2"},"a":{"b":1,"c":2}}`, ""},
		"dots into an object that a name with dots has": {`{}`, `{}`, `{}`, `{"env.A": {"x": 1}, "env.A.B": "1"}`, `{}`, `{"env":{"A":{"x":1,"B":"1"}}}`, ""},
		"a shorter path later":                          {`{}`, `{}`, `{}`, `{"env.A.B": "1", "env.A": "2"}`, `{}`, `{"env":{"A":"2"}}`, ""},
		"a longer path later":                           {`{}`, `{}`, `{}`, `{"env.A": "2", "env.A.B": "1"}`, ``, ``, "run is part of run, which is a text: leave out one of the two"},
		"a path without end":                            {`{}`, `{}`, `{}`, `{"` + strings.Repeat(".", 101) + `": 1}`, ``, ``, "run has more than 100 dots in its name, and nothing in a Job is as deep"},
		"a list over an object":                         {`{}`, `{}`, `{"env": {}}`, `{"env": ["A"]}`, ``, ``, `run is a list, but the deployment's is an object: write {"NAME": "value"}`},
		"a list in place of an object":                  {`{"env": {"A": "1"}}`, `{}`, `{}`, `{"env": ["A"]}`, ``, ``, `run is a list, but the variables of the work pool's base job template are an object: write {"NAME": "value"}`},
		"a list that replaces a placeholder":            {`{"env": "{{ env }}"}`, `{"env": ["A"]}`, `{}`, `{"env": {"B": "1"}}`, `{"env":["A"]}`, `{"env":{"B":"1"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, vars, err := merge(fieldsOf(t, c.cfg, "pool"), fieldsOf(t, c.defaults, "pool"), fieldsOf(t, c.deployment, "deployment"), fieldsOf(t, c.run, "run"))
			if err != nil || c.wantErr != "" {
				if err == nil || err.Error() != c.wantErr {
					t.Errorf("%v, want %s", err, c.wantErr)
				}
				return
			}
			gotCfg, _ := cfg.MarshalJSON()
			gotVars, _ := vars.MarshalJSON()
			if string(gotCfg) != c.wantCfg || string(gotVars) != c.wantVars {
				t.Errorf("configuration %s\nvariables %s\nwant %s\nand %s", gotCfg, gotVars, c.wantCfg, c.wantVars)
			}
		})
	}
}

func fieldsOf(t *testing.T, text, from string) *object {
	t.Helper()
	v, err := decode(json.RawMessage(text), from)
	if err != nil {
		t.Fatal(err)
	}
	o, ok := v.object()
	if !ok {
		t.Fatalf("%s is no object", text)
	}
	return o
}
