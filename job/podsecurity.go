package job

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// evaluator knows the Pod Security Standards as the linked library has them.
var evaluator = sync.OnceValues(func() (policy.Evaluator, error) { return policy.NewEvaluator(policy.DefaultChecks(), nil) }) //nolint:gochecknoglobals // built once, never changed

// secure holds a pod against the settings' Pod Security level, as the API server
// does where the namespace has it: here its author is told at once, and a namespace
// that others share need not have it.
func (s Settings) secure(pod corev1.PodTemplateSpec, origin string) error {
	if s.PodSecurity == "" {
		return nil
	}
	evaluator, err := evaluator()
	if err != nil {
		return fmt.Errorf("set up the Pod Security checks: %w", err)
	}
	level, err := api.ParseLevel(s.PodSecurity)
	if err != nil {
		return fmt.Errorf("the Pod Security level %q: %w", s.PodSecurity, err)
	}
	found := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
	if found.Allowed {
		return nil
	}
	return authorError("%s makes a pod that the Pod Security level %s, which flows are held to here, does not allow: %s", origin, level, found.ForbiddenDetail())
}
