package location_test

import (
	"strings"
	"testing"

	"github.com/prefect-keda/prefect-keda/location"
)

// Whatever stands around a secret where URLs have theirs, it is not shown, and what is
// shown hides nothing more when it is shown again.
func FuzzShown(f *testing.F) {
	f.Add("https", "user", "", "example.com:4200", "/api", "token=x")
	f.Add("s3", "a b", "/with/slashes@and:more", "[::1]:80", "/a?b#c", "")
	f.Add("gs", "", "@", "", "//", "?#")
	f.Fuzz(func(t *testing.T, scheme, user, more, host, path, query string) {
		const secret = "canary-5f1c"
		if strings.ContainsAny(scheme, ":/?#@") || strings.ContainsAny(user, ":/?#@[]") || strings.ContainsAny(host, "@/?#") {
			return
		}
		texts := []string{
			scheme + "://" + user + ":" + secret + more + "@" + host + strings.ReplaceAll(path, "@", "") + "?" + query,
			"//" + user + ":" + secret + more + "@" + host,
		}
		if at, _, _ := strings.Cut(host+path, "/"); !strings.Contains(at, ":") { // else it may be half of a user and a password
			texts = append(texts, scheme+"://"+host+path+"?"+query+secret, scheme+"://"+host+path+"#"+secret)
		}
		for _, text := range texts {
			shown := location.Shown(text)
			if strings.Contains(shown, secret) {
				t.Fatalf("%q is shown as %q", text, shown)
			}
			if again := location.Shown(shown); again != shown {
				t.Fatalf("%q is shown as %q, and that as %q", text, shown, again)
			}
		}
		if text := path + query + more; len(location.Shown(text)) > len(text)+len("[hidden]") {
			t.Fatalf("%q grows to %q", text, location.Shown(text))
		}
	})
}
