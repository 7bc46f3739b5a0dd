package workpool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Resolver answers what templates and job variables refer to.
type Resolver interface {
	// Block is the data of a block document, with its secrets; prefect.ErrNotFound if there
	// is none. An object is a json.RawMessage if its order is to be kept.
	Block(ctx context.Context, slug, name string) (any, error)
	// BlockByID is the same by the document's id.
	BlockByID(ctx context.Context, id string) (any, error)
	// Variable is the value of a variable; false if there is none.
	Variable(ctx context.Context, name string) (value any, ok bool, err error)
}

// maxReferences bounds the questions about one run.
const maxReferences = 100

// references asks a resolver once for each name.
type references struct {
	ctx   context.Context //nolint:containedctx // of one rendering, which ends before it
	ask   Resolver
	known map[string]*value
}

// once remembers what get answers; nil if there is nothing.
func (r *references) once(key, from string, secret bool, get func() (any, error)) (*value, error) {
	if v, ok := r.known[key]; ok {
		return v, nil
	}
	if len(r.known) >= maxReferences {
		return nil, authorError("the work pool, the deployment and the flow run refer to more than %d blocks and variables, and no Job needs as many", maxReferences)
	}
	answer, err := get()
	if errors.Is(err, prefect.ErrNotFound) {
		r.known[key] = nil
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s for the flow run's Job: %w", from, err)
	}
	raw, ok := answer.(json.RawMessage)
	if !ok {
		if raw, err = json.Marshal(answer); err != nil {
			return nil, fmt.Errorf("read %s for the flow run's Job: %w", from, err)
		}
	}
	v, err := decode(raw, from)
	if err != nil {
		return nil, authorError("%s %v", from, err)
	}
	v = v.stamped(from, secret)
	r.known[key] = v
	return v, nil
}

// blocksPass puts in blocks (prefect3 §3.3). What comes from one is secret: only its type
// would tell whether it is, and types are anybody's.
func (r *rendering) blocksPass() filler {
	return filler{
		room: &r.room,
		find: func(name string, whole bool) (finding, error) {
			rest, ok := strings.CutPrefix(name, blocks)
			if !ok {
				return finding{keep: true}, nil
			}
			v, err := r.block(rest)
			if err == nil && !whole && !v.isScalar() {
				err = authorError("{{ %s }} is %s, which cannot stand inside a text: name one value of the block, for example {{ %s.value }}", name, v.kind(), name)
			}
			return finding{value: v}, err
		},
		reference: r.blockReference,
	}
}

// block is the value at SLUG.NAME, or at a path in that block.
func (r *rendering) block(name string) (*value, error) {
	parts := strings.SplitN(name, ".", 3)
	if len(parts) < 2 {
		return nil, authorError("{{ %s%s }} names no block: write {{ %sTYPE.NAME }}, with the slug of the block's type", blocks, name, blocks)
	}
	slug, document := parts[0], parts[1]
	data, err := r.references.once("block "+slug+"/"+document, fmt.Sprintf("the block %s/%s", slug, document), true, func() (any, error) {
		return r.references.ask.Block(r.references.ctx, slug, document)
	})
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, authorError("there is no block %s/%s, which the work pool, the deployment or the flow run refers to: create it, or change {{ %s%s }}", slug, document, blocks, name)
	}
	path := ""
	if len(parts) == 3 {
		path = parts[2]
	}
	if found := insideBlock(data, path); found != nil {
		return found, nil
	}
	return nil, authorError("the block %s/%s has nothing at %q: change {{ %s%s }}", slug, document, path, blocks, name)
}

// insideBlock is a block's data at a path. Data that is nothing but a value stands for it.
func insideBlock(data *value, path string) *value {
	if o, ok := data.object(); ok && o.len() == 1 && o.has("value") && !strings.HasPrefix(path, "value") {
		data = o.get("value")
	}
	if path == "" {
		return data
	}
	return at(data, path)
}

// blockReference is the data of the block that {"$ref": {"block_document_id": …}} stands for.
func (r *rendering) blockReference(o *object) (*value, error) {
	if !o.has("$ref") {
		return nil, nil
	}
	ref, ok := o.get("$ref").object()
	if !ok {
		return nil, authorError("$ref, which is from %s, is %s: it must be {\"block_document_id\": \"…\"}", o.get("$ref").from, o.get("$ref").kind())
	}
	if !ref.has("block_document_id") {
		return nil, nil
	}
	id, ok := ref.get("block_document_id").text()
	if !ok {
		return nil, authorError("block_document_id in %s is no text: give the id of a block document", ref.get("block_document_id").from)
	}
	from := "the block document " + id
	data, err := r.references.once("id "+id, from, true, func() (any, error) { return r.references.ask.BlockByID(r.references.ctx, id) })
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, authorError("there is no block document %s, which %s refers to: create the block again, or change the reference", id, o.get("$ref").from)
	}
	return data, filler{room: &r.room}.take(data.size())
}

// prefectPass puts in variables of Prefect. One that is missing is an empty text.
func (r *rendering) prefectPass() filler {
	return filler{room: &r.room, find: func(name string, _ bool) (finding, error) {
		rest, ok := strings.CutPrefix(name, variables)
		if !ok {
			return finding{keep: true}, nil
		}
		v, err := r.references.once("variable "+rest, "the Prefect variable "+rest, false, func() (any, error) {
			answer, ok, err := r.references.ask.Variable(r.references.ctx, rest)
			if err == nil && !ok {
				err = prefect.ErrNotFound
			}
			return answer, err
		})
		if v == nil && err == nil {
			r.warn("there is no Prefect variable %s, so {{ %s }} is empty", rest, name)
			v = &value{data: "", from: "the Prefect variable " + rest}
		}
		return finding{value: v}, err
	}}
}

func (v *value) isScalar() bool {
	switch v.data.(type) {
	case []*value, *object:
		return false
	}
	return true
}

// kind is the value's kind in words.
func (v *value) kind() string {
	if v.isNull() {
		return "null"
	}
	switch v.data.(type) {
	case []*value:
		return "a list"
	case *object:
		return "an object"
	case string:
		return "a text"
	case bool:
		return "true or false"
	}
	return "a number"
}
