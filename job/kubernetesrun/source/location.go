package source

import "strings"

// split takes a location apart as the agent did, by the rules of Python's
// urlparse: a path keeps its percent signs, and loses its host, query and
// fragment. The path is for local files; others take locations as a whole.
func split(location string) (scheme, path string) {
	rest := strings.TrimLeftFunc(location, func(r rune) bool { return r <= ' ' })
	rest = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(rest)
	if before, after, found := strings.Cut(rest, ":"); found && isScheme(before) {
		scheme, rest = strings.ToLower(before), after
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	if host, found := strings.CutPrefix(rest, "//"); found {
		_, file, _ := strings.Cut(host, "/")
		rest = "/" + file
	}
	if scheme == "" {
		// Here alone a semicolon begins what urlparse calls parameters.
		last := strings.LastIndex(rest, "/") + 1
		name, _, _ := strings.Cut(rest[last:], ";")
		rest = rest[:last] + name
	}
	return scheme, rest
}

func isScheme(text string) bool {
	for i, c := range []byte(text) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return text != ""
}
