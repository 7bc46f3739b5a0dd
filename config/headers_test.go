package config_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/config"
)

func TestHeaders(t *testing.T) {
	for text, want := range map[string]http.Header{
		"":   {},
		"{}": {},
		"X-Proxy-Token: a: b\r\n\n x-user :  me \n":      {"X-Proxy-Token": {"a: b"}, "X-User": {"me"}},
		`{'Authorization': 'Basic eA==', "X-Empty": ""}`: {"Authorization": {"Basic eA=="}, "X-Empty": {""}},
	} {
		got := config.Headers{{Name: "From-Before"}}
		err := got.UnmarshalText([]byte(text))
		if d := cmp.Diff(want, got.Reveal()); d != "" || err != nil {
			t.Errorf("%q: %v, -want +got:\n%s", text, err, d)
		}
	}
	for text, want := range map[string]string{
		"canary":                          "line 1 has no colon: give NAME: VALUE, each on a line of its own, or {'NAME': 'VALUE'}",
		"A: 1\nbad name: canary":          "header 2 has a name that HTTP does not allow: use letters, digits and dashes, as in X-Forwarded-User",
		"A: canary\na: canary":            "gives A twice",
		"Host: canary":                    "gives Host, but the client sets that header itself: leave it out",
		"x-prefect-tenant-id: canary":     "gives X-Prefect-Tenant-Id, but the client sets that header itself: leave it out",
		"{'A': 'can\\nary'}":              "A has a control character in its value",
		"{'A': 1}":                        "contains something other than texts: put names and values in quotes",
		"{'A'}":                           "cannot be read: character 5 should be a colon: give NAME: VALUE, each on a line of its own, or {'NAME': 'VALUE'}",
		"A: " + strings.Repeat("x", 5000): "has 5003 bytes: give at most 4096",
	} {
		var got config.Headers
		if err := got.UnmarshalText([]byte(text)); fmt.Sprint(err) != want || got != nil {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
	var h config.Headers
	if err := h.UnmarshalText([]byte("X-Proxy-Token: canary")); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(h)
	if shown := fmt.Sprintf("%s %v %+v %#v %s %v", h, h, h, h, encoded, config.Launcher{Prefect: config.Prefect{Headers: h}}.LogValue()); err != nil || strings.Contains(shown, "canary") || !strings.Contains(shown, "X-Proxy-Token") {
		t.Errorf("shown as %s", shown)
	}
}
