package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// Read decodes the object at a path of the API. It serves kinds that we read too
// seldom to register their types.
func (c *Client) Read(ctx context.Context, path string, into any) error {
	path, query, _ := strings.Cut(path, "?")
	request := c.core.Get().AbsPath(path).SetHeader("Accept", "application/json")
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("get %s: %w", path, err)
	}
	for name := range values {
		request = request.Param(name, values.Get(name))
	}
	result := request.Do(ctx)
	if err := result.Error(); err != nil { // Raw's own error leaves out the API server's message
		return fmt.Errorf("get %s: %w", path, err)
	}
	body, err := result.Raw()
	if err != nil {
		return fmt.Errorf("get %s: %w", path, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("get %s: the answer has another form than expected: %w", path, err)
	}
	return nil
}

// NamespaceUID tells a namespace from namespaces of the same name in other clusters.
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
