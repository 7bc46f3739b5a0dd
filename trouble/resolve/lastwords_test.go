package resolve

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/jobs"
	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// logServer serves a container's log as a kubelet does: with a limit it cuts the last lines
// at their end.
func logServer(t *testing.T, log string) (*kube.Client, func() int64) {
	t.Helper()
	var sent int64
	done := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { done <- struct{}{} }()
		if r.URL.Path != "/api/v1/namespaces/flows/pods/pod-r/log" || r.URL.Query().Get("container") != "flow" {
			http.NotFound(w, r)
			return
		}
		text := log
		if n, err := strconv.Atoi(r.URL.Query().Get("tailLines")); err == nil {
			lines := strings.SplitAfter(text, "\n")
			text = strings.Join(lines[max(0, len(lines)-1-n):], "") // a line that is not ended counts as one
		}
		if n, err := strconv.Atoi(r.URL.Query().Get("limitBytes")); err == nil {
			text = text[:min(n, len(text))]
		}
		w.Header().Set("Content-Type", "text/plain")
		sent, _ = io.Copy(w, strings.NewReader(text))
	}))
	t.Cleanup(server.Close)
	client, err := kube.NewClient(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client, func() int64 { <-done; return sent }
}

// The constants of package jobs.
const (
	maxTold, maxLogBytes = 16 << 10, 32 << 20
	cut                  = "…"
)

// A traceback is at the end of a log, so the run is told the end, however long the lines.
func TestEndOfTheLogIsTold(t *testing.T) {
	const said = "The last lines of container 'flow' of pod pod-r:\n"
	long := strings.Repeat("x", 300<<10)
	many := ""
	for i := range 400 {
		many += fmt.Sprintf("%04d %s\n", i, strings.Repeat("y", 2<<10))
	}
	const traceback = "Traceback (most recent call last):\nKeyError: 'the end'"
	for name, tc := range map[string]struct{ log, want string }{
		"short":                       {"a\nb\n" + traceback + "\n", said + "a\nb\n" + traceback},
		"more lines than are told":    {strings.Repeat("old\n", 100) + strings.Repeat("new\n", 50), said + strings.TrimRight(strings.Repeat("new\n", 50), "\n")},
		"lines that are long":         {many + traceback + "\n", said + cut + (many + traceback + "\n")[len(many+traceback)+1-maxTold:len(many+traceback)]},
		"one line that is longer":     {"begin " + long + " the end\n", said + cut + strings.Repeat("x", maxTold-len(" the end\n")) + " the end"},
		"that line is not ended":      {"begin " + long + " the end", said + cut + strings.Repeat("x", maxTold-len(" the end")) + " the end"},
		"one that is cut in a letter": {strings.Repeat("ü", maxTold) + "z", said + cut + "?" + strings.Repeat("ü", maxTold/2-1) + "z"},
		"just as long as is told":     {strings.Repeat("z", maxTold), said + strings.Repeat("z", maxTold)},
		"nothing":                     {"", ""},
		"nothing but line ends":       {"\n\n", ""},
		"more than is read": {
			strings.Repeat(strings.Repeat("z", 1<<20)+"\n", 40), "The log of container 'flow' of pod pod-r could not be read: read the log of pod pod-r: its last lines are longer than 33554432 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, sent := logServer(t, tc.log)
			r := &Resolver{
				Options: Options{LogLines: 50}, Logger: slog.New(slog.DiscardHandler),
				Jobs: jobs.New("flows", nil, func(string) jobs.Client { return jobs.Client{Log: client.Logs("flows")} }, kubernetesrun.Marks(), slog.New(slog.DiscardHandler)),
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod-r"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "flow"}}}}
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "flow", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}}}}
			got := r.lastWords(t.Context(), pod, trouble.Finding{Kind: trouble.Failed})
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("-want +got:\n%.2000s", d)
			}
			if n := sent(); n > maxLogBytes+8<<20 { // what is in the sockets' buffers was sent as well
				t.Errorf("%d bytes were taken", n)
			}
		})
	}
}
