package prefecttest

import (
	"encoding/json"
	"fmt"
	"slices"

	graphqlast "github.com/graph-gophers/graphql-go/ast"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

type graphqlRequest struct {
	Query         string
	OperationName string
	Variables     map[string]any
	document      *ast.QueryDocument // nil when it does not parse
}

// decodeRequest takes variables as an object or, from the Python client, as a
// string of JSON.
func decodeRequest(body []byte) (graphqlRequest, error) {
	var raw struct {
		Query         string          `json:"query"`
		OperationName string          `json:"operationName"`
		Variables     json.RawMessage `json:"variables"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return graphqlRequest{}, err
	}
	request := graphqlRequest{Query: raw.Query, OperationName: raw.OperationName}
	if document, err := parser.ParseQuery(&ast.Source{Input: raw.Query}); err == nil {
		request.document = document
	}
	var text string
	if json.Unmarshal(raw.Variables, &text) == nil && text != "" {
		raw.Variables = []byte(text)
	}
	if len(raw.Variables) == 0 || string(raw.Variables) == `""` {
		return request, nil
	}
	return request, json.Unmarshal(raw.Variables, &request.Variables)
}

// rootFields are the operations a document asks for; none when it does not parse.
func (r graphqlRequest) rootFields() []string {
	var names []string
	if r.document == nil {
		return nil
	}
	for _, operation := range r.document.Operations {
		for _, selection := range operation.SelectionSet {
			if f, ok := selection.(*ast.Field); ok && !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
	}
	return names
}

// locate says where the document asks for a root field.
func (r graphqlRequest) locate(field any) []location {
	if r.document == nil {
		return nil
	}
	for _, operation := range r.document.Operations {
		for _, selection := range operation.SelectionSet {
			if f, ok := selection.(*ast.Field); ok && f.Alias == field && f.Position != nil {
				return []location{{f.Position.Line, f.Position.Column}}
			}
		}
	}
	return nil
}

// badID is a malformed id in the variables; the server says where.
type badID struct {
	variable, path, value string
	request               graphqlRequest
}

func (b *badID) answer() answer {
	out := refusal(codeInternal, fmt.Sprintf("Variable '$%s' got invalid value '%s' at '%s'; Expected type UUID. Could not parse UUID: %s", b.variable, b.value, b.path, b.value))
	out.Errors[0].Extensions["exception"] = map[string]any{"message": out.Errors[0].Message}
	data := map[string]any{}
	for _, name := range b.request.rootFields() {
		data[name] = nil
		out.Errors[0].Path, out.Errors[0].Locations = []any{name}, b.request.locate(name)
	}
	out.Data, _ = json.Marshal(data)
	return out
}

// checkIDs looks for them in the server's own inputs. (Hasura's uuid is another type,
// with words of its own.)
func (a *API) checkIDs(r graphqlRequest) *badID {
	if r.document == nil || len(r.document.Operations) == 0 {
		return nil
	}
	for _, v := range r.document.Operations[0].VariableDefinitions {
		t := a.schema.AST().Types[v.Type.Name()]
		if path, value, bad := findBadID(t, v.Variable, r.Variables[v.Variable]); bad {
			return &badID{v.Variable, path, value, r}
		}
	}
	return nil
}

func findBadID(t graphqlast.Type, path string, value any) (where, id string, bad bool) {
	if value == nil { // this also ends input types that contain themselves
		return "", "", false
	}
	switch inner := t.(type) {
	case *graphqlast.NonNull:
		return findBadID(inner.OfType, path, value)
	case *graphqlast.List:
		items, ok := value.([]any)
		if !ok {
			return findBadID(inner.OfType, path, value)
		}
		for i, item := range items {
			if where, id, bad = findBadID(inner.OfType, fmt.Sprintf("%s[%d]", path, i), item); bad {
				return where, id, true
			}
		}
	case *graphqlast.InputObject:
		fields, _ := value.(map[string]any)
		for _, f := range inner.Values {
			if where, id, bad = findBadID(f.Type, path+"."+f.Name.Name, fields[f.Name.Name]); bad {
				return where, id, true
			}
		}
	case *graphqlast.ScalarTypeDefinition:
		if inner.Name == "UUID" {
			s, ok := value.(string)
			if !ok || !uuidForm.MatchString(s) {
				return path, fmt.Sprint(value), true
			}
		}
	}
	return "", "", false
}
