package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options say which API server, and how hard to press it.
type Options struct {
	// Kubeconfig is a file, or a list of them as KUBECONFIG has it. Empty means
	// the pod's service account, and outside of pods the default file.
	Kubeconfig string
	// Context of the kubeconfig; empty means its current one.
	Context string
	// QPS and Burst bound the requests per client. client-go's own 5 and 10
	// would create five Jobs a second.
	QPS   float32
	Burst int
	// UserAgent is what the API server's audit log shows.
	UserAgent string
	// KeepAlive probes idle connections as the Prefect agent did on demand
	// (prefect1-spec §5.3).
	KeepAlive bool
}

const (
	dialTimeout = 10 * time.Second
	// callTimeout bounds a call whose caller set no deadline; client-go sets none.
	callTimeout = 30 * time.Second
)

// Config is how to reach the API server, and in words where that came from.
func Config(o Options) (config *rest.Config, source string, err error) {
	if o.Kubeconfig == "" && o.Context == "" {
		config, err = rest.InClusterConfig()
		source = "the pod's service account"
	}
	if config == nil {
		if err != nil && !errors.Is(err, rest.ErrNotInCluster) {
			return nil, "", fmt.Errorf("read the pod's service account: %w; set automountServiceAccountToken: true", err)
		}
		config, source, err = fromKubeconfig(o)
		if err != nil {
			return nil, "", err
		}
	}
	config.QPS, config.Burst, config.UserAgent = o.QPS, o.Burst, o.UserAgent
	// Jobs cost half the bytes and a third of the CPU in protobuf; what has no
	// protobuf form comes as JSON.
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	dialer := &net.Dialer{Timeout: dialTimeout}
	if o.KeepAlive {
		dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: 6 * time.Second, Interval: 30 * time.Second, Count: 6}
	}
	config.Dial = dialer.DialContext
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return bounded{next} })
	return config, source, nil
}

func fromKubeconfig(o Options) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	source := "the default kubeconfig"
	if o.Kubeconfig != "" {
		rules.Precedence = filepath.SplitList(o.Kubeconfig)
		source = "kubeconfig " + o.Kubeconfig
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
	config, err := loader.ClientConfig()
	if err != nil {
		if clientcmd.IsEmptyConfig(err) {
			return nil, "", fmt.Errorf("no way to Kubernetes: this is not a pod with a service account token, and %s is not there or empty; set KUBECONFIG or --kubeconfig", source)
		}
		return nil, "", fmt.Errorf("read %s: %w", source, err)
	}
	return config, source, nil
}

// bounded gives a call without a deadline one. Watches are left alone: they are
// meant to last, and HTTP/2 pings find out when their connection is dead.
type bounded struct{ next http.RoundTripper }

// RoundTrip is that of http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, has := r.Context().Deadline(); has || r.URL.Query().Get("watch") != "" {
		return b.next.RoundTrip(r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	response, err := b.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	// The deadline holds for reading the body too, and is dropped with it.
	response.Body = &untilClosed{response.Body, cancel}
	return response, nil
}

type untilClosed struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close is that of io.Closer.
func (u *untilClosed) Close() error {
	defer u.cancel()
	return u.ReadCloser.Close()
}
