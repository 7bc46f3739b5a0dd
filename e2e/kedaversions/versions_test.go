//go:build kedaversions

package kedaversions

import (
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/prefect-keda/prefect-keda/e2e/certificates"
	"github.com/prefect-keda/prefect-keda/e2e/cluster"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// Each version of KEDA understands the scaler, and the scaler each of them. With
// PREFECT_KEDA_VERSIONS=2.17,2.21 only those are tried.
func TestVersions(t *testing.T) {
	versions, unknown := pick(Versions(), strings.FieldsFunc(os.Getenv("PREFECT_KEDA_VERSIONS"), func(r rune) bool { return r == ',' || r == ' ' }))
	if len(unknown) > 0 {
		t.Fatalf("PREFECT_KEDA_VERSIONS names %s: it can name what Versions has, as 2.17 or 2.17.3", strings.Join(unknown, ", "))
	}
	cache, err := cluster.CacheDir()
	must(t, err)
	t.Log("compiling the scaler")
	product := buildProduct(t, t.TempDir())
	for _, v := range versions {
		t.Run(v.Number, func(t *testing.T) {
			t.Logf("compiling the client of KEDA %s; the first time its modules are downloaded, and that takes minutes", v.Number)
			began := time.Now()
			program, err := Build(t.Context(), filepath.Join(cache, "keda"), v.Number)
			must(t, err)
			t.Logf("compiled in %s", time.Since(began).Round(100*time.Millisecond))
			t.Parallel() // once all are compiled: much of the time is waiting
			t.Run("work pools", func(t *testing.T) { t.Parallel(); workPools(t, product, program) })
			t.Run("labels", func(t *testing.T) { t.Parallel(); labels(t, product, program) })
			t.Run("restarts", func(t *testing.T) { t.Parallel(); restarts(t, product, program) })
			t.Run("manifests", func(t *testing.T) { t.Parallel(); manifests(t, program, v) })
			t.Run("mutual TLS", func(t *testing.T) { t.Parallel(); mutualTLS(t, product, program, v) })
		})
	}
}

// quiet and busy are polls without and with demand.
func quiet() report { return report{Values: []value{{"s0-prefect-runs", "0"}}} }

func busy(runs string) report {
	return report{Values: []value{{"s0-prefect-runs", runs}}, Active: true}
}

// learns waits until a poll says so. The name is not compared.
func (k *keda) learns(scaler string, want report) {
	k.t.Helper()
	want.Scaler = scaler
	var got report
	defer func() {
		if d := cmp.Diff(want, got); d != "" {
			k.t.Logf("the last poll of %s (-want +got):\n%s", scaler, d)
		}
	}()
	await(k.t, "KEDA learns it from its poll of "+scaler, func() bool {
		got = k.poll(scaler)
		return cmp.Equal(want, got)
	})
}

// workPools is what the manifests install for Prefect 3, from zero runs to some and back.
func workPools(t *testing.T, product, program string) {
	api := fake.New(fake.Options{})
	api.CreatePool(fake.Pool{Name: "etl"})
	api.CreatePool(fake.Pool{Name: "ml"})
	scaler := newProcess(t, product, "PREFECT_API_URL="+api.Start(t))
	scaler.start()
	k := startKEDA(t, program)

	metadata := map[string]string{"scalerAddress": scaler.grpc, "workPoolsFromEnv": "POOLS", "labelsFromEnv": "LABELS", "runsPerLauncher": "2"}
	k.open(command{Scaler: "launcher", Push: true, Metadata: metadata, Env: map[string]string{"POOLS": "etl"}})
	with := maps.Clone(metadata)
	with["runsPerLauncher"], with["warmUpLead"] = "7", "0s"
	k.open(command{Scaler: "second", Index: 1, Metadata: with, MetricType: "Value", Env: map[string]string{"POOLS": "ml"}})
	wrong := maps.Clone(metadata)
	wrong["runsPerLauncher"] = "many"
	k.open(command{Scaler: "wrong", Push: true, Metadata: wrong})

	for name, want := range map[string][]spec{
		"launcher": {{"s0-prefect-runs", "External", "AverageValue", "2"}},
		"second":   {{"s1-prefect-runs", "External", "Value", "7"}},
		// A mistake is no reason to take the metric away from the HPA.
		"wrong": {{"s0-prefect-runs", "External", "AverageValue", "100"}},
	} {
		if d := cmp.Diff(want, k.spec(name)); d != "" {
			t.Errorf("the metric of %s (-want +got):\n%s", name, d)
		}
	}
	if got := k.poll("wrong"); got.Active || got.Values != nil || !strings.Contains(got.Error, `runsPerLauncher: "many"`) {
		t.Errorf("KEDA tells this of a wrong trigger, which does not name the mistake: %+v", got)
	}

	k.learns("launcher", quiet())
	for _, name := range []string{"launcher", "wrong"} {
		if r := k.tell(command{Do: "listen", Scaler: name}); r.Error != "" {
			t.Fatal(r.Error)
		}
	}
	runs := api.CreateRuns(fake.Order{Pool: "etl", Count: 3, At: time.Now()})
	await(t, "KEDA is told at once that runs are due", func() bool { active, _ := k.heard("launcher"); return active > 0 })
	k.learns("launcher", busy("3"))
	second := report{Scaler: "second", Values: []value{{"s1-prefect-runs", "0"}}}
	if d := cmp.Diff(second, k.tell(command{Do: "metrics", Scaler: "second", Metric: "s1-prefect-runs"})); d != "" {
		t.Errorf("another work pool has demand (-want +got):\n%s", d)
	}
	for _, id := range runs {
		api.Propose(id, fake.Proposal{Type: "COMPLETED", Force: true})
	}
	k.learns("launcher", quiet())

	// A run that is due later is told of ahead, and the end is only ever polled.
	said, _ := k.heard("launcher")
	api.CreateRuns(fake.Order{Pool: "etl", At: time.Now().Add(3 * time.Second)})
	await(t, "KEDA is told of the scheduled run", func() bool { active, _ := k.heard("launcher"); return active > said })
	for _, name := range []string{"launcher", "wrong"} {
		if active, inactive := k.heard(name); inactive > 0 || name == "wrong" && active > 0 {
			t.Errorf("%s was said to be active %d times and inactive %d times; before 2.18 KEDA takes launchers away when it is told the latter", name, active, inactive)
		}
	}
	if r := k.tell(command{Do: "close", Scaler: "second"}); r.Error != "" {
		t.Errorf("a ScaledObject is deleted: %s", r.Error)
	}
	k.learns("launcher", busy("1")) // which had the same connection
	// Since 2.21 KEDA asks for a stream of targets too. It is content to hear that there is none.
	if log := k.said(); strings.Contains(log, "StreamMetricSpec") {
		t.Error("KEDA does not take it that the target never changes")
	}
}

// labels is what the manifests install for Prefect 1.
func labels(t *testing.T, product, program string) {
	api := prefecttest.New(prefecttest.Options{})
	prefect := httptest.NewServer(api)
	t.Cleanup(prefect.Close)
	scaler := newProcess(t, product, "PREFECT__BACKEND=server", "PREFECT__CLOUD__API="+prefect.URL)
	scaler.start()
	k := startKEDA(t, program)
	k.open(command{
		Scaler: "launcher", Metadata: map[string]string{"scalerAddress": scaler.grpc, "workPoolsFromEnv": "POOLS", "labelsFromEnv": "LABELS"},
		Env: map[string]string{"LABELS": `["gpu", "etl"]`},
	})
	if d := cmp.Diff([]spec{{"s0-prefect-runs", "External", "AverageValue", "100"}}, k.spec("launcher")); d != "" {
		t.Errorf("the metric (-want +got):\n%s", d)
	}
	k.learns("launcher", quiet())
	api.CreateRuns(prefecttest.Order{Count: 2, Labels: []string{"etl"}})
	api.CreateRuns(prefecttest.Order{Count: 5, Labels: []string{"other"}})
	k.learns("launcher", busy("2"))
}

// restarts is a rollout of the scaler, and then the loss of its node: KEDA gets errors while
// it is away, which change nothing, and hears of new demand when it is back.
func restarts(t *testing.T, product, program string) {
	api := fake.New(fake.Options{})
	api.CreatePool(fake.Pool{Name: "etl"})
	scaler := newProcess(t, product, "PREFECT_API_URL="+api.Start(t))
	scaler.start()
	k := startKEDA(t, program)
	k.open(command{Scaler: "launcher", Push: true, Metadata: map[string]string{"scalerAddress": scaler.grpc}})
	k.learns("launcher", quiet())
	if r := k.tell(command{Do: "listen", Scaler: "launcher"}); r.Error != "" {
		t.Fatal(r.Error)
	}
	for what, end := range map[string]func(){"rollout": scaler.stop, "loss of its node": scaler.kill} {
		said, _ := k.heard("launcher")
		end()
		if r := k.poll("launcher"); r.Error == "" || r.Active {
			t.Errorf("%s: without a scaler KEDA learns %+v, want an error", what, r)
		}
		if got := k.spec("launcher"); got != nil {
			t.Errorf("%s: without a scaler KEDA learns of the metric %+v", what, got)
		}
		scaler.start()
		k.learns("launcher", quiet())
		runs := api.CreateRuns(fake.Order{Pool: "etl", At: time.Now()})
		await(t, "KEDA hears of demand after the "+what, func() bool { active, _ := k.heard("launcher"); return active > said })
		k.learns("launcher", busy("1"))
		api.Propose(runs[0], fake.Proposal{Type: "COMPLETED", Force: true})
		k.learns("launcher", quiet())
	}
	if _, inactive := k.heard("launcher"); inactive > 0 || len(k.ended) > 0 {
		t.Errorf("KEDA heard %d times that nothing is wanted, and gave up %q", inactive, k.ended)
	}
}

// mutualTLS is the hardened overlay: only a client whose certificate our CA signed may ask.
func mutualTLS(t *testing.T, product, program string, v Version) {
	api := fake.New(fake.Options{})
	api.CreatePool(fake.Pool{Name: "etl"})
	ours, foreign := certificates.NewAuthority(), certificates.NewAuthority()
	dir := t.TempDir()
	cert, key := ours.Sign("scaler", net.IPv4(127, 0, 0, 1))
	for name, text := range map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": ours.PEM} {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	scaler := newProcess(t, product, "PREFECT_API_URL="+api.Start(t), "PREFECT_KEDA_TLS_CERT_FILE="+filepath.Join(dir, "tls.crt"),
		"PREFECT_KEDA_TLS_KEY_FILE="+filepath.Join(dir, "tls.key"), "PREFECT_KEDA_TLS_CLIENT_CA_FILE="+filepath.Join(dir, "ca.crt"))
	scaler.start()
	certOf, keyOf := ours.Sign("keda")
	as := func(ca certificates.Authority) map[string]string {
		return map[string]string{"caCert": string(ca.PEM), "tlsClientCert": string(certOf), "tlsClientKey": string(keyOf)}
	}
	right := as(ours)
	trigger := func(more map[string]string) map[string]string {
		all := map[string]string{"scalerAddress": scaler.grpc}
		maps.Copy(all, more)
		return all
	}
	for what, c := range map[string]command{
		"no TLS":                {},
		"no client certificate": {Auth: map[string]string{"caCert": string(ours.PEM)}},
		"nor a check of ours":   {Metadata: map[string]string{"enableTLS": "true", "unsafeSsl": "true"}},
		"a foreign CA":          {Auth: as(foreign)},
	} {
		k := startKEDA(t, program)
		c.Scaler, c.Metadata = "launcher", trigger(c.Metadata)
		k.open(c)
		if r := k.poll("launcher"); r.Error == "" {
			t.Errorf("with %s KEDA learns %+v", what, r)
		}
	}

	k := startKEDA(t, program)
	k.open(command{Scaler: "launcher", Push: true, Metadata: trigger(nil), Auth: right})
	k.learns("launcher", quiet())
	if r := k.tell(command{Do: "listen", Scaler: "launcher"}); r.Error != "" {
		t.Fatal(r.Error)
	}
	api.CreateRuns(fake.Order{Pool: "etl", At: time.Now()})
	await(t, "KEDA is told over TLS that a run is due", func() bool { active, _ := k.heard("launcher"); return active > 0 })
	k.learns("launcher", busy("1"))

	// Somebody corrects the certificates of a trigger. KEDA opens it again with them.
	k = startKEDA(t, program)
	k.open(command{Scaler: "launcher", Metadata: trigger(nil), Auth: map[string]string{"caCert": string(foreign.PEM)}})
	if r := k.poll("launcher"); r.Error == "" {
		t.Fatalf("with a foreign CA KEDA learns %+v", r)
	}
	k.tell(command{Do: "close", Scaler: "launcher"})
	k.open(command{Scaler: "launcher", Metadata: trigger(nil), Auth: right})
	if v.FollowsTLS {
		k.learns("launcher", busy("1"))
	} else if r := k.poll("launcher"); r.Error == "" {
		t.Errorf("KEDA %s follows changed certificates by now: say so in Versions and in docs/compatibility.md", v.Number)
	}
}

