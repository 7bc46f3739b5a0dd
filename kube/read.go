package kube

import (
	"context"
	"encoding/json"
	"fmt"
)

// Read decodes what is at a path of the API, for kinds that are too seldom asked
// for to be known by type.
func (c *Client) Read(ctx context.Context, path string, into any) error {
	result := c.core.Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx)
	if err := result.Error(); err != nil { // Raw's own leaves out what the API server says
		return fmt.Errorf("get %s: %w", path, err)
	}
	body, err := result.Raw()
	if err != nil {
		return fmt.Errorf("get %s: %w", path, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("get %s: the answer is not what it should be: %w", path, err)
	}
	return nil
}

// NamespaceUID tells a namespace from those of the same name in other clusters.
func (c *Client) NamespaceUID(ctx context.Context, name string) (string, error) {
	var found struct{ Metadata struct{ UID string } }
	if err := c.Read(ctx, "/api/v1/namespaces/"+name, &found); err != nil {
		return "", err
	}
	if found.Metadata.UID == "" {
		return "", fmt.Errorf("get namespace %s: the answer has no UID", name)
	}
	return found.Metadata.UID, nil
}
