package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/location"
)

// Let's Encrypt's is the one that most servers of the world have their certificates from.
func TestPublicRootsAreThere(t *testing.T) {
	found := false
	for _, subject := range publicRoots().Subjects() { //nolint:staticcheck // it is not the system's pool
		found = found || bytes.Contains(subject, []byte("ISRG Root X1"))
	}
	if !found {
		t.Error("ISRG Root X1 is not among the public authorities")
	}
}

func TestScalerNeedsRootsOnlyForTLS(t *testing.T) {
	at := func(api string) connection {
		return connection{prefect: config.Prefect{Kind: config.Prefect3, API: location.Location(api)}}
	}
	inCluster, elsewhere := at("http://prefect-server.prefect:4200/api"), at("https://api.prefect.cloud/api/accounts/a/workspaces/w")
	for name, of := range map[string]struct {
		all   []connection
		proxy string
		want  bool
	}{
		"in the cluster":           {all: []connection{inCluster, inCluster}},
		"one of two elsewhere":     {all: []connection{inCluster, elsewhere}, want: true},
		"Prefect 1's Cloud":        {all: []connection{{prefect: config.Prefect{Kind: config.Prefect1, Backend: "cloud", CloudEndpoint: "https://api.prefect.io"}}}, want: true},
		"by way of a proxy":        {all: []connection{inCluster}, proxy: "http://proxy:3128"},
		"by way of a proxy by TLS": {all: []connection{inCluster}, proxy: "https://proxy:3128", want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HTTP_PROXY", of.proxy)
			t.Setenv("http_proxy", of.proxy)
			if got := needsRoots(of.all); got != of.want {
				t.Errorf("needsRoots = %v, want %v", got, of.want)
			}
		})
	}
}

// Every command that may reach the internet trusts the public authorities, before it runs.
func TestCommandsTrustThePublicRoots(t *testing.T) {
	for line, want := range map[string]bool{
		"scaler --prefect prefect3 --api http://localhost:1/api --kubeconfig nowhere":   false,
		"scaler --prefect prefect3 --api https://localhost:1/api --kubeconfig nowhere":  true,
		"launcher --prefect prefect3 --api http://localhost:1/api --kubeconfig nowhere": true,
		"version": false,
	} {
		t.Run(line, func(t *testing.T) {
			trusted := 0
			var out strings.Builder
			run(t.Context(), strings.Fields(line), streams{out: &out, err: &out, roots: func() { trusted++ }}, nil)
			if want != (trusted == 1) || trusted > 1 {
				t.Errorf("trusted %d times, want it once: %v\n%s", trusted, want, out.String())
			}
		})
	}
}
