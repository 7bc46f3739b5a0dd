//go:build e2e && soak

package e2e

import (
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/prefect-keda/prefect-keda/e2e/chaos"
	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/e2e/soak"
	"github.com/prefect-keda/prefect-keda/job"
)

// fetch builds the release before and puts its image into the node.
func (s *soaking) fetch() {
	s.t.Helper()
	ctx, c := s.t.Context(), suite.Cluster
	var err error
	if s.before, err = soak.Before(ctx, suite.Root, *soakBefore); err != nil {
		s.t.Fatal(err)
	}
	err = c.Step("build the release before, "+s.before.Name, func() error {
		s.tree, err = s.before.Tree(ctx, suite.Root, filepath.Join(c.Cache(), "before"))
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.image = "ghcr.io/prefect-keda/prefect-keda:before-" + s.before.Commit[:12]
	if _, err = c.BuildImage(ctx, s.image, soak.Binary(s.tree)); err == nil {
		err = c.Load(ctx, s.image)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *soaking) prefects() []*soaked { return []*soaked{s.upgraded, s.staying} }

func (s *soaking) env(prefect int) *framework.Env {
	if prefect == 3 {
		return suite.BareForPools(s.t)
	}
	return suite.Bare(s.t)
}

// soaked is a Prefect whose Jobs stay as short as they may, and whose pods no node takes.
func (s *soaking) soaked(prefect int) *soaked {
	s.t.Helper()
	p := &soaked{prefect: prefect, env: s.env(prefect)}
	const seconds, nobody = job.MinTTLSeconds, "nobody"
	var world chaos.World
	if prefect == 1 {
		world = chaos.NewPrefect1(s.t, framework.KubernetesRun(map[string]any{
			"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "soak"},
			"spec": map[string]any{"ttlSecondsAfterFinished": seconds, "backoffLimit": 0, "template": map[string]any{"spec": map[string]any{
				"schedulerName": nobody, "containers": []any{map[string]any{"name": "flow"}},
			}}},
		}))
	} else {
		world = chaos.NewPrefect3(s.t, func(name string) any {
			return unscheduled(s.t, map[string]any{"name": name, "namespace": p.env.Flows, "finished_job_ttl": int64(seconds)})
		})
	}
	p.url = suite.Expose(s.t, world.Start())
	p.ledger = chaos.NewLedger(suite.Client, p.env.Flows, world, chaos.NewPlan(s.seed))
	return p
}

// rendered are the manifests of a tree for a namespace and a Prefect, with short waits.
func (s *soaking) rendered(tree, namespace string, p *soaked) []*unstructured.Unstructured {
	s.t.Helper()
	objects, err := product.Render(tree, "base", namespace)
	settings := map[string]string{"PREFECT__CLOUD__API": p.url}
	if p.prefect == 3 {
		objects, err = product.RenderForPrefect3(tree, namespace, p.url, "chaos")
		settings = nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	for _, change := range []framework.Change{framework.FastFeedback(), framework.Settings(settings)} {
		objects = change(objects)
	}
	return objects
}

func (s *soaking) install() {
	s.t.Helper()
	s.toBefore()
	s.beside.Put(s.rendered(suite.Root, s.beside.Namespace, s.upgraded), framework.FlowsIn(s.beside.Flows, s.upgraded.env.Flows))
	s.staying.env.Put(s.rendered(suite.Root, s.staying.env.Namespace, s.staying), framework.AtLeast(1))
	for _, e := range s.envs() {
		e.WaitForRollout(product.Scaler)
	}
	s.staying.env.WaitForReplicas(product.Launcher, 1, time.Minute)
}

func (s *soaking) envs() []*framework.Env {
	return []*framework.Env{s.upgraded.env, s.beside, s.staying.env}
}

// toBefore puts the release before where it is upgraded.
func (s *soaking) toBefore() {
	s.t.Helper()
	e := s.upgraded.env
	e.Put(s.rendered(s.tree, e.Namespace, s.upgraded), framework.Image(s.image, product.Scaler, product.Launcher))
}

// toThis puts this release there.
func (s *soaking) toThis() {
	s.t.Helper()
	e := s.upgraded.env
	e.Put(s.rendered(suite.Root, e.Namespace, s.upgraded))
}

// plan says what happens, and when. For half of the time both releases serve the same runs.
func (s *soaking) plan() {
	upgraded := s.upgraded.env
	rollScaler := turn{"rollouts of a scaler", func() {
		for _, e := range []*framework.Env{upgraded, s.beside} {
			e.Roll(product.Scaler)
		}
		upgraded.WaitForRollout(product.Scaler)
	}}
	rollLauncher := turn{"rollouts of a launcher", func() {
		awaitLauncher(upgraded)
		for _, e := range []*framework.Env{upgraded, s.beside} {
			e.Roll(product.Launcher)
		}
	}}
	restart := func(deployment string) turn {
		return turn{"restarts of " + deployment, func() { suite.RestartKEDA(s.t, deployment) }}
	}
	lead := turn{"changes of KEDA's leader", func() { suite.ChangeKEDALeader(s.t) }}
	s.events = []turn{rollLauncher, restart("keda-operator"), rollScaler, lead, rollLauncher, restart("keda-metrics-apiserver"), rollScaler, rollLauncher}
	forth := func() {
		s.toThis()
		s.beside.Pause(product.Launcher, 0)
		upgraded.WaitForRollout(product.Scaler)
		s.assertBefore(false)
	}
	back := func() {
		s.toBefore()
		upgraded.WaitForRollout(product.Scaler)
		s.assertBefore(true)
	}
	for after, step := range []turn{{"upgrades", forth}, {"ways back by one release", back}, {"upgrades", forth}} {
		s.upgrade = append(s.upgrade, struct {
			after float64
			turn  turn
		}{[]float64{0.5, 0.7, 0.85}[after], step})
	}
}

// assertBefore fails unless the scaler is of the release before, or is not.
func (s *soaking) assertBefore(want bool) {
	s.t.Helper()
	for _, pod := range s.upgraded.env.Pods(product.Scaler) {
		if got := pod.Spec.Containers[0].Image; pod.DeletionTimestamp == nil && (got == s.image) != want {
			s.t.Errorf("the image of scaler %s is %s; the one of the release before is %s, and that it runs is %t", pod.Name, got, s.image, want)
		}
	}
}

// awaitLauncher waits a moment for a launcher that works, because the rollout of none is none.
func awaitLauncher(e *framework.Env) {
	works := func(p corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil }
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && !slices.ContainsFunc(e.Pods(product.Launcher), works); {
		time.Sleep(300 * time.Millisecond)
	}
}
