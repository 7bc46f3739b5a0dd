package scaler

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// parseLabels reads the three spellings people use for agent labels: a comma
// list, a JSON list and a Python list as in the agent's own environment. The
// result is sorted and has no duplicates, so equal sets are equal slices.
func parseLabels(text string) ([]string, error) {
	text = strings.TrimSpace(text)
	var labels []string
	switch {
	case !strings.HasPrefix(text, "["):
		for l := range strings.SplitSeq(text, ",") {
			labels = append(labels, strings.TrimSpace(l))
		}
	case json.Unmarshal([]byte(text), &labels) == nil:
	default:
		var err error
		if labels, err = parsePythonList(text); err != nil {
			return nil, fmt.Errorf("not a comma list, a JSON list or a Python list of strings: %w", err)
		}
	}
	labels = slices.DeleteFunc(labels, func(l string) bool { return l == "" })
	slices.Sort(labels)
	// A copy: what was compacted may have been thousands.
	return slices.Clone(slices.Compact(labels)), nil
}

// parsePythonList reads what repr() writes for a list of str.
func parsePythonList(text string) ([]string, error) {
	rest, ok := strings.CutPrefix(text, "[")
	if !ok {
		return nil, errors.New("no '[' at the beginning")
	}
	labels := []string{}
	for {
		rest = strings.TrimLeft(rest, " \t\r\n")
		if end, ok := strings.CutPrefix(rest, "]"); ok {
			if strings.TrimSpace(end) != "" {
				return nil, errors.New("text after the closing ']'")
			}
			return labels, nil
		}
		label, after, err := parsePythonString(rest)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", len(labels)+1, err)
		}
		labels = append(labels, label)
		rest = strings.TrimLeft(after, " \t\r\n")
		if strings.HasPrefix(rest, "]") {
			continue
		}
		if rest, ok = strings.CutPrefix(rest, ","); !ok {
			return nil, fmt.Errorf("no ',' or ']' after element %d", len(labels))
		}
	}
}

func parsePythonString(text string) (value, rest string, err error) {
	if text == "" || (text[0] != '\'' && text[0] != '"') {
		return "", "", errors.New("not a quoted string")
	}
	quote := text[0]
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			return b.String(), text[i+1:], nil
		case c != '\\':
			b.WriteByte(c)
		case i+1 < len(text) && strings.IndexByte(`\'"`, text[i+1]) >= 0:
			i++
			b.WriteByte(text[i])
		default:
			return "", "", errors.New(`only \\, \' and \" can be escaped`)
		}
	}
	return "", "", errors.New("the quote is not closed")
}
