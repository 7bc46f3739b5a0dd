package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// tryPools makes a Job by the template of each work pool, and has the API server do
// everything but store it.
func (c *jobChecks) tryPools(ctx context.Context) (string, error) {
	all, err := c.OfPools(ctx)
	if err != nil {
		return "", failed(err, "see what Prefect answers above")
	}
	if len(all) == 0 {
		return "", skipped("there are no work pools")
	}
	var good, bad []string
	for _, of := range all {
		where, err := c.tryPool(ctx, of)
		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: %s", of.Pool, oneLine(err.Error())))
			continue
		}
		good = append(good, of.Pool+where)
	}
	if len(bad) > 0 {
		return "", failed(errors.New(strings.Join(bad, "; ")), "runs of these work pools crash: change the pool's base job template or variables (UI, or prefect work-pool update), or the launcher's settings that are named. prefect-keda render shows a run's Job")
	}
	if c.notAs != nil {
		return strings.Join(good, ", ") + ": rendered, but not tried: not allowed to act as the launcher", nil //nolint:nilerr // launchers try them themselves
	}
	return strings.Join(good, ", ") + ": Kubernetes would accept them", nil
}

// tryPool says in which other namespace the Job would be.
func (c *jobChecks) tryPool(ctx context.Context, of PoolJob) (where string, err error) {
	if wrong, ok := errors.AsType[*prefect.AuthorError](of.Err); ok {
		return "", errors.New(wrong.Message)
	}
	if of.Err != nil {
		return "", of.Err
	}
	jobs := c.cluster.Jobs
	if of.Job.Namespace != "" && of.Job.Namespace != c.namespace {
		where = " (in " + of.Job.Namespace + ")"
		jobs = c.cluster.JobsIn(of.Job.Namespace)
	}
	if c.notAs != nil {
		return where, nil //nolint:nilerr // the caller says so, once
	}
	_, err = jobs.Create(ctx, of.Job, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return where, err
}
