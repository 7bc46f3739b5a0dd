//go:build e2e && chaos

package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/singleflight"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/prefect-keda/prefect-keda/e2e/chaos"
	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
)

//nolint:gochecknoglobals // flags
var (
	chaosSeed = flag.Uint64("seed", 0, "what strikes and when; 0 for another one each time")
	chaosRuns = flag.Int("runs", 250, "flow runs of each Prefect")
	chaosOver = flag.Duration("over", 45*time.Second, "how long things break, for each Prefect")
	chaosSkew = flag.Bool("skew", false, "build one launcher and one scaler with a clock that is a minute ahead, which compiles Go's library anew")
)

// Everything breaks while flow runs come due: processes, requests, watches, servers, clocks.
// Afterwards each scheduling has had exactly one Job, and nothing is stuck or lost.
func TestChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = rand.Uint64() % 1_000_000
	}
	binary, skewed := buildBinary(t), ""
	if *chaosSkew {
		skewed = filepath.Join(t.TempDir(), "prefect-keda")
		fmt.Println("    build prefect-keda with a skewed clock: some minutes")
		if err := chaos.BuildSkewed(t.Context(), "../cmd/prefect-keda", skewed); err != nil {
			t.Fatal(err)
		}
	}
	var restarts singleflight.Group // both worlds stand on one API server
	restart := func(ctx context.Context) error {
		_, err, _ := restarts.Do("", func() (any, error) { return nil, restartAPI(ctx) })
		return err
	}
	for _, world := range []struct {
		name string
		make func(t *testing.T) chaos.World
	}{
		{"Prefect 1", func(t *testing.T) chaos.World { return chaos.NewPrefect1(t, nil) }},
		{"Prefect 3", func(t *testing.T) chaos.World {
			return chaos.NewPrefect3(t, func(name string) any {
				return unscheduled(t, map[string]any{"name": name})
			})
		}},
	} {
		t.Run(world.name, func(t *testing.T) {
			t.Parallel()
			say := func(line string) { fmt.Printf("    %s: %s\n", world.name, line) }
			e := suite.Bare(t)
			dir := t.TempDir()
			cfg := asLauncher(t, e)
			api, err := url.Parse(cfg.Host)
			if err != nil {
				t.Fatal(err)
			}
			storm := &chaos.Storm{
				World: world.make(t), Plan: chaos.NewPlan(seed), Runs: *chaosRuns, Over: *chaosOver, Settle: 6 * time.Minute,
				Binary: binary, Skewed: skewed, Dir: dir, Say: say,
				Namespace: e.Flows, Kubernetes: api, AsLauncher: as(t, e, product.Launcher), AsScaler: as(t, e, product.Scaler), Client: unlimited(t),
				RestartAPI: restart,
			}
			say(fmt.Sprintf("%d runs within %s; again with: make chaos ARGS='-seed %d'", *chaosRuns, *chaosOver, seed))
			broken, err := storm.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ids := slices.Sorted(maps.Keys(broken))
			say("\n" + storm.Plan.Table(ids))
			for i, id := range ids {
				if i < 10 {
					t.Errorf("%s\n      %s", broken[id], storm.Evidence(id))
				} else {
					t.Error(broken[id])
				}
			}
			// A launcher that meets an API server which does not know its Role yet leaves, and
			// comes again. Nothing may panic.
			for name, ends := range storm.Exits() {
				t.Logf("%s left by itself: %v", name, ends)
			}
			for _, line := range panics(t, dir) {
				t.Error(line)
			}
			if t.Failed() {
				keepLogs(t, dir)
			}
		})
	}
}

// as reaches the API server as one of the ServiceAccounts of the manifests.
func as(t *testing.T, e *framework.Env, account string) http.RoundTripper {
	t.Helper()
	transport, err := rest.TransportFor(actingAs(e, account))
	if err != nil {
		t.Fatal(err)
	}
	return transport
}

// restartAPI kills the API server and waits until it serves again.
func restartAPI(ctx context.Context) error {
	if err := suite.Cluster.KillAPIServer(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		// RBAC is known a little later than the version, so this asks for something that
		// needs it.
		if _, err := suite.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1}); err == nil {
			break
		}
		time.Sleep(time.Second)
	}
	return ctx.Err()
}

// panics are the lines of the processes' logs that tell of a panic or of a data race.
func panics(t *testing.T, dir string) (lines []string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs: %v, %v", logs, err)
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.Contains(line, "DATA RACE") {
				lines = append(lines, filepath.Base(path)+": "+line)
			}
		}
	}
	return lines
}

// keepLogs keeps the processes' logs as evidence.
func keepLogs(t *testing.T, dir string) {
	t.Helper()
	to := filepath.Join(suite.Root, "e2e/out/chaos", filepath.Base(t.Name()))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	t.Logf("the logs of launchers and scalers are in %s", to)
}
