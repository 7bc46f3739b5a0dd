package exchange

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Encode is json.Marshal without HTML's escapes: they make six bytes of one, and servers
// take only so many.
func Encode(v any) (json.RawMessage, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// MaxWords bounds an API's words in an error, in bytes.
const MaxWords = 300

// Shorten makes one line of at most MaxWords, and a sign for the rest.
func Shorten(s string) string {
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "�")
	if len(s) <= MaxWords {
		return s
	}
	return strings.ToValidUTF8(s[:MaxWords], "") + "…"
}
