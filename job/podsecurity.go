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

// Forbidden says what in a pod a level of the Pod Security Standards does not allow;
// empty if it allows the pod, or the level is empty.
func Forbidden(pod corev1.PodTemplateSpec, level string) (string, error) {
	if level == "" {
		return "", nil
	}
	evaluator, err := evaluator()
	if err != nil {
		return "", fmt.Errorf("set up the Pod Security checks: %w", err)
	}
	parsed, err := api.ParseLevel(level)
	if err != nil {
		return "", fmt.Errorf("the Pod Security level %q: %w", level, err)
	}
	found := policy.AggregateCheckResults(evaluator.EvaluatePod(api.LevelVersion{Level: parsed, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
	if found.Allowed {
		return "", nil
	}
	return found.ForbiddenDetail(), nil
}
