// Package location holds the path or URL of a Job template or of the Prefect API. A URL
// may hold a password or a signature; a location prints itself without them.
package location

import (
	"log/slog"
	"strconv"
	"strings"
)

// Location is a path or a URL; only Reveal gives all of it.
type Location string

// Reveal is the whole location, for the code that opens it.
func (l Location) Reveal() string { return string(l) }

// String is the location without its secrets.
func (l Location) String() string { return Shown(string(l)) }

// GoString is String, for %#v.
func (l Location) GoString() string { return strconv.Quote(l.String()) }

// LogValue is String, for slog.
func (l Location) LogValue() slog.Value { return slog.StringValue(l.String()) }

// MarshalText is String, for JSON and YAML.
func (l Location) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Shown is a location that anybody may see: without user, password, query and fragment.
// It takes any text, because errors also repeat texts that are not quite URLs, for example
// one with a slash in its password.
func Shown(text string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	switch {
	case isURL:
		scheme += "://"
	case strings.HasPrefix(text, "//"):
		scheme, rest = "//", text[2:]
	default:
		return shownPath(text)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, path := rest[:end], rest[end:]
	if i := strings.LastIndex(host, "@"); i >= 0 {
		host = host[i+1:]
	}
	if !isHost(host) {
		// This is half of a user and a password, not a host and a port.
		i := strings.LastIndex(path, "@")
		if i < 0 {
			return scheme + "[hidden]"
		}
		return Shown(scheme + path[i+1:])
	}
	return scheme + host + withoutQuery(path)
}

// isHost reports whether a text could be a host: a port follows its colon, if it has one.
func isHost(host string) bool {
	if strings.HasPrefix(host, "[") { // an address of IPv6 has colons
		host = host[strings.LastIndex(host, "]")+1:]
	}
	name, port, found := strings.Cut(host, ":")
	_, err := strconv.ParseUint(port, 10, 16)
	return !found || (port == "" || err == nil) && !strings.Contains(name, ":")
}

// shownPath is Shown for a path, or for a URL that lacks its slashes.
func shownPath(text string) string {
	colon, slash := strings.Index(text, ":"), strings.Index(text, "/")
	if i := strings.LastIndex(text, "@"); i >= 0 && colon >= 0 && colon < i && (slash < 0 || colon < slash) {
		text = text[i+1:]
	}
	return withoutQuery(text)
}

func withoutQuery(text string) string {
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		return text[:i]
	}
	return text
}
