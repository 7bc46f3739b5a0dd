package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/literal"
	"github.com/prefect-keda/prefect-keda/location"
)

// Backend is the kind of Prefect API: one of Prefect 1's two, or Prefect 3's.
type Backend string

// The kinds.
const (
	Cloud      Backend = "cloud"
	Server     Backend = "server"
	OfPrefect3 Backend = "prefect3"
)

// UnmarshalText accepts the kinds.
func (b *Backend) UnmarshalText(text []byte) error {
	return oneOf(b, text, "a kind of Prefect API: give cloud or server, or prefect3", Cloud, Server, OfPrefect3)
}

// oneOf takes a text that is one of a few.
func oneOf[T ~string](into *T, text []byte, what string, known ...T) error {
	if !slices.Contains(known, T(text)) {
		return fmt.Errorf("%q is not %s", text, what)
	}
	*into = T(text)
	return nil
}

// Secret is a text that only Reveal shows.
type Secret string

const hidden = "[hidden]"

// Reveal gives the secret itself, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

// String masks it, so that no log, error or dump shows it.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as it is. Validate refuses a key with white space around
// it, rather than guess.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// SecretKey names one key of a Kubernetes Secret; the zero value names none.
type SecretKey struct{ Name, Key string }

// UnmarshalText reads NAME/KEY.
func (k *SecretKey) UnmarshalText(text []byte) error {
	name, key, ok := strings.Cut(string(text), "/")
	if !ok || name == "" || key == "" || strings.Contains(key, "/") {
		return fmt.Errorf("%q does not name a key of a Secret: give NAME/KEY, for example prefect-api-key/api-key", text)
	}
	*k = SecretKey{Name: name, Key: key}
	return nil
}

// Seconds is a duration that may also be a bare number, as in the agent's settings.
type Seconds time.Duration

// Duration is the ordinary form.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// String is that of a duration.
func (s Seconds) String() string { return s.Duration().String() }

// UnmarshalText reads 15, 1.5 or 15s.
func (s *Seconds) UnmarshalText(text []byte) error {
	t := string(text)
	if _, err := strconv.ParseFloat(t, 64); err == nil {
		t += "s"
	}
	d, err := time.ParseDuration(t)
	if err != nil {
		return fmt.Errorf("%q is not a time: give seconds (15) or a duration (15s, 1m)", text)
	}
	*s = Seconds(d)
	return nil
}

// Bool is a switch in Prefect's spelling: true or false in any case.
type Bool bool

// UnmarshalText accepts what Prefect and Go call true and false.
func (b *Bool) UnmarshalText(text []byte) error {
	v, err := strconv.ParseBool(strings.ToLower(string(text)))
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", text)
	}
	*b = Bool(v)
	return nil
}

// ExactlyTrue is the agent's oddest switch: on for the text True, off for
// everything else, also for true, 1 and nothing (prefect1 §5.1).
type ExactlyTrue bool

// UnmarshalText never fails.
func (b *ExactlyTrue) UnmarshalText(text []byte) error {
	*b = string(text) == "True"
	return nil
}

// emptyIsAValue marks the only type for which an empty variable differs from an unset one.
func (b *ExactlyTrue) emptyIsAValue() {}

// PodSecurity is a level of the Pod Security Standards; empty means no check.
type PodSecurity string

// UnmarshalText accepts the levels.
func (l *PodSecurity) UnmarshalText(text []byte) error {
	return oneOf(l, text, "a level of the Pod Security Standards: give privileged, baseline or restricted", "privileged", "baseline", "restricted")
}

// Names is a list, in any form that labels may have.
type Names []string

// UnmarshalText drops empty names, as the agent did. It reads the forms of literal.List,
// because the official chart wrote [] for no names.
func (n *Names) UnmarshalText(text []byte) error {
	names, err := literal.List(string(text))
	if *n = nil; err != nil {
		return err
	}
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" {
			*n = append(*n, name)
		}
	}
	return nil
}

// Level is a log level.
type Level slog.Level

// Level is the level for slog.
func (l Level) Level() slog.Level { return slog.Level(l) }

// String spells the level like Python's logging.
func (l Level) String() string {
	if slog.Level(l) == slog.LevelWarn {
		return "WARNING"
	}
	return slog.Level(l).String()
}

// UnmarshalText reads the names of Python's logging in any case.
func (l *Level) UnmarshalText(text []byte) error {
	switch strings.ToUpper(string(text)) {
	case "DEBUG", "NOTSET":
		*l = Level(slog.LevelDebug)
	case "INFO":
		*l = Level(slog.LevelInfo)
	case "WARNING", "WARN":
		*l = Level(slog.LevelWarn)
	case "ERROR":
		*l = Level(slog.LevelError)
	case "CRITICAL", "FATAL":
		*l = Level(slog.LevelError + 4)
	default:
		return fmt.Errorf("%q is not a log level: give DEBUG, INFO, WARNING, ERROR or CRITICAL", text)
	}
	return nil
}

// LogFormat is how log lines look.
type LogFormat string

// The formats; Auto is text on a terminal and JSON elsewhere.
const (
	Auto LogFormat = "auto"
	JSON LogFormat = "json"
	Text LogFormat = "text"
)

// UnmarshalText accepts the formats.
func (f *LogFormat) UnmarshalText(text []byte) error {
	return oneOf(f, text, "a log format: give json, text or auto", Auto, JSON, Text)
}

// Address is an address to listen on, for net.Listen; empty means none.
type Address string

// UnmarshalText reads host:port, :port, or a URL; of the URL only host and port count
// (prefect1 §1.6).
func (a *Address) UnmarshalText(text []byte) error {
	t := string(text)
	if strings.Contains(t, "://") {
		u, err := url.Parse(t)
		if err != nil {
			return fmt.Errorf("%q is not an address: give host:port or http://host:port", text)
		}
		t = u.Host
	}
	host, port, err := net.SplitHostPort(t)
	if err != nil {
		return fmt.Errorf("%q has no port: give for example :8080 or http://:8080", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no valid port: it must be a number up to 65535, 0 for any", text)
	} else if n == 0 {
		port = "0"
	}
	*a = Address(net.JoinHostPort(host, port))
	return nil
}

// Port of the address; empty when there is no address.
func (a Address) Port() string {
	_, port, err := net.SplitHostPort(string(a))
	if err != nil {
		return ""
	}
	return port
}

// Covers reports whether a listener on a would also get connections to b, so that nobody
// else can listen there.
func (a Address) Covers(b Address) bool {
	host, port, err := net.SplitHostPort(string(a))
	other, otherPort, otherErr := net.SplitHostPort(string(b))
	if err != nil || otherErr != nil || port == "0" || port != otherPort {
		return false
	}
	ip := net.ParseIP(host)
	return host == other || host == "" || ip != nil && ip.IsUnspecified()
}

func joinHostPort(host location.Location, port int) location.Location {
	return location.Location(strings.TrimRight(host.Reveal(), "/") + ":" + strconv.Itoa(port))
}
