package prefect1

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

const (
	// maxTenants are named where there are several to choose from.
	maxTenants = 20
	// confirmEvery is the shortest time between two checks that a tenant without runs
	// still exists.
	confirmEvery = time.Minute
)

// TenantID is the tenant of all our requests: the given one, or the key's, or Server's
// oldest, which is looked up and kept. All who ask at first wait for one answer.
func (c *Client) TenantID(ctx context.Context) (string, error) {
	if id := c.wire.tenantID(); id != "" {
		return id, nil
	}
	select {
	case c.choosing <- struct{}{}:
		defer func() { <-c.choosing }()
	case <-ctx.Done():
		return "", fmt.Errorf("look up the tenant: %w", ctx.Err())
	}
	if id := c.wire.tenantID(); id != "" {
		return id, nil
	}
	id, err := c.chooseTenant(ctx)
	if err != nil {
		return "", err
	}
	c.wire.identity.tenant.Store(&id)
	c.confirmed.Store(time.Now().UnixNano())
	return id, nil
}

// Tenant asks for the tenant of all our requests. It returns its id, and the names to
// choose from if there were several.
func (c *Client) Tenant(ctx context.Context) (id string, from []string, err error) {
	switch {
	case c.tenantIsGiven:
		id = c.wire.tenantID()
		return id, nil, c.findTenant(ctx, id)
	case c.backend == Cloud:
		if id, err = c.TenantID(ctx); err == nil {
			err = c.findTenant(ctx, id)
		}
		return id, nil, err
	}
	all, err := c.tenants(ctx)
	if err != nil {
		return "", nil, err
	}
	if len(all) > 1 {
		from = namesOf(all)
	}
	return all[0].Id, from, nil
}

// chooseTenant is for clients without a given tenant. All our processes choose the same.
func (c *Client) chooseTenant(ctx context.Context) (string, error) {
	if c.backend == Cloud {
		return c.tenantOfKey(ctx)
	}
	all, err := c.tenants(ctx)
	if err != nil {
		return "", err
	}
	if id := all[0].Id; len(all) > 1 && deref(c.chosen.Swap(&id)) != id {
		c.log.WarnContext(ctx, "Prefect has several tenants and none is set; going on with the oldest", "tenant", id, "tenants", namesOf(all))
	}
	return all[0].Id, nil
}

func (c *Client) tenantOfKey(ctx context.Context) (string, error) {
	out, err := read(ctx, func(ctx context.Context) (*tenantOfKeyResponse, error) { return tenantOfKey(ctx, c.wire) })
	switch {
	case err != nil:
		return "", fmt.Errorf("look up the tenant: %w", err)
	case out.Auth_info.Tenant_id == "":
		return "", fmt.Errorf("look up the tenant: %w: it belongs to no tenant; is it an API token of the old kind?", prefect.ErrAuth)
	}
	return out.Auth_info.Tenant_id, nil
}

// tenants returns Server's tenants, the oldest first, and at least one.
func (c *Client) tenants(ctx context.Context) ([]tenantsTenant, error) {
	out, err := read(ctx, func(ctx context.Context) (*tenantsResponse, error) { return tenants(ctx, c.wire, maxTenants) })
	switch {
	case err != nil:
		return nil, fmt.Errorf("look up the tenant: %w", err)
	case len(out.Tenant) == 0 || out.Tenant[0].Id == "":
		return nil, errors.New("look up the tenant: the Prefect Server has no tenant yet; create one with `prefect server create-tenant`")
	}
	return out.Tenant, nil
}

func namesOf(all []tenantsTenant) []string {
	var names []string
	for _, t := range all {
		names = append(names, exchange.Shorten(t.Slug)+" ("+t.Id+")")
	}
	return names
}

// findTenant makes sure that the API knows a tenant: for an unknown one it answers with
// no runs.
func (c *Client) findTenant(ctx context.Context, id string) error {
	out, err := read(ctx, func(ctx context.Context) (*tenantByIDResponse, error) { return tenantByID(ctx, c.wire, id) })
	if err == nil && len(out.Tenant) == 0 {
		err = prefect.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("look up tenant %s: %w", id, err)
	}
	return nil
}

// tenantOfRun is the tenant in which to look for a run. Ids of runs come from labels of
// Jobs, which anybody may have written.
func (c *Client) tenantOfRun(ctx context.Context, id string) (string, error) {
	if !isUUID(id) {
		return "", fmt.Errorf("%w: the id is not a UUID", prefect.ErrNotFound)
	}
	return c.TenantID(ctx)
}

// inTenant asks for runs, and again if there are none because another tenant has replaced
// ours.
func (c *Client) inTenant(ctx context.Context, ask func(tenant string) (isEmpty bool, err error)) error {
	for {
		tenant, err := c.TenantID(ctx)
		if err != nil {
			return err
		}
		isEmpty, err := ask(tenant)
		if err != nil || !isEmpty {
			return err
		}
		if elsewhere, err := c.isElsewhere(ctx, tenant); err != nil || !elsewhere {
			return err
		}
	}
}

// isElsewhere reports, after an answer without runs, whether another tenant has replaced
// ours, as when the API was set up anew; a tenant that is gone is an error. It asks the
// API now and then. Cloud's tenants stay, or refuse their keys.
func (c *Client) isElsewhere(ctx context.Context, id string) (bool, error) {
	now, last := time.Now(), c.confirmed.Load()
	if c.backend == Cloud || now.UnixNano()-last < int64(confirmEvery) || !c.confirmed.CompareAndSwap(last, now.UnixNano()) {
		return false, nil
	}
	other, err := id, error(nil)
	if c.tenantIsGiven {
		err = c.findTenant(ctx, id)
	} else {
		other, err = c.chooseTenant(ctx)
	}
	if err != nil {
		c.confirmed.Store(0) // the next answer is as doubtful
		return false, err
	}
	if other == id {
		return false, nil
	}
	c.log.WarnContext(ctx, "another tenant is the oldest now; going on with it", "tenant", other)
	c.wire.identity.tenant.Store(&other)
	c.wire.agent.Store(nil) // the other tenant has another agent
	return true, nil
}
