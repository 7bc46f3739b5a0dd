package fake

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// block is a block document, with as much of its type as a template needs.
type block struct {
	row
	Slug   string
	Name   string
	Data   map[string]any
	Secret []string // members of Data that are hidden
}

// hidden is how a secret reads without include_secrets.
const hidden = "********"

func (b *block) show(secrets bool) map[string]any {
	data := maps.Clone(b.Data)
	for name := range data {
		if !secrets && slices.Contains(b.Secret, name) {
			data[name] = hidden
		}
	}
	title := strings.ToUpper(b.Slug[:1]) + b.Slug[1:]
	kind := map[string]any{"slug": b.Slug, "name": title, "is_protected": true}
	return map[string]any{
		"id": b.ID, "created": b.Created, "updated": b.Updated, "name": b.Name, "data": data, "block_type": kind, "block_type_name": title,
		"block_document_references": map[string]any{}, "is_anonymous": false,
	}
}

func (a *API) readBlock(q *ask) (int, any) {
	if b := a.store.blocks[q.PathValue("id")]; b != nil {
		return http.StatusOK, b.show(secrets(q))
	}
	return missing("Block document not found")
}

func (a *API) readBlockNamed(q *ask) (int, any) {
	for _, b := range a.store.blocks {
		if b.Slug == q.PathValue("slug") && b.Name == q.PathValue("name") {
			return http.StatusOK, b.show(secrets(q))
		}
	}
	return missing("Block document not found")
}

func secrets(q *ask) bool { return q.URL.Query().Get("include_secrets") == "true" }

// variable is a variable of the server's.
type variable struct {
	row
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
	Tags  []string        `json:"tags"`
}

func (a *API) readVariable(q *ask) (int, any) {
	if v := a.store.variables[q.PathValue("name")]; v != nil {
		return http.StatusOK, v
	}
	return missing("Variable not found.")
}

func (a *API) createVariable(q *ask) (int, any) {
	var in struct {
		Name  string          `json:"name"`
		Value json.RawMessage `json:"value"`
		Tags  []string        `json:"tags"`
	}
	if status, out := q.decode(&in); status != 0 {
		return status, out
	}
	if a.store.variables[in.Name] != nil {
		return http.StatusConflict, refusal{Detail: "A variable with the name '" + in.Name + "' already exists."}
	}
	v := &variable{row: a.store.row(), Name: in.Name, Value: in.Value, Tags: orEmpty(in.Tags)}
	a.store.variables[in.Name] = v
	return http.StatusCreated, v
}
