package jobs

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/prefect-keda/prefect-keda/job"
)

// MaxWords bounds Kubernetes' words, in bytes: thousands of lines may wait for a slow log.
const MaxWords = 4_000

// WordsOf is the API server's message without our own words around it. It may be long,
// with a field for each element of a list.
func WordsOf(err error) string {
	words := err.Error()
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		words = status.Status().Message
	}
	return job.Shortened(words, MaxWords)
}
