package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Create creates a Job and remembers it until the watch tells of it. The Secret that the
// Job's pods need, if any, comes before it and goes with it.
//
// If we die in between, the Secret stays without its Job; whoever repairs the claim creates
// the Job for it.
func (c *Cluster) Create(ctx context.Context, j *batchv1.Job, secret *corev1.Secret) error {
	s, err := c.at(j.Namespace)
	if err != nil {
		return fmt.Errorf("create Job %s: %w", j.Name, err)
	}
	isNew, err := s.createSecret(ctx, secret)
	if err != nil {
		return err
	}
	created, err := s.client.Jobs.Create(ctx, j, metav1.CreateOptions{})
	if err != nil {
		if isNew && isRefusal(err) {
			s.removeSecret(ctx, secret.Name)
		}
		return fmt.Errorf("create Job %s: %w", j.Name, err)
	}
	c.remember(s, j)
	s.giveSecret(ctx, secret, created)
	return nil
}

// createSecret reports whether it made the Secret. One that exists is of the same attempt,
// because its name tells the attempt.
func (s *space) createSecret(ctx context.Context, secret *corev1.Secret) (isNew bool, err error) {
	if secret == nil {
		return false, nil
	}
	_, err = s.client.Secrets.Create(ctx, secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create Secret %s for the Job: %w", secret.Name, err)
	}
	return true, nil
}

// isRefusal reports whether the API server has certainly not created the Job, nor anybody
// else one of its name.
func isRefusal(err error) bool {
	status := apierrors.APIStatus(nil)
	return errors.As(err, &status) && !apierrors.IsAlreadyExists(err) &&
		status.Status().Code >= http.StatusBadRequest && status.Status().Code < http.StatusInternalServerError && !apierrors.IsTimeout(err)
}

// giveSecret makes the Job the owner of its Secret, so that Kubernetes removes both. Where
// that fails, the Secret outlives the Job.
func (s *space) giveSecret(ctx context.Context, secret *corev1.Secret, j *batchv1.Job) {
	if secret == nil {
		return
	}
	owner := metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: j.Name, UID: j.UID}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"ownerReferences": []metav1.OwnerReference{owner}}})
	if err == nil {
		_, err = s.client.Secrets.Patch(ctx, secret.Name, types.MergePatchType, data, metav1.PatchOptions{})
	}
	if apierrors.IsNotFound(err) {
		// Another launcher, whose Job was refused, has removed it since.
		secret = secret.DeepCopy()
		secret.OwnerReferences = []metav1.OwnerReference{owner}
		_, err = s.client.Secrets.Create(ctx, secret, metav1.CreateOptions{})
	}
	if err != nil {
		s.log.WarnContext(ctx, "the Secret of a Job will not go with it; remove it by hand, and see that the launcher's Role allows create, patch and delete on secrets",
			"secret", secret.Name, "job", j.Name, "err", err)
	}
}

func (s *space) removeSecret(ctx context.Context, name string) {
	err := s.client.Secrets.Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		s.log.WarnContext(ctx, "the Secret of a Job that was refused could not be removed; remove it by hand", "secret", name, "err", err)
	}
}
