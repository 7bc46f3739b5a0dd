package kubernetesrun

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What PyYAML 6.0.4, the agent's reader, makes of the same text.
func TestScalarsAreThoseOfTheAgent(t *testing.T) {
	for text, want := range map[string]string{
		"yes": "true", "Yes": "true", "ON": "true", "off": "false", "No": "false", "true": "true", "FALSE": "false",
		"y": `"y"`, "N": `"N"`, "oN": `"oN"`, `"yes"`: `"yes"`, "'1'": `"1"`,
		"~": "null", "": "null", "Null": "null", "nULL": `"nULL"`, "''": `""`,
		"12": "12", "+12": "12", "-1_000": "-1000", "010": "8", "0_": "0", "08": `"08"`, "0o17": `"0o17"`, "0x1F": "31", "-0b11": "-3", "0x": `"0x"`,
		"0b_": "line 1", "12:30": "750", "-1:00:00": "-3600", "12:60": `"12:60"`, "36893488147419103232": "36893488147419103232",
		"1.5": "1.5", ".5": "0.5", "+.5": `"+.5"`, "1.": "1.0", "1e3": `"1e3"`, "1.5e3": `"1.5e3"`, "1.5e+3": "1500.0", "0.00001": "1e-05", "1_0.5": "10.5",
		"12345678901234567.0": "1.2345678901234568e+16", "-1:30.5": "-90.5", ".inf": "line 1", "-.INF": "line 1", ".nan": "line 1",
		"2001-01-01": `"2001-01-01"`, "2001-01-01T00:00:00Z": `"2001-01-01T00:00:00Z"`, "1.2.3": `"1.2.3"`, "1.4.1rc1": `"1.4.1rc1"`,
		"!!str 1": `"1"`, "!!int '7'": "7", "!!float 3": "3.0", "!!bool yes": "true", "!!bool y": "line 1", "!!int x": "line 1", "!!binary YQ==": "line 1", "!ours x": "line 1",
		"|\n  yes": `"yes"`,
	} {
		got, err := yamlToJSON([]byte("[" + text + "]"))
		if strings.HasPrefix(text, "|") {
			got, err = yamlToJSON([]byte("- " + text))
		}
		if text == "" {
			got, err = yamlToJSON([]byte("- "))
		}
		if err != nil {
			if !strings.HasPrefix(want, "line ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %s", text, err, want)
			}
			continue
		}
		if diff := cmp.Diff("["+want+"]", string(got)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestMappings(t *testing.T) {
	bomb := "a0: &a0 [x, x]\n"
	for i := range 30 {
		bomb += fmt.Sprintf("a%d: &a%[1]d [*a%d, *a%[2]d]\n", i+1, i)
	}
	for _, tc := range []struct{ name, text, want string }{
		{"an override of what is merged", "b: &b {a: 1, c: 3}\nx: {<<: *b, a: 2}", `{"b":{"a":1,"c":3},"x":{"a":2,"c":3}}`},
		{"whichever is written first", "b: &b {a: 1}\nx: {a: 2, <<: *b}", `{"b":{"a":1},"x":{"a":2}}`},
		{"of several the first", "{<<: [{a: 1}, {a: 2, b: 2}]}", `{"a":1,"b":2}`},
		{"merges of merges", "b: &b {a: 1}\nc: &c {<<: *b, d: 1}\nx: {<<: *c}", `{"b":{"a":1},"c":{"a":1,"d":1},"x":{"a":1,"d":1}}`},
		{"a list of aliases", "b: &b [{a: 1}]\nx: {<<: *b}", `{"b":[{"a":1}],"x":{"a":1}}`},
		{"<< in quotes is a key", `{"<<": {a: 1}}`, `{"<<":{"a":1}}`},
		{"merging text", "{<<: a}", "line 1: << takes a mapping or a list of mappings"},
		{"merging nothing", "{<<: null}", "line 1: << takes a mapping or a list of mappings"},
		{"a key twice", "a: 1\na: 2", `line 2: key "a" is given twice`},
		{"a key twice in what is merged", "b: &b {a: 1, a: 2}\nx: {<<: *b}", `line 1: key "a" is given twice`},
		{"a key twice, spelled in two ways", "1: a\n'1': b", `line 2: key "1" is given twice`},
		{"keys of all types", "{1: a, 010: b, 1.5: c, yes: d, null: e, x: f}", `{"1":"a","1.5":"c","8":"b","null":"e","true":"d","x":"f"}`},
		{"a list as a key", "? [a]\n: b", "line 1: a list or a mapping is no key"},
		{"in itself", "a: &a {b: *a}", "line 1: it contains itself"},
		{"a set", "!!set {a, b}", "line 1: nothing is known of the tag !!set"},
		{"aliases that grow", bomb, "it has more than 20000 values when its aliases are followed"},
		{"aliases of long text", "- &a " + strings.Repeat("x", 100_000) + "\n- [" + strings.Repeat("*a,", 10) + "]", "it is larger than 1 MiB when its aliases are followed"},
		{"nested", strings.Repeat("[", 101) + strings.Repeat("]", 101), "line 1: it is nested more than 100 deep, and no Job is"},
		{"two documents", "a: 1\n---\nb: 1", "holds 2 YAML documents: keep one, a Kubernetes Job"},
		{"documents that say nothing", "---\n# no\n---\na: 1\n---\nnull\n", `{"a":1}`},
		{"nothing", "# no\n", "is empty: it must hold one Kubernetes Job"},
	} {
		got, err := yamlToJSON([]byte(tc.text))
		if err != nil {
			got = []byte(strings.TrimPrefix(err.Error(), "is not valid YAML: "))
		}
		if diff := cmp.Diff(tc.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// Whatever text is given, it becomes JSON or an error, and JSON stays what it is.
func FuzzYAML(f *testing.F) {
	for _, seed := range []string{
		"a: &a {b: 1}\nc: {<<: [*a, *a], b: 010}", "a: &a [*a]", "- yes\n- 1:30\n- .inf\n- 2001-01-01", "? {a: b}\n: c", "%YAML 1.1\n---\n!!set {a}\n...",
		`{"a": [1, 2.5, "x", null, true]}`, "a: |\n  b\n--- >\n c", "\ufeffa: b", "<<: {a: 1}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := yamlToJSON([]byte(text))
		if err != nil {
			return
		}
		if !json.Valid(first) {
			t.Fatalf("%q became %q", text, first)
		}
	})
}
