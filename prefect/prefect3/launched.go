package prefect3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// Launched tells Prefect, as a worker does, where the run's infrastructure is and who
// launched it, and renews the lease of its deployment's slot for a day, because nobody may
// be up to do so while the pod waits (prefect3 §2.4). Each part is tried, whatever came of
// the others. The labels come last, and say that all is done.
func (c *Client) Launched(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) (err error) {
	defer exchange.Explain(&err, "tell of the Job of flow run %s", run.ID)
	err = c.tend(ctx, run, claim)
	if gone.is(err) {
		return nil // Keep finds the same, and then the pod may not have begun
	}
	return err
}

func (c *Client) tend(ctx context.Context, run prefect.FlowRun, claim prefect.Claim) error {
	if !isUUID(run.ID) {
		return prefect.ErrNotFound
	}
	var failed []error
	if claim.Job != "" {
		failed = append(failed, c.wire.patch(ctx, "infrastructure", "/flow_runs/"+run.ID, map[string]any{"infrastructure_pid": pidOf(claim)}))
	}
	labels := map[string]any{
		labelWorker: c.workerName, "prefect.worker.type": workerType, labelClaim: noteOf(claim, run.HandedBack),
	}
	if pool := run.Place.Pool; pool != "" {
		labels["prefect.work-pool.name"] = pool
		id, err := c.poolID(ctx, pool)
		if err == nil {
			labels["prefect.work-pool.id"] = id
		}
		failed = append(failed, err)
	}
	if lease := c.leaseOf(run); lease != "" {
		began := time.Now()
		err := c.renew(ctx, lease)
		if err == nil {
			labels[labelLease] = keptUntil(lease, began)
		}
		failed = append(failed, err)
	}
	if c.since(ctx, withLabels) {
		err := c.wire.patch(ctx, "labels", "/flow_runs/"+run.ID+"/labels", labels)
		if !noRoute.is(err) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// poolID is the id of a work pool, which the last look has brought.
func (c *Client) poolID(ctx context.Context, name string) (string, error) {
	raw, err := c.lookup(ctx, "pool", poolPath(name), time.Time{})
	if err != nil {
		return "", err
	}
	var row struct {
		ID string `json:"id"`
	}
	err = json.Unmarshal(raw, &row)
	return row.ID, err
}

// leaseOf is the lease of a claimed run: as it was read, or as this client won it.
func (c *Client) leaseOf(run prefect.FlowRun) string {
	if run.State.Phase != prefect.Claimed {
		return c.slots.lease(run.ID)
	}
	var s state
	if json.Unmarshal(run.State.Opaque, &s) != nil {
		return ""
	}
	return s.Details.Lease
}

func (c *Client) renew(ctx context.Context, lease string) error {
	if !isUUID(lease) {
		return nil
	}
	return c.wire.post(ctx, "renew_lease", "/v2/concurrency_limits/leases/"+lease+"/renew", map[string]any{"lease_duration": int(leaseFor.Seconds())}, nil)
}

// Keep renews the lease of a claimed run whose pod waits, and tells again what Launched
// tells, because the launcher may have died before. It returns by when to do it again.
//
// If the server has lost the lease, it would cancel the run when its pod begins (prefect3
// §2.4). So the run goes back in the queue, which frees its slot; the launcher that claims
// it next adopts its Job.
func (c *Client) Keep(ctx context.Context, run prefect.FlowRun) (next time.Time, err error) {
	defer exchange.Explain(&err, "renew the lease of flow run %s", run.ID)
	next = time.Now().Add(keepFor)
	if run.Claim == nil || run.HasJob && c.leaseOf(run) == "" {
		return next, nil
	}
	err = c.tend(ctx, run, *run.Claim)
	if !gone.is(err) {
		return next, err
	}
	now, err := c.FlowRun(ctx, run.ID)
	if err != nil {
		return next, err
	}
	if now.State.Phase != prefect.Claimed || now.Claim == nil || *now.Claim != *run.Claim {
		return next, nil
	}
	err = c.HandBack(ctx, now, time.Now(), "The server has lost the lease of this run's concurrency slot, so the run is claimed again. Its Job stays.")
	if err != nil {
		return next, fmt.Errorf("its lease is lost: %w", err)
	}
	return next, nil
}
