package check

import (
	"strings"
	"testing"
)

// Whatever stands in a trigger that is not ours, it is not judged as one of ours.
func FuzzOurTrigger(f *testing.F) {
	f.Add("external-push", "prefect-keda-scaler.prefect-keda.svc:9090", "prefect-keda")
	f.Add("external", "a-prefect-keda-scaler:9090", "team")
	f.Add("cron", "prefect-keda", "")
	f.Add("external", "..:", ".")
	f.Fuzz(func(t *testing.T, kind, address, home string) {
		is := trigger{Type: kind, Metadata: map[string]string{"scalerAddress": address}}.isOurs(home)
		host, _, _ := strings.Cut(address, ":")
		parts := strings.Split(host, ".")
		inHome := len(parts) < 2 || parts[1] == "" || parts[1] == home
		if want := strings.HasPrefix(kind, "external") && (kind == "external" || kind == "external-push") && strings.Contains(parts[0], "prefect-keda") && inHome; is != want {
			t.Fatalf("a trigger %q at %q is ours in %q: %v", kind, address, home, is)
		}
		if bare := (trigger{Type: kind}); bare.isOurs(home) {
			t.Fatal("a trigger without an address is ours")
		}
	})
}

// Whatever a server calls its version, versions have one order.
func FuzzOlder(f *testing.F) {
	f.Add("3.9.1", "3.10.0rc1", "2.20")
	f.Add("", "3..1", "99999999999999999999.1")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		switch {
		case older(a, a), older(a, b) && older(b, a), older(a, b) && older(b, c) && !older(a, c):
			t.Fatalf("%q, %q and %q have no order", a, b, c)
		}
	})
}
