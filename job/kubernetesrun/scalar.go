package kubernetesrun

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/prefect-keda/prefect-keda/literal"
)

// What a plain scalar of YAML 1.1 may be, as PyYAML tells it.
//
//nolint:gochecknoglobals // compiled once, where it is needed, and never changed
var (
	yamlInt = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	})

	yamlFloat = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	})
)

// scalar is a scalar's value: text, a json.Number, a bool or nil. A date stays as
// it is written.
func scalar(n *yaml.Node) (any, error) {
	tag := tagOf(n)
	text := n.Value
	var value any
	var ok bool
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
	case yamlFloat().MatchString(text):
		return "!!float"
	case yamlInt().MatchString(text):
		return "!!int"
	}
	if _, ok := yamlBool(n.Value); ok {
		return "!!bool"
	}
	return "!!str"
}

func yamlBool(text string) (value, ok bool) {
	switch text {
	case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true, true
	case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false, true
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
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return "", false
	}
	return json.Number(literal.Float(f)), true
}

func signOf(text string) (sign, rest string) {
	if strings.HasPrefix(text, "-") || strings.HasPrefix(text, "+") {
		return text[:1], text[1:]
	}
	return "", text
}
