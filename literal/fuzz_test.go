package literal_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/literal"
)

// spell writes a value as Python does.
func spell(v any) string {
	var parts []string
	switch v := v.(type) {
	case string:
		return literal.Quote(v)
	case literal.Word:
		return string(v)
	case []any:
		for _, item := range v {
			parts = append(parts, spell(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case literal.Dict:
		for _, entry := range v {
			parts = append(parts, spell(entry.Key)+": "+spell(entry.Value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	panic(v)
}

// What is read means the same once it is spelled as Python does, and an error quotes
// nothing of what it refuses.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`{'A': 'x', "b": [1, 2.5, None, true], 'c': {}}`, `("a", 'b',)`, `'\x41\u00e4\U0001f600\q\'"'`, `[[[[]]]]`, `-1e3`, `{1: {2: 3}}`, `[`, `{'a'}`, `"\ud800"`, "'a\x00'", `1 2`, `'canary`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := literal.Parse(text)
		if err != nil {
			if quoted := strings.TrimSpace(text); len(quoted) > 20 && strings.Contains(err.Error(), quoted) {
				t.Fatalf("%v quotes %q", err, text)
			}
			return
		}
		again, err := literal.Parse(spell(v))
		if d := cmp.Diff(v, again); d != "" || err != nil {
			t.Fatalf("%q is spelled %q: %v\n%s", text, spell(v), err, d)
		}
	})
}

// Names come back from each form that a list has.
func FuzzList(f *testing.F) {
	f.Add("a", "b c", "[a, 'b', \"c\"]")
	f.Add("it's", "\"\\", "a,b,,")
	f.Add("", "\n", "('a',)")
	f.Add("None", "ä\x7f\u2028", "'a', 'b'")
	f.Fuzz(func(t *testing.T, a, b, text string) {
		if names, err := literal.List(text); err == nil && strings.TrimSpace(text) == "" && names != nil {
			t.Fatalf("%q is %q", text, names)
		}
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			return
		}
		want := []string{a, b}
		for _, form := range []string{"[%]", "(%)", " %", "[%,]"} {
			text := strings.ReplaceAll(form, "%", literal.Quote(a)+", "+literal.Quote(b))
			if got, err := literal.List(text); err != nil || !cmp.Equal(got, want) {
				t.Fatalf("%s is read as %q, %v", text, got, err)
			}
		}
		if want := a + b; want != "" && want == strings.TrimSpace(want) && !strings.ContainsAny(want, "[](){}'\",") && want != "None" && want != "null" {
			if got, err := literal.List(want + ", " + want); err != nil || !cmp.Equal(got, []string{want, want}) {
				t.Fatalf("%s twice is read as %q, %v", want, got, err)
			}
		}
	})
}
