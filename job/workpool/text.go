package workpool

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/prefect-keda/prefect-keda/literal"
)

// str is what a placeholder inside a longer text, and a value of env, becomes: the value as
// Python's str prints it (prefect3 §3.2).
func str(v *value) string {
	if text, ok := v.text(); ok {
		return text
	}
	var b strings.Builder
	repr(&b, v)
	return b.String()
}

func repr(b *strings.Builder, v *value) {
	switch data := v.data.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[data])
	case string:
		b.WriteString(literal.Quote(data))
	case json.Number:
		b.WriteString(number(string(data)))
	case []*value:
		b.WriteString("[")
		for i, item := range data {
			if i > 0 {
				b.WriteString(", ")
			}
			repr(b, item)
		}
		b.WriteString("]")
	case *object:
		b.WriteString("{")
		first := true
		for name, field := range data.all() {
			if !first {
				b.WriteString(", ")
			}
			first = false
			b.WriteString(literal.Quote(name) + ": ")
			repr(b, field)
		}
		b.WriteString("}")
	}
}

// number is an int unless it has a fraction or an exponent, as Python reads JSON.
func number(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			return "0"
		}
		return text
	}
	f, _ := strconv.ParseFloat(text, 64) // too large a one is infinite to Python, too
	return literal.Float(f)
}
