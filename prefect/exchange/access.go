package exchange

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// shortest is the length from which a secret is hidden in texts: hiding shorter ones
// would make texts unreadable.
const shortest = 4

// Access returns a function that sends an authorization, unless it is empty, and the
// headers, and one that hides the secrets and the headers' values in a text: the API, or a
// proxy, may repeat them. Both close over the credentials, so that printing their owner
// with %+v cannot print them.
func Access(authorization string, headers http.Header, secrets ...string) (authorize func(http.Header), hide func(string) string) {
	headers = headers.Clone()
	for _, values := range headers {
		secrets = append(secrets, values...)
	}
	secrets = slices.DeleteFunc(secrets, func(s string) bool { return len(s) < shortest })
	// Longest first: replacing a short secret inside a longer one would leave its rest.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	authorize = func(h http.Header) {
		if authorization != "" {
			h.Set("Authorization", authorization)
		}
		maps.Copy(h, headers)
	}
	hide = func(s string) string {
		for _, secret := range secrets {
			s = strings.ReplaceAll(s, secret, "[hidden]")
		}
		return s
	}
	return authorize, hide
}
