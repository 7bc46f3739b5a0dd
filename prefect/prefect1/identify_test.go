package prefect1_test

import (
	"errors"
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

func TestIdentify(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{Key: "k"})
	client := func(key, tenant string) *prefect1.Client {
		t.Helper()
		c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, Key: key, TenantID: tenant, HTTPTransport: api.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if kind, err := client("k", "").Kind(t.Context()); kind != "server" || err != nil {
		t.Errorf("Kind: %q, %v", kind, err)
	}
	if _, err := client("wrong", "").Kind(t.Context()); !errors.Is(err, prefect.ErrAuth) {
		t.Errorf("Kind with a wrong key: %v", err)
	}
	for _, given := range []string{"", api.Tenant()} {
		if id, from, err := client("k", given).Tenant(t.Context()); id != api.Tenant() || from != nil || err != nil {
			t.Errorf("Tenant given as %q: %q from %q, %v", given, id, from, err)
		}
	}
	if _, _, err := client("k", tenantID).Tenant(t.Context()); !errors.Is(err, prefect.ErrNotFound) {
		t.Errorf("a tenant that is not there: %v", err)
	}
}

func TestAgentConfigIsThere(t *testing.T) {
	api := prefecttest.New(prefecttest.Options{})
	known := api.CreateAgentConfig(map[string]any{"a": 1})
	for id, want := range map[string]error{"": nil, known: nil, idOf(1): prefect.ErrNotFound} {
		c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, AgentConfigID: id, HTTPTransport: api.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AgentConfig(t.Context()); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", id, err, want)
		}
	}
}
