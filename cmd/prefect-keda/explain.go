package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/explain"
	"github.com/prefect-keda/prefect-keda/explain/collect"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/prefect"
)

func newExplain(io streams, env environment) *cobra.Command {
	c := &cobra.Command{
		Use:   "explain [flags] FLOW_RUN_ID",
		Short: "Say why a flow run does or does not start",
		Long: `Explain asks Prefect, the scaler and Kubernetes about one flow run: its work pool or its labels and who serves
them, what Prefect holds it back for, its states, who claimed it, its Job, pods and events. Its first line says why the
run does or does not start, and what would change that; the facts are below. It changes nothing, and says what it may
not read.

From anywhere where the Prefect API and the cluster can be reached, with the scaler's flags and environment; or in the
cluster, where both are set already:
  kubectl -n prefect-keda exec deploy/prefect-keda-scaler -- /usr/local/bin/app explain FLOW_RUN_ID

Shown below are the flags that matter here. The variable is in brackets, with its default; the flag wins.`,
		Example: `  prefect-keda explain 6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001
  prefect-keda explain 6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001 --backend server --api http://localhost:4200
  prefect-keda explain 6a1bdc1b-6ed1-4d08-9b5c-1d1bdb6a0001 -o json`,
		Annotations: exits(
			"the run is explained",
			"there is no such run, or Prefect cannot be asked",
			"a flag, an argument or a setting is wrong, or the API refuses the key"),
	}
	addFlags(c)
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return misconfigured{errors.New("no flow run is given: give its id")}
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		o, err := answeringOf(c)
		if err != nil {
			return err
		}
		s, err := loadScaler(c, env)
		if err != nil {
			return err
		}
		log := io.logger(s.Process)
		facts, secrets, err := factsOf(c.Context(), log, s, launcherAtHand(c, env, log), o.timeout, args[0])
		if err != nil {
			return err
		}
		return printReport(io.out, facts.Report(), o.format, hiding(secrets))
	}
	return c
}

func explainFlags() config.Group {
	fs := pflag.NewFlagSet("explain", pflag.ContinueOnError)
	addAnswering(fs, "question")
	return config.Group{Title: "Explaining", Flags: fs}
}

// launcherAtHand describes a launcher with these flags and this environment. It is empty if
// the settings are not valid for a launcher, for example with several namespaces.
func launcherAtHand(c *cobra.Command, env environment, log *slog.Logger) config.Launcher {
	s, err := loadLauncher(c, env)
	if err != nil {
		log.Debug("these settings make no launcher", "err", err)
	}
	return s
}

// factsOf asks each of the connections until one knows the run. What must not be
// printed of the settings comes with the facts.
func factsOf(ctx context.Context, log *slog.Logger, s config.Scaler, l config.Launcher, timeout time.Duration, run string) (facts explain.Facts, secrets []string, err error) {
	client, unreachable := kubeClient(log, s.Kubernetes, "explain")
	all := connections(s)
	for _, c := range all {
		secrets = append(secrets, c.prefect.APIKey().Reveal(), c.prefect.AuthString.Reveal())
	}
	var unknown []error
	for _, c := range all {
		b, err := newBackend(c.prefect, config.Agent{}, "explain", log, nil)
		if err != nil {
			return explain.Facts{}, nil, misconfigured{err}
		}
		judging := rules(s.TroubleOf(c.prefect.Kind), c.prefect.Kind)
		judging.OwnJobs = false // what is wrong with a worker's Job is worth telling too
		facts, err := collect.Facts(ctx, collect.Options{
			Prefect: b, Connection: c.name, Cloud: c.prefect.Kind == config.Prefect1 && c.prefect.OnCloud(),
			Kubernetes: func(namespace string) (collect.Namespace, error) { return reader(client, namespace), unreachable },
			Namespaces: c.namespaces, Marks: b.marks(),
			Scaler: func(ctx context.Context) ([]byte, error) { return scalerPage(ctx, s, client) },
			ScaledObject: func(ctx context.Context, namespace, name string, into any) error {
				if client == nil {
					return unreachable
				}
				return client.Read(ctx, "/apis/keda.sh/v1alpha1/namespaces/"+namespace+"/scaledobjects/"+name, into)
			},
			HeldBack: heldBack(b, c.prefect), Scope: scopeOf(l), Rules: judging, ClaimGrace: l.ClaimGrace, Timeout: timeout,
		}, run)
		if err == nil {
			return facts, secrets, nil
		}
		unknown = append(unknown, fmt.Errorf("%w (asked %s, which %s says)", err, c.prefect.Address(), c.addressSetting()))
		if !errors.Is(err, prefect.ErrNotFound) {
			break // it may belong to this connection
		}
	}
	return explain.Facts{}, nil, errors.Join(unknown...)
}