// manifests have only fields that this KEDA knows, and the Kubernetes that it is built with.
// Both drop other fields without a word, or refuse the object.
func manifests(t *testing.T, program string, v Version) {
	k := startKEDA(t, program)
	if r := k.tell(command{Do: "about"}); !strings.HasPrefix("1"+strings.TrimPrefix(r.Kubernetes, "0"), v.Types+".") {
		t.Errorf("KEDA %s is built with Kubernetes' types %s: say so in Versions, which has %s", v.Number, r.Kubernetes, v.Types)
	}
	read := func(object string) string { return k.tell(command{Do: "read", Object: object}).Error }
	if err := read(`{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": {"pollingIntervall": 5}}`); !strings.Contains(err, `unknown field "spec.pollingIntervall"`) {
		t.Errorf("a field that no KEDA has: %q", err)
	}
	folders, err := filepath.Glob("../../manifests/overlays/*")
	must(t, err)
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // as kubectl
	seen := map[string]int{}
	for _, folder := range folders {
		built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
		must(t, err)
		for _, object := range built.Resources() {
			text, err := object.MarshalJSON()
			must(t, err)
			seen[object.GetKind()]++
			if err := read(string(text)); err != "" {
				t.Errorf("%s: %s %s: %s", filepath.Base(folder), object.GetKind(), object.GetName(), err)
			}
		}
	}
	for _, kind := range []string{"ScaledObject", "ScaledJob", "TriggerAuthentication", "Deployment", "Role", "NetworkPolicy"} {
		if seen[kind] == 0 {
			t.Errorf("no overlay has a %s", kind)
		}
	}
}
