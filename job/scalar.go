package job

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What a plain scalar of YAML 1.1 may be, as PyYAML tells it.
//
//nolint:gochecknoglobals // compiled once, never changed
var (
	yamlInt = regexp.MustCompile(`^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)

	yamlFloat = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
)

// scalar is a scalar's value: text, a json.Number, a bool or nil. A date stays as
// it is written.
func scalar(n *yaml.Node) (any, error) {
	tag := tagOf(n)
	text := n.Value
	var value any
	ok := true
	switch tag {
	case "!!str", "!!timestamp":
		return text, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		value, ok = yamlBool(text)
	case "!!int":
		value, ok = yamlInteger(text)
	case "!!float":
		value, ok = yamlDecimal(text)
	default:
		return nil, fmt.Errorf("line %d: nothing is known of the tag %s", n.Line, tag)
	}
	if !ok {
		return nil, fmt.Errorf("line %d: %q cannot be given as a value: put it in quotes if it is text", n.Line, text)
	}
	return value, nil
}

func isNull(n *yaml.Node) bool  { return tagOf(n) == "!!null" }
func isMerge(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && isPlain(n) && n.Value == "<<" }

// isPlain: neither in quotes nor tagged, so what is written decides.
func isPlain(n *yaml.Node) bool {
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0
}

func tagOf(n *yaml.Node) string {
	if !isPlain(n) {
		if n.Style&yaml.TaggedStyle == 0 || n.Tag == "!" {
			return "!!str"
		}
		return n.ShortTag()
	}
	switch text := n.Value; {
	case text == "" || text == "~" || text == "null" || text == "Null" || text == "NULL":
		return "!!null"
	case yamlFloat.MatchString(text):
		return "!!float"
	case yamlInt.MatchString(text):
		return "!!int"
	}
	if _, ok := yamlBool(n.Value); ok {
		return "!!bool"
	}
	return "!!str"
}

func yamlBool(text string) (value, ok bool) {
	for _, word := range []struct {
		lower string
		value bool
	}{{"yes", true}, {"no", false}, {"true", true}, {"false", false}, {"on", true}, {"off", false}} {
		capital := strings.ToUpper(word.lower[:1]) + word.lower[1:]
		if text == word.lower || text == capital || text == strings.ToUpper(word.lower) {
			return word.value, true
		}
	}
	return false, false
}

// yamlInteger reads binary, octal with a leading 0, decimal, hexadecimal, and base 60.
func yamlInteger(text string) (json.Number, bool) {
	sign, digits := signOf(strings.ReplaceAll(text, "_", ""))
	base := 10
	switch {
	case len(digits) > 1000:
		return "", false // Python has a bound, too
	case strings.HasPrefix(digits, "0b"):
		digits, base = digits[2:], 2
	case strings.HasPrefix(digits, "0x"):
		digits, base = digits[2:], 16
	case strings.HasPrefix(digits, "0") && digits != "0":
		base = 8
	case strings.Contains(digits, ":"):
		sum := new(big.Int)
		for part := range strings.SplitSeq(digits, ":") {
			n, ok := new(big.Int).SetString(part, 10)
			if !ok {
				return "", false
			}
			sum.Add(sum.Mul(sum, big.NewInt(60)), n)
		}
		digits = sum.String()
	}
	n, ok := new(big.Int).SetString(digits, base)
	if !ok || n.Sign() < 0 {
		return "", false
	}
	if sign == "-" {
		n.Neg(n)
	}
	return json.Number(n.String()), true
}

// yamlDecimal is spelled as Python prints it, for Kubernetes keeps some spellings.
func yamlDecimal(text string) (json.Number, bool) {
	sign, digits := signOf(strings.ToLower(strings.ReplaceAll(text, "_", "")))
	var f float64
	for part := range strings.SplitSeq(digits, ":") {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return "", false
		}
		f = f*60 + v
	}
	if sign == "-" {
		f = -f
	}
	shortest := strconv.FormatFloat(f, 'e', -1, 64)
	_, exponent, ok := strings.Cut(shortest, "e")
	if !ok {
		return "", false // infinite, or not a number
	}
	if e, err := strconv.Atoi(exponent); err != nil || e < -4 || e >= 16 {
		return json.Number(shortest), err == nil
	}
	fixed := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(fixed, ".") {
		fixed += ".0"
	}
	return json.Number(fixed), true
}

func signOf(text string) (sign, rest string) {
	if strings.HasPrefix(text, "-") || strings.HasPrefix(text, "+") {
		return text[:1], text[1:]
	}
	return "", text
}
