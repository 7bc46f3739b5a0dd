package literal_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/literal"
)

func TestList(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, " \t": nil, "None": nil, " null ": nil, `""`: nil, "''": nil, "[]": nil, "()": nil,
		"a": {"a"}, "a, b": {"a", "b"}, "a,,": {"a", "", ""},
		`"a"`: {"a"}, `["a"]`: {"a"}, `('a', "b",)`: {"a", "b"}, "'a', 'b'": {"a", "b"}, `[""]`: {""},
		"nullable": {"nullable"}, "None,a": {"None", "a"},
	} {
		got, err := literal.List(text)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%q: %v, -want +got:\n%s", text, err, d)
		}
	}
	for text, want := range map[string]string{
		"[null]": "null is not a text: put every text of a list in quotes, as in ['a', 'b']",
		"{}":     "{} is not a list: give a list such as ['a', 'b'] or a,b",
		"['a":    "cannot be read: character 2 opens a quote that is never closed: give a list such as ['a', 'b'] or a,b",
	} {
		if got, err := literal.List(text); fmt.Sprint(err) != want || got != nil {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
}