// slotAhead is more than Prefect lets a run wait at a time that it has no slot for.
const slotAhead = time.Minute

// heldBack finds a run among those that Prefect holds back; nil for Prefect 1, which does
// not tell.
func heldBack(b backend, p config.Prefect) func(ctx context.Context, run prefect.FlowRun) (string, error) {
	if p.Kind != config.Prefect3 {
		return nil
	}
	return func(ctx context.Context, run prefect.FlowRun) (string, error) {
		seen, err := b.Observe(ctx, time.Now().Add(slotAhead))
		if i := slices.IndexFunc(seen.Held, func(h prefect.HeldRun) bool { return h.ID == run.ID }); i >= 0 {
			return seen.Held[i].Why, nil
		}
		return "", err
	}
}

func reader(client *kube.Client, namespace string) collect.Namespace {
	if client == nil {
		return collect.Namespace{}
	}
	return collect.Namespace{
		Jobs: client.Jobs(namespace), Pods: client.Pods(namespace), Events: client.Events(namespace),
		UID: func(ctx context.Context) (string, error) { return client.NamespaceUID(ctx, namespace) },
	}
}

const (
	demandPath = "/debug/demand"
	// maxPage is more than a scaler reports that knows thousands of ScaledObjects.
	maxPage = 16 << 20
	// localTimeout is enough for a page from this machine.
	localTimeout = 2 * time.Second
)

// scalerPage is read from the scaler of this pod, where there is one; from others the
// API server fetches it.
func scalerPage(ctx context.Context, s config.Scaler, client *kube.Client) ([]byte, error) {
	page, err := localPage(ctx, s.OpsListen)
	if err == nil || client == nil {
		return page, err
	}
	namespace := home(s.Kubernetes, kube.PodNamespace())
	pods, err := client.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "prefect-keda.io/process=scaler", Limit: 10})
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(pods.Items, func(p corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if i < 0 {
		return nil, fmt.Errorf("no scaler runs in namespace %s", namespace)
	}
	var raw json.RawMessage
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%s/proxy%s", namespace, pods.Items[i].Name, opsPort(pods.Items[i]), demandPath)
	if err := client.Read(ctx, path, &raw); err != nil {
		return nil, err
	}
	return raw, nil
}

func opsPort(p corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name == "ops" {
				return fmt.Sprint(port.ContainerPort)
			}
		}
	}
	return "8080"
}

func localPage(ctx context.Context, ops config.Address) ([]byte, error) {
	host, port, err := net.SplitHostPort(string(ops))
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, localTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+demandPath, nil)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: &http.Transport{}}).Do(request) // no proxy is between
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") {
		return nil, fmt.Errorf("%s is not a scaler's page: it answers %s", request.URL, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, maxPage))
}

// printReport hides what other people's words may repeat of our secrets.
func printReport(out io.Writer, r explain.Report, format string, hide *strings.Replacer) error {
	var text strings.Builder
	var err error
	if format == "json" {
		err = writeJSON(&text, r)
	} else {
		err = r.Write(&text)
	}
	if err == nil {
		_, err = hide.WriteString(out, text.String())
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
