package location_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prefect-keda/prefect-keda/location"
)

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "",
		"/etc/prefect-keda/job.yaml":            "/etc/prefect-keda/job.yaml",
		"/teams/a:b@c/job.yaml":                 "/teams/a:b@c/job.yaml",
		"job@2.yaml":                            "job@2.yaml",
		"/job.yaml?sig=SECRET":                  "/job.yaml",
		"file:///job.yaml#SECRET":               "file:///job.yaml",
		"https://host/a@b/job.yaml":             "https://host/a@b/job.yaml",
		"https://host:8443/j?sig=SECRET#x":      "https://host:8443/j",
		"https://host?sig=SECRET":               "https://host",
		"https://[::1]:8443/j?sig=SECRET":       "https://[::1]:8443/j",
		"https://SECRET@host/j":                 "https://host/j",
		"https://SECRET:SECRET@host/j?SECRET":   "https://host/j",
		"https://SECRET:SEC@RET@host/j":         "https://host/j",
		"https://SECRET:SEC@RET:RET/SEC@host/j": "https://host/j",
		"https://SECRET:SEC/RET@host/j":         "https://host/j",
		"https://SECRET:SEC?RET@host/j?x":       "https://host/j",
		"https://SECRET:SEC]RET/SECRET@host/j":  "https://host/j",
		"https://SECRET:SEC#RET@host:80":        "https://host:80",
		"https://SECRET:SEC/RET":                "https://[hidden]",
		"ftp://SECRET:SECRET@host/j":            "ftp://host/j",
		"s3://SECRET:SECRET@bucket/key":         "s3://bucket/key",
		"//SECRET:SECRET@host/j":                "//host/j",
		"https:SECRET@host/j":                   "host/j",
		`https:\\SECRET:SECRET@host/j`:          "host/j",
		"SECRET:SEC/RET@host/j?SECRET":          "host/j",
		"https:/\n/SECRET:SECRET@host/j":        "host/j",
	} {
		if got := location.Shown(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// A Location shows itself by no verb, log or encoding, and whole when asked.
func TestLocationIsShownWithoutSecrets(t *testing.T) {
	const whole = "https://SECRET:SECRET@host/j?SECRET"
	at := struct{ At location.Location }{whole}
	var out strings.Builder
	fmt.Fprintf(&out, "%v %+v %#v %s %q\n", at, at, at, at.At, at.At)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("at", "at", at, "location", at.At)
	slog.New(slog.NewTextHandler(&out, nil)).Info("at", "at", at, "location", at.At)
	if err := json.NewEncoder(&out).Encode(at); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "SECRET") || strings.Count(out.String(), "https://host/j") < 10 {
		t.Error(out.String())
	}
	if at.At.Reveal() != whole {
		t.Errorf("it reveals %q", at.At.Reveal())
	}
}
