package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/scaler"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const restart = " (a running pod keeps its values; after a change of a Secret: kubectl -n prefect-keda rollout restart deployment -l app.kubernetes.io/part-of=prefect-keda)"

// Every setting of the scaler gets to where it is obeyed.
func TestScalerSettingsArrive(t *testing.T) {
	env := parseEnviron([]string{
		"PREFECT__BACKEND=server", "NAMESPACE=one,two", "PREFECT_KEDA_ALLOWED_NAMESPACES=flows",
		"PREFECT_KEDA_CONNECTIONS=team-a", "PREFECT_KEDA_CONNECTION_TEAM_A_API_KEY=k",
		"PREFECT_KEDA_CONNECTION_TEAM_A_NAMESPACE=three", "PREFECT_KEDA_CONNECTION_TEAM_A_ALLOWED_NAMESPACES=team-a",
		"PREFECT_KEDA_LISTEN=:1", "PREFECT_KEDA_POLL_INTERVAL=2s", "PREFECT__CLOUD__REQUEST_TIMEOUT=3", "PREFECT_KEDA_MAX_STALENESS=40s",
		"PREFECT_KEDA_WARM_UP_LEAD=5s", "PREFECT_KEDA_REFLECTION=true",
		"PREFECT_KEDA_TLS_CERT_FILE=/c", "PREFECT_KEDA_TLS_KEY_FILE=/k", "PREFECT_KEDA_TLS_CLIENT_CA_FILE=/ca", "PREFECT_KEDA_TLS_CLIENT_NAMES=keda,other",
		"PREFECT_KEDA_POD_GRACE=7s", "PREFECT_KEDA_PENDING_TIMEOUT=8s", "PREFECT_KEDA_POD_RETRIES=true", "PREFECT_KEDA_CANCEL_GRACE=9m", "PREFECT_KEDA_FINISHED_GRACE=10m",
	})
	s, err := config.LoadScaler(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	clients, err := connected(connections(s), true, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := scaler.Options{
		Listen: ":1", PollInterval: 2 * time.Second, PollTimeout: 3 * time.Second, MaxStaleness: 40 * time.Second, WarmUpLead: 5 * time.Second, Reflection: true,
		TLS:   &scaler.TLS{CertFile: "/c", KeyFile: "/k", ClientCAFile: "/ca", ClientNames: []string{"keda", "other"}},
		Rules: trouble.Rules{Grace: 7 * time.Second, PendingFor: 8 * time.Second, PodRetries: true, CancelGrace: 9 * time.Minute, FinishedGrace: 10 * time.Minute},
		Connections: map[string]scaler.Connection{
			"default": {
				JobNamespaces: []string{"one", "two"}, Marks: kubernetesrun.Marks(), Replaces: scaler.Process{Name: "Prefect agent", Memory: 92_000_000}, Allowed: []string{"flows"}, AllowedSetting: "PREFECT_KEDA_ALLOWED_NAMESPACES",
				Credentials: "the API key (there is neither PREFECT__CLOUD__API_KEY nor the Secret prefect-api-key) and PREFECT__CLOUD__TENANT_ID" + restart,
			},
			"team-a": {
				JobNamespaces: []string{"three"}, Marks: kubernetesrun.Marks(), Replaces: scaler.Process{Name: "Prefect agent", Memory: 92_000_000}, Allowed: []string{"team-a"}, AllowedSetting: "PREFECT_KEDA_CONNECTION_TEAM_A_ALLOWED_NAMESPACES",
				Credentials: "PREFECT_KEDA_CONNECTION_TEAM_A_API_KEY and PREFECT_KEDA_CONNECTION_TEAM_A_TENANT_ID" + restart,
			},
		},
	}
	if diff := cmp.Diff(want, scalerOptions(s, clients), cmpopts.IgnoreFields(scaler.Connection{}, "Source"), cmpopts.IgnoreFields(scaler.Options{}, "Kubernetes", "Logger", "Registerer")); diff != "" {
		t.Error(diff)
	}
	for name, c := range clients {
		if c.Source == nil {
			t.Errorf("connection %s has no Prefect API", name)
		}
	}
}

// A scaler of both Prefects wakes each one's launchers by the rules that they act by.
func TestConnectionsHaveTheRulesOfTheirPrefect(t *testing.T) {
	const three = "PREFECT_KEDA_CONNECTION_THREE_"
	for set, want := range map[string][2]time.Duration{
		"PREFECT_KEDA_PENDING_TIMEOUT=8m": {10 * time.Minute, 2 * time.Minute},
		"PREFECT_KEDA_CANCEL_GRACE=9m":    {9 * time.Minute, 9 * time.Minute},
	} {
		s, err := config.LoadScaler(t.Context(), parseEnviron([]string{
			"PREFECT__BACKEND=server", "PREFECT_KEDA_CONNECTIONS=three", three + "API_URL=http://three/api", set,
		}))
		if err != nil {
			t.Fatal(err)
		}
		clients, err := connected(connections(s), true, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		own := clients["three"].Rules
		if own == nil || clients["default"].Rules != nil {
			t.Fatalf("rules: %v, default %v", own, clients["default"].Rules)
		}
		if got := [2]time.Duration{scalerOptions(s, clients).Rules.CancelGrace, own.CancelGrace}; got != want || own.PendingFor != s.PendingTimeout {
			t.Errorf("with %s cancelled flows may go on for %s, want %s; pods may wait for %s", set, got, want, own.PendingFor)
		}
	}
}

// Runs on the scaler's page lead to the UI of their own Prefect, where its address is known.
func TestConnectionsKnowTheirUI(t *testing.T) {
	s, err := config.LoadScaler(t.Context(), parseEnviron([]string{
		"PREFECT_API_URL=http://server:4200/api", "PREFECT_KEDA_CONNECTIONS=three,one,dark,open",
		"PREFECT_KEDA_CONNECTION_THREE_API_URL=http://three/api", "PREFECT_KEDA_CONNECTION_THREE_UI_URL=https://ui.example.com",
		"PREFECT_KEDA_CONNECTION_ONE_BACKEND=server", "PREFECT_KEDA_CONNECTION_ONE_API=http://one:4200", "PREFECT_KEDA_CONNECTION_ONE_UI_URL=http://one:8080/default",
		"PREFECT_KEDA_CONNECTION_DARK_BACKEND=server", "PREFECT_KEDA_CONNECTION_DARK_API=http://dark:4200",
		"PREFECT_KEDA_CONNECTION_OPEN_API_URL=http://open/api",
	}))
	if err != nil {
		t.Fatal(err)
	}
	clients, err := connected(connections(s), true, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, c := range clients {
		got[name] = c.Replaces.Name
		if c.RunURL != nil {
			got[name] += ", " + c.RunURL("r1")
		}
	}
	want := map[string]string{
		"default": "Prefect worker, http://server:4200/runs/flow-run/r1",
		"three":   "Prefect worker, https://ui.example.com/runs/flow-run/r1",
		"one":     "Prefect agent, http://one:8080/default/flow-run/r1",
		"dark":    "Prefect agent",
		"open":    "Prefect worker, http://open/runs/flow-run/r1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	s.UIURL = "https://prefect.example.com"
	clients, err = connected(connections(s), true, slog.New(slog.DiscardHandler), nil)
	if err != nil || clients["default"].RunURL("r1") != "https://prefect.example.com/runs/flow-run/r1" || clients["open"].RunURL("r1") != "http://open/runs/flow-run/r1" {
		t.Errorf("the setting is for the connection default: %v", err)
	}
}

// What opens one Prefect API is not shown to another.
func TestConnectionsHaveTheirOwnHeaders(t *testing.T) {
	s, err := config.LoadScaler(t.Context(), parseEnviron([]string{
		"PREFECT__BACKEND=server", "PREFECT_KEDA_API_HEADERS=X-Default: 1", "PREFECT_KEDA_CONNECTIONS=a,b",
		"PREFECT_KEDA_CONNECTION_A_BACKEND=server", "PREFECT_KEDA_CONNECTION_A_API=http://a", "PREFECT_KEDA_CONNECTION_A_API_HEADERS=X-A: 1",
		"PREFECT_KEDA_CONNECTION_B_BACKEND=server", "PREFECT_KEDA_CONNECTION_B_API=http://b",
	}))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range connections(s) {
		got[c.name] = c.prefect.Headers.String()
	}
	if d := cmp.Diff(map[string]string{"default": "X-Default", "a": "X-A", "b": ""}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
