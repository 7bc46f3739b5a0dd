// Package location is where a Job template is said to be: a path or a URL, which
// may hold a password or a signature and then shows itself without.
package location

import (
	"log/slog"
	"strconv"
	"strings"
)

// Location is a path or a URL that shows itself only when asked by Reveal.
type Location string

// Reveal is all of it; hand it to whoever reads the template.
func (l Location) Reveal() string { return string(l) }

// String is the location without what opens it.
func (l Location) String() string { return Shown(string(l)) }

// GoString is String, for %#v.
func (l Location) GoString() string { return strconv.Quote(l.String()) }

// LogValue is String, for slog.
func (l Location) LogValue() slog.Value { return slog.StringValue(l.String()) }

// MarshalText is String, for JSON and YAML.
func (l Location) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Shown is a location as it may be told to anybody: without user, password, query
// and fragment. It takes any text, since what is no URL (because its password has
// a slash in it, say) is what errors repeat.
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
	} else if !isHost(host) {
		// Not a host and a port but half of a user and a password.
		i := strings.LastIndex(path, "@")
		if i < 0 {
			return scheme + "[hidden]"
		}
		return Shown(scheme + path[i+1:])
	}
	return scheme + host + withoutQuery(path)
}

// isHost: what follows a colon is a port.
func isHost(host string) bool {
	name, port, found := strings.Cut(host[strings.LastIndex(host, "]")+1:], ":")
	_, err := strconv.ParseUint(port, 10, 16)
	return !found || (port == "" || err == nil) && !strings.Contains(name, ":")
}

// shownPath is of a path, or of a URL that lacks its slashes.
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
