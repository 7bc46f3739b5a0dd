//go:build conformance

package conformance

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/prefect-keda/prefect-keda/job"
)

// poolIntention is a difference to the worker that is meant.
type poolIntention = intention[poolJob]

// taken is what only the worker refuses, by the beginning of its error.
func taken(why, theirErr string) poolIntention {
	expected := regexp.MustCompile("^" + theirErr)
	return poolIntention{why, func(r *poolJob) bool {
		if r.oursErr != nil || r.ours == nil || !expected.MatchString(r.theirErr) {
			return false
		}
		r.theirErr, r.theirs, r.theirsNamespace = "", r.ours.DeepCopy(), r.ours.Namespace
		return true
	}}
}

// refused is what only we refuse, by a part of our error.
func refused(why, oursErr string) poolIntention {
	return poolIntention{why, func(r *poolJob) bool {
		if r.theirErr != "" || r.oursErr == nil || !strings.Contains(r.oursErr.Error(), oursErr) {
			return false
		}
		r.theirErr, r.theirs = r.oursErr.Error(), nil
		return true
	}}
}

// both levels two Jobs.
func both(why string, level func(r *poolJob) bool) poolIntention {
	return poolIntention{why, func(r *poolJob) bool { return r.theirs != nil && r.ours != nil && r.theirErr == "" && level(r) }}
}

