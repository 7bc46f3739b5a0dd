package product

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest/control"
)

// Config says how programs outside the cluster reach it. The client does not throttle, so
// that it does not distort measurements.
func Config(kubeconfig string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	cfg.QPS = -1
	cfg.UserAgent = "prefect-keda-e2e"
	return cfg, nil
}

// Levers reaches the control side of the stand-in API of a namespace, through
// the API server, which needs no port of this machine.
func Levers(cfg *rest.Config, namespace string) (control.Client, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return control.Client{}, fmt.Errorf("reach the stand-in API: %w", err)
	}
	return control.Client{URL: proxyURL(cfg, namespace, "services", StandIn+":control"), HTTP: client}, nil
}

// Get reads a path of a Service's or Pod's port, through the API server; kind is
// "services" or "pods".
func Get(ctx context.Context, cfg *rest.Config, namespace, kind, name, port, path string) ([]byte, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", name, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, proxyURL(cfg, namespace, kind, name+":"+port)+path, nil)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", name, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", path, name, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read %s of %s: %s: %s", path, name, resp.Status, bytes.TrimSpace(text))
	}
	return text, nil
}

func proxyURL(cfg *rest.Config, namespace, kind, name string) string {
	return fmt.Sprintf("%s/api/v1/namespaces/%s/%s/%s/proxy", cfg.Host, namespace, kind, name)
}

// APIURL is where the stand-in API of a namespace is for programs outside the
// cluster, which need the cluster's credentials for it.
func APIURL(cfg *rest.Config, namespace string) string {
	return proxyURL(cfg, namespace, "services", StandIn+":api")
}
