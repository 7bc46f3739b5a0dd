package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/prefect-keda/prefect-keda/explain"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// asked starts the scaler, asks it as KEDA does for a ScaledObject, and returns where
// its page is to be had after it. (Two commands in one process share their libraries'
// logs, so they do not run at once.)
func (w world) asked(t *testing.T, namespace, name string, metadata map[string]string) (page string) {
	t.Helper()
	out, stop := w.start(t, "scaler")
	out.await(t, `"msg":"serving KEDA"`)
	find := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(out.String())
		if m == nil {
			t.Fatalf("no %s in:\n%s", pattern, out)
		}
		return m[1]
	}
	conn, err := grpc.NewClient(find(`"msg":"serving KEDA","address":"([^"]+)"`), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ref := &externalscaler.ScaledObjectRef{Namespace: namespace, Name: name, ScalerMetadata: metadata}
	// Errors until it has heard of Prefect.
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, err = externalscaler.NewExternalScalerClient(conn).IsActive(t.Context(), ref); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	text := strings.TrimPrefix(get(t, find(`"msg":"serving pages","address":"([^"]+)"`), "/debug/demand"), "200 ")
	conn.Close()
	stop()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/debug/demand" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		answer(w, http.StatusOK, json.RawMessage(text))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// The command in the scaler's pod: from the real scaler's own page it knows who serves
// which labels, and from Prefect why the run waits.
func TestExplain(t *testing.T) {
	w := newWorld(t, "")
	served := w.prefect.CreateRuns(prefecttest.Order{Labels: []string{"gpu"}, In: prefecttest.Duration(time.Hour)})[0]
	other := w.prefect.CreateRuns(prefecttest.Order{Labels: []string{"tpu"}})[0]
	page := w.asked(t, "etl", "launcher", map[string]string{"labels": "gpu,prod", "warmUpLead": "1m"})

	at := w.prefect.Runs(served)[0].Due.UTC()
	got := command(t.Context(), w.env, "", "explain", served, "--ops-listen", page)
	for _, want := range []string{
		"; a launcher is woken at ", at.Add(-time.Minute).Format(time.TimeOnly) + ".\n\nflow run    " + served,
		"\nlabels      [gpu]\n", "\nserved by   scaledobject etl/launcher, labels [gpu, prod]: not active, 0 due; ", "\nhistory     ",
	} {
		if !strings.Contains(got.Out, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if got.Code != exitOK || strings.Contains(got.Out+got.Err, canary) {
		t.Errorf("%+v", got)
	}

	got = command(t.Context(), w.env, "", "explain", other, "-o", "json", "--ops-listen", page)
	var r explain.Report
	if err := json.Unmarshal([]byte(got.Out), &r); err != nil || got.Code != exitOK {
		t.Fatalf("%v: %+v", err, got)
	}
	if !strings.Contains(r.Verdict, "It does not start here. No ScaledObject of this scaler serves [tpu]: etl/launcher serves [gpu, prod].") || r.State != "Scheduled" || len(r.ServedBy) > 0 {
		t.Errorf("%+v", r)
	}
}

// From anywhere else the API server fetches the page of the scaler that runs.
func TestExplainFromOutside(t *testing.T) {
	w := newWorld(t, "")
	run := w.prefect.CreateRuns(prefecttest.Order{Labels: []string{"tpu"}})[0]
	page := w.asked(t, "etl", "launcher", map[string]string{"labels": "gpu"})
	w.kube.serve("GET /api/v1/namespaces/home/pods", func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("labelSelector"); got != "prefect-keda.io/process=scaler" {
			t.Errorf("looked for %s", got)
		}
		answer(w, http.StatusOK, map[string]any{"apiVersion": "v1", "kind": "PodList", "items": []any{
			map[string]any{"metadata": map[string]any{"name": "waits"}, "status": map[string]any{"phase": "Pending"}},
			map[string]any{
				"metadata": map[string]any{"name": "s"}, "status": map[string]any{"phase": "Running"},
				"spec": map[string]any{"containers": []any{map[string]any{"ports": []any{map[string]any{"name": "grpc", "containerPort": 9090}, map[string]any{"name": "ops", "containerPort": 7070}}}}},
			},
		}})
	})
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: page})
	w.kube.serve("GET /api/v1/namespaces/home/pods/s:7070/proxy/", func(w http.ResponseWriter, r *http.Request) {
		http.StripPrefix("/api/v1/namespaces/home/pods/s:7070/proxy", proxy).ServeHTTP(w, r)
	})
	got := command(t.Context(), w.env, "", "explain", run, "--install-namespace", "home", "--ops-listen", "127.0.0.1:1")
	if want := "No ScaledObject of this scaler serves [tpu]: etl/launcher serves [gpu]."; got.Code != exitOK || !strings.Contains(got.Out, want) {
		t.Errorf("%+v; want %s", got, want)
	}
}

