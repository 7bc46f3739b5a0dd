package literal

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Quote spells a text as Python's repr does. Parse reads it back.
func Quote(s string) string {
	quote := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = `"`
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\' || string(r) == quote:
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return quote + b.String() + quote
}

// Float spells a number as Python prints a float.
func Float(f float64) string {
	shortest := strconv.FormatFloat(f, 'e', -1, 64)
	_, exponent, ok := strings.Cut(shortest, "e")
	if !ok {
		return strings.TrimPrefix(strings.ToLower(shortest), "+") // inf, -inf, nan
	}
	if e, err := strconv.Atoi(exponent); err != nil || e < -4 || e >= 16 {
		return shortest
	}
	fixed := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(fixed, ".") {
		fixed += ".0"
	}
	return fixed
}
