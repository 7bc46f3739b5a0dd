package workpool

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

// FromBundle answers all that a saved run needs, without an API.
func FromBundle(b recipe.Bundle) Source { return bundle{b} }

type bundle struct{ saved recipe.Bundle }

func (b bundle) Inputs(context.Context, prefect.FlowRun) (recipe.Inputs, error) {
	return b.saved.Inputs, nil
}

func (b bundle) Block(_ context.Context, slug, name string) (any, error) {
	return found(b.saved.BlockDocuments, slug+"/"+name)
}

func (b bundle) BlockByID(_ context.Context, id string) (any, error) {
	return found(b.saved.BlockDocuments, id)
}

func (b bundle) Variable(_ context.Context, name string) (any, bool, error) {
	raw, ok := b.saved.Variables[name]
	return raw, ok, nil
}

func found(in map[string]json.RawMessage, key string) (any, error) {
	if raw, ok := in[key]; ok {
		return raw, nil
	}
	return nil, fmt.Errorf("the bundle has no block document %s: %w", key, prefect.ErrNotFound)
}
