package prefect1

import (
	"context"
	"fmt"
	"strings"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Kind asks the API for its own name, spelled as a Backend; empty when it does not say.
// No request that carries the key is smaller.
func (c *Client) Kind(ctx context.Context) (string, error) {
	out, err := read(ctx, func(ctx context.Context) (*kindOfAPIResponse, error) { return kindOfAPI(ctx, c.wire) })
	if err != nil {
		return "", fmt.Errorf("ask the API which kind it is: %w", err)
	}
	return strings.ToLower(out.Api.Backend), nil
}

// AgentConfig checks that the agent config we register with exists; nil when none is set,
// prefect.ErrNotFound when it is gone. The original fetched its settings and used none of
// them (prefect1 §1.1, §1.10).
func (c *Client) AgentConfig(ctx context.Context) error {
	if c.agentConfigID == "" {
		return nil
	}
	out, err := read(ctx, func(ctx context.Context) (*agentConfigResponse, error) {
		return agentConfig(ctx, c.wire, c.agentConfigID)
	})
	if err == nil && len(out.Agent_config) == 0 {
		err = prefect.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("look up agent config %s: %w", c.agentConfigID, err)
	}
	return nil
}
