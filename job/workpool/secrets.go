package workpool

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/prefect-keda/prefect-keda/job"
)

// hideSecrets takes values of blocks out of env, where everybody reads them who may read
// Jobs, and has the pod find them in a Secret of the Job.
func (r *rendering) hideSecrets(j *batchv1.Job) error {
	env := j.Spec.Template.Spec.Containers[r.index()].Env
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: r.secretName(), Namespace: j.Namespace, Labels: map[string]string{}},
		Data:       map[string][]byte{},
		Immutable:  new(true),
	}
	for _, name := range []string{LabelFlowRunID, job.LabelAttempt, "app.kubernetes.io/managed-by"} {
		if text, ok := j.Labels[name]; ok {
			secret.Labels[name] = text
		}
	}
	var inline []string
	for i, v := range r.manifest.env {
		hide := v.hasSecret() || r.settings.StoreEnvAsSecret && env[i].ValueFrom == nil && env[i].Name != RunVariable
		switch {
		case !hide || env[i].ValueFrom != nil:
		case v.hasSecret() && r.settings.TemplateSecrets == Refuse:
			return authorError("%.100s in env has a value of a block, and everybody would read it who may read Jobs: have the pod read the block itself, or take it from a Secret by secretKeyRef (PREFECT_KEDA_TEMPLATE_SECRETS is refuse)", env[i].Name)
		case v.hasSecret() && r.settings.TemplateSecrets == Inline && !r.settings.StoreEnvAsSecret:
			inline = append(inline, env[i].Name)
		default:
			key := env[i].Name
			if len(validation.IsConfigMapKey(key)) > 0 {
				key = fmt.Sprintf("variable-%d", i)
			}
			secret.Data[key] = []byte(env[i].Value)
			env[i] = corev1.EnvVar{Name: env[i].Name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: secret.Name}, Key: key,
			}}}
		}
	}
	if len(inline) > 0 {
		r.warn("everybody who may read Jobs can read %s, which have values of blocks (PREFECT_KEDA_TEMPLATE_SECRETS is inline)", strings.Join(inline, ", "))
	}
	if len(secret.Data) > 0 {
		r.secret = secret
	}
	return nil
}

// secretName is the attempt's, like the Job's name, but does not change with it.
func (r *rendering) secretName() string {
	sum := sha256.Sum256([]byte(r.run.ID + "/" + string(r.run.Attempt)))
	return "prefect-env-" + hex.EncodeToString(sum[:])[:20]
}
