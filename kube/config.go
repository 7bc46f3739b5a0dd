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

// Options say which API server to use, and how many requests it may get.
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
	// UserAgent names us in the API server's audit log.
	UserAgent string
	// KeepAlive probes idle connections, which the Prefect agent did on demand
	// (prefect1 §5.3).
	KeepAlive bool
}

const (
	dialTimeout = 10 * time.Second
	// callTimeout bounds a call whose caller set no deadline; client-go sets none.
	callTimeout = 30 * time.Second
)

// Config says how to reach the API server, and in words where it was read from.
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
	// In protobuf, Jobs cost half the bytes and a third of the CPU. Kinds without a
	// protobuf form come as JSON.
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
			return nil, "", fmt.Errorf("cannot reach Kubernetes: this is not a pod with a service account token, and %s is missing or empty; set KUBECONFIG or --kubeconfig", source)
		}
		return nil, "", fmt.Errorf("read %s: %w", source, err)
	}
	return config, source, nil
}

// bounded gives a deadline to calls without one, but not to watches: those are meant
// to last, and HTTP/2 pings find out when their connection is dead.
type bounded struct{ next http.RoundTripper }

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
	// The deadline also holds for reading the body; closing the body ends it.
	response.Body = &untilClosed{response.Body, cancel}
	return response, nil
}

type untilClosed struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (u *untilClosed) Close() error {
	defer u.cancel()
	return u.ReadCloser.Close()
}
