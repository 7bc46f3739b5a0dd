//go:build e2e && (numbers || chaos)

package e2e

import (
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// unlimited is a client of the cluster that sends as much as it is asked to.
func unlimited(t *testing.T) kubernetes.Interface {
	t.Helper()
	cfg := rest.CopyConfig(suite.Config)
	cfg.QPS = -1
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
