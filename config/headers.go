package config

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prefect-keda/prefect-keda/literal"
)

// Headers go with every request to the Prefect API; their values stay out of logs.
type Headers []Header

// Header is one header.
type Header struct {
	Name  string
	Value Secret
}

// maxHeaders bytes leave room for our own headers in what servers accept.
const maxHeaders = 4 << 10

// Reveal gives the headers with their values, for the one client that sends them.
func (h Headers) Reveal() http.Header {
	all := http.Header{}
	for _, one := range h {
		all.Set(one.Name, one.Value.Reveal())
	}
	return all
}

// String names them without their values.
func (h Headers) String() string {
	names := make([]string, len(h))
	for i, one := range h {
		names[i] = one.Name
	}
	return strings.Join(names, ",")
}

// GoString is String, for %#v.
func (h Headers) GoString() string { return h.String() }

// MarshalText is String, for JSON and YAML.
func (h Headers) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads lines as in HTTP, NAME: VALUE, or a dict in Python or JSON text. No
// error quotes a value, or a line that may be one.
func (h *Headers) UnmarshalText(text []byte) error {
	const form = "give NAME: VALUE, each on a line of its own, or {'NAME': 'VALUE'}"
	*h = nil
	t := strings.TrimSpace(string(text))
	if len(t) > maxHeaders {
		return fmt.Errorf("has %d bytes: give at most %d", len(t), maxHeaders)
	}
	var all Headers
	if strings.HasPrefix(t, "{") {
		v, err := literal.Parse(t)
		if err != nil {
			return fmt.Errorf("%w: %s", err, form)
		}
		for _, entry := range v.(literal.Dict) {
			name, isName := entry.Key.(string)
			value, isText := entry.Value.(string)
			if !isName || !isText {
				return errors.New("contains something other than texts: put names and values in quotes")
			}
			all = append(all, Header{name, Secret(value)})
		}
	} else if t != "" {
		number := 0
		for line := range strings.Lines(t) {
			number++
			if strings.TrimSpace(line) == "" {
				continue
			}
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				return fmt.Errorf("line %d has no colon: %s", number, form)
			}
			all = append(all, Header{strings.TrimSpace(name), Secret(strings.TrimSpace(value))})
		}
	}
	if err := all.check(); err != nil {
		return err
	}
	*h = all
	return nil
}

func (h Headers) check() error {
	seen := map[string]bool{}
	for i, one := range h {
		name := http.CanonicalHeaderKey(one.Name)
		switch {
		case !matches("^[0-9A-Za-z!#$%&'*+.^_`|~-]+$", one.Name):
			return fmt.Errorf("header %d has a name that HTTP does not allow: use letters, digits and dashes, as in X-Forwarded-User", i+1)
		case seen[name]:
			return fmt.Errorf("gives %s twice", name)
		case !sendable(name):
			return fmt.Errorf("gives %s, but the client sets that header itself: leave it out", name)
		case strings.ContainsFunc(one.Value.Reveal(), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return fmt.Errorf("%s has a control character in its value", name)
		}
		seen[name] = true
	}
	return nil
}

// sendable reports whether a header is free: neither the connection nor the client sets it.
func sendable(name string) bool {
	switch name {
	case "Host", "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Accept", "Accept-Encoding", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade", "Expect", "User-Agent":
		return false
	}
	return !strings.HasPrefix(name, "X-Prefect-") && !strings.HasPrefix(name, "Proxy-")
}
