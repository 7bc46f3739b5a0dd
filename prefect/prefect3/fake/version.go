package fake

import (
	"fmt"
	"regexp"
	"strings"
)

// version is a server's or a client's, as three numbers.
type version [3]int

func parseVersion(text string) version {
	var v version
	fmt.Sscanf(text, "%d.%d.%d", &v[0], &v[1], &v[2]) //nolint:errcheck // what is missing is zero
	return v
}

func (v version) since(text string) bool {
	w := parseVersion(text)
	for i := range v {
		if v[i] != w[i] {
			return v[i] > w[i]
		}
	}
	return true
}

// The versions that brought what the stand-in leaves out before (prefect3 §7.3).
const (
	withPrefect3       = "3.0.0"
	withSlots          = "3.0.4"
	withRunLabels      = "3.1.6"
	withAuthString     = "3.1.8"
	withLeases         = "3.4.11"
	withNamedPending   = "3.6.22"
	withCancelTimeout  = "3.7.5"
	withStateInOffers  = "3.9.0"
	withBothStateLists = "3.9.0"
)

// hidesRetries reports whether offers leave out runs that their own pods try again. The
// last of Prefect 2 does, the first of Prefect 3 do not.
func (v version) hidesRetries() bool {
	return v.since("3.1.3") || v.since("2.20.26") && !v.since(withPrefect3)
}

// clientVersion is how the server reads a Prefect client's version from its User-Agent.
func clientVersion(agent string) (version, bool) {
	m := regexp.MustCompile(`^prefect/(\d+\.\d+\.\d+)`).FindStringSubmatch(strings.TrimSpace(agent))
	if m == nil {
		return version{}, false
	}
	return parseVersion(m[1]), true
}
