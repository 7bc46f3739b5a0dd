package workpool

import (
	"errors"
	"strings"
)

// split splits a command as a POSIX shell does, but expands nothing: Python's shlex, which
// the worker uses (prefect3 §3.6).
func split(command string) ([]string, error) {
	words := []string{}
	var word strings.Builder
	isWord, isEscaped := false, false
	quote := rune(0)
	for _, c := range command {
		switch {
		case isEscaped:
			// Inside double quotes only a quote and the backslash itself can be escaped.
			if quote == '"' && c != '"' && c != '\\' {
				word.WriteRune('\\')
			}
			word.WriteRune(c)
			isEscaped = false
		case c == '\\' && quote != '\'':
			isEscaped, isWord = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, isWord = c, true
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			if isWord {
				words = append(words, word.String())
				word.Reset()
			}
			isWord = false
		default:
			word.WriteRune(c)
			isWord = true
		}
	}
	switch {
	case isEscaped:
		return nil, errors.New("ends with a backslash that escapes nothing")
	case quote != 0:
		return nil, errors.New("opens a quote that is never closed")
	case isWord:
		words = append(words, word.String())
	}
	return words, nil
}