// Each of the scaler's connections is asked until one knows the run; what is not there
// is said, and what repeats a key hides it.
func TestExplainOfAConnection(t *testing.T) {
	w := newWorld(t, "")
	other := prefecttest.New(prefecttest.Options{Key: canary})
	w.env = append(w.env, "PREFECT_KEDA_CONNECTIONS=team-a", "PREFECT_KEDA_CONNECTION_TEAM_A_BACKEND=server",
		"PREFECT_KEDA_CONNECTION_TEAM_A_API="+other.Start(t), "PREFECT_KEDA_CONNECTION_TEAM_A_API_KEY="+canary)
	run := other.CreateRuns(prefecttest.Order{})[0]
	if err := other.SetState(run, map[string]any{"type": "Failed", "message": "with the key " + canary}); err != nil {
		t.Fatal(err)
	}
	got := command(t.Context(), w.env, "", "explain", run, "--ops-listen", "127.0.0.1:1")
	if got.Code != exitOK || !strings.HasPrefix(got.Out, "It ended as Failed at ") || !strings.Contains(got.Out, "with the key [hidden].") || strings.Contains(got.Out+got.Err, canary) {
		t.Errorf("%+v", got)
	}
	if want := "not read    the scaler's page, which knows who serves which labels: "; !strings.Contains(got.Out, want) {
		t.Errorf("%s\nlacks %s", got.Out, want)
	}
	const nobody = "11111111-1111-4111-8111-111111111111"
	got = command(t.Context(), w.env, "", "explain", nobody)
	for _, want := range []string{"not found in Prefect (asked " + w.get("PREFECT__CLOUD__API"), "which PREFECT_KEDA_CONNECTION_TEAM_A_API says)"} {
		if got.Code != exitFailed || !strings.Contains(got.Err, want) {
			t.Errorf("%+v; want %s", got, want)
		}
	}
	w.env = append(w.env, "PREFECT_KEDA_API_KEY=wrong")
	if got = command(t.Context(), w.env, "", "explain", run); got.Code != exitMisconfigured || !strings.Contains(got.Err, "refused the key") {
		t.Errorf("%+v", got)
	}
}

func TestExplainMisconfigured(t *testing.T) {
	w := newWorld(t, "")
	for args, want := range map[string]string{
		"":                "no flow run is given: give its id",
		"a b":             "no flow run is given: give its id",
		"a -o yaml":       `--output: "yaml" is not a format: give text or json`,
		"a --timeout 0s":  "--timeout: is 0s: give some seconds",
		"a --namespace A": "settings:\n  NAMESPACE (--namespace): \"A\" cannot be the name of a namespace",
	} {
		got := command(t.Context(), w.env, "", append([]string{"explain"}, strings.Fields(args)...)...)
		if d := cmp.Diff(result{exitMisconfigured, "", "prefect-keda: " + want + "\n"}, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", args, d)
		}
	}
}