func poolIntentions() []poolIntention {
	return []poolIntention{
		{"what Kubernetes refuses is an error for the author before the claim", func(r *poolJob) bool {
			if r.theirs == nil || r.unfit == "" || r.oursErr == nil {
				return false
			}
			r.theirErr, r.theirs = r.unfit, nil
			return true
		}},
		refused("another cluster is for workers only", "cluster_config, which is from"),
		refused("a namespace that launchers may not use is an error for the author before the claim", "is none that Jobs are created in here"),
		refused("a variable without a name, which Kubernetes refuses, is an error for the author before the claim", "has no name"),
		refused("what only launchers may set is an error for the author", "what no flow run's Job may have"),
		refused("a list of variables merged into an object becomes nonsense with the worker", "is a list, but the deployment's is an object"),
		taken("parallelism and completions in the pod's spec are not asked for, and never other than 1: Kubernetes knows no such fields", `ValidationError: 1 .*\n.*(missing required attributes at the following paths: /spec/template/spec/parallelism|/spec/template/spec/parallelism must have)`),
		taken("apiVersion and kind may be left out: nothing else is possible", `ValidationError: 1 .*\n.*missing required attributes at the following paths: /(apiVersion|kind)`),
		taken("a sidecar may stand before the flow's container", `ValidationError: 1 .*\n.*/spec/template/spec/containers/0/name must have`),
		taken("the settings of a worker that watched Jobs are not looked at", `ValidationError: 1 .*\n(job_watch_timeout_seconds|pod_watch_timeout_seconds|stream_output)\n`),
		taken("a list is a command, too", `ValidationError: 1 .*\ncommand\n`),
		taken("null is unset", `(ValidationError: 1 .*\n(job_variables|labels|annotations|namespace)(\.\w+)?\n.*input_value=None|ValidationError: 1 .*\n.*/metadata/(labels|annotations) must have value \{\}|AttributeError: 'NoneType'|TypeError: ('NoneType'|argument of type 'NoneType'))`),
		taken("a pool without a template, or a part of it, has the default's", `KeyError: `),
		{"in a list of variables, too, a value that is no text becomes one", func(r *poolJob) bool {
			if r.ours == nil || !strings.Contains(r.unfit, "env.value of type string") {
				return false
			}
			r.theirs, r.theirsNamespace = r.ours.DeepCopy(), r.ours.Namespace
			return true
		}},
		both("the Job's name is the attempt's, and has only its prefix from the template", func(r *poolJob) bool {
			theirs := strings.TrimSuffix(r.theirs.GenerateName, "-")
			if r.theirs.Name != "" {
				theirs = r.theirs.Name
			}
			prefix := job.PrefixOf(r.ours.Name)
			if fits := len(validation.IsDNS1123Label(theirs)) == 0 && len(theirs) <= 45; fits && theirs != prefix {
				return false
			}
			r.theirs.Name, r.theirs.GenerateName = r.ours.Name, ""
			return true
		}),
		both("a namespace in the manifest alone counts, too; the worker asks for it in another one, and Kubernetes refuses it", func(r *poolJob) bool {
			if r.theirs.Namespace == "" || r.theirs.Namespace == r.theirsNamespace {
				return false
			}
			r.theirsNamespace = r.theirs.Namespace
			return true
		}),
		both("our own label, and the run's whatever an author writes", func(r *poolJob) bool {
			for _, labels := range []map[string]string{r.theirs.Labels, r.theirs.Spec.Template.Labels} {
				labels["prefect.io/flow-run-id"] = poolRun
				labels[job.LabelAttempt] = "s1"
			}
			return true
		}),
		both("labels that Kubernetes refuses are left out", func(r *poolJob) bool {
			left := false
			for _, labels := range []map[string]string{r.theirs.Labels, r.theirs.Spec.Template.Labels} {
				before := len(labels)
				maps.DeleteFunc(labels, func(name, text string) bool {
					return len(validation.IsQualifiedName(name))+len(validation.IsValidLabelValue(text)) > 0
				})
				left = left || len(labels) != before
			}
			return left
		}),
		both("a pod's own annotations get names that Kubernetes takes, like all others", func(r *poolJob) bool {
			theirs, ours := r.theirs.Spec.Template.Annotations, r.ours.Spec.Template.Annotations
			for name, text := range theirs {
				if fit := strings.ReplaceAll(name, " ", "-"); fit != name && ours[fit] == text {
					delete(theirs, name)
					theirs[fit] = text
					return true
				}
			}
			return false
		}),
		both("no annotations are none, not an empty object", func(r *poolJob) bool {
			levelled := false
			for _, of := range []*map[string]string{&r.theirs.Annotations, &r.theirs.Spec.Template.Annotations} {
				if *of != nil && len(*of) == 0 {
					*of, levelled = nil, true
				}
			}
			return levelled
		}),
		both("the worker's own settings are not the pod's", func(r *poolJob) bool {
			theirs, _ := r.flowContainers()
			before := len(theirs.Env)
			theirs.Env = slices.DeleteFunc(theirs.Env, func(v corev1.EnvVar) bool {
				return v.Name == "PREFECT_HOME" || strings.HasPrefix(v.Name, "PREFECT_SERVER_")
			})
			return len(theirs.Env) < before
		}),
		both("the pod's run is the run, whatever an author writes", func(r *poolJob) bool {
			theirs, _ := r.flowContainers()
			for i, v := range theirs.Env {
				if v.Name == "PREFECT__FLOW_RUN_ID" && v.Value != poolRun {
					theirs.Env[i].Value = poolRun
					return true
				}
			}
			return false
		}),
		both("a variable that an author takes from elsewhere is not given beside it", func(r *poolJob) bool {
			theirs, _ := r.flowContainers()
			last := map[string]int{}
			for i, v := range theirs.Env {
				last[v.Name] = i
			}
			var env []corev1.EnvVar
			for i, v := range theirs.Env {
				if last[v.Name] == i || theirs.Env[last[v.Name]].ValueFrom == nil {
					env = append(env, v)
				}
			}
			levelled := len(env) < len(theirs.Env)
			theirs.Env = env
			return levelled
		}),
		both("an empty image is none; the worker kept it, and Kubernetes refuses it", func(r *poolJob) bool {
			theirs, ours := r.flowContainers()
			if theirs.Image != "" {
				return false
			}
			theirs.Image = ours.Image
			return true
		}),
		both("finished Jobs stay for five minutes at least", func(r *poolJob) bool {
			ttl := r.theirs.Spec.TTLSecondsAfterFinished
			if ttl == nil || *ttl >= job.MinTTLSeconds {
				return false
			}
			*ttl = job.MinTTLSeconds
			return true
		}),
		both("nulls in lists and objects are left out", func(r *poolJob) bool {
			pod := &r.theirs.Spec.Template.Spec
			before := pod.DeepCopy()
			pod.Tolerations = slices.DeleteFunc(pod.Tolerations, func(v corev1.Toleration) bool { return v == corev1.Toleration{} })
			maps.DeleteFunc(pod.NodeSelector, func(_, text string) bool { return text == "" })
			for i, ours := range r.ours.Spec.Template.Spec.Containers {
				if len(ours.Args) < len(pod.Containers[i].Args) {
					pod.Containers[i].Args = slices.DeleteFunc(pod.Containers[i].Args, func(text string) bool { return text == "" })
				}
				maps.DeleteFunc(pod.Containers[i].Resources.Limits, func(_ corev1.ResourceName, q resource.Quantity) bool { return q.IsZero() })
			}
			return !cmp.Equal(before, pod)
		}),
	}
}
