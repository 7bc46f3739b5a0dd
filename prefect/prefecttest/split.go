package prefecttest

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
)

type splitting struct {
	first   []string
	between func(next string)
}

// Split answers each root field of a query by itself from now on: the Apollo service
// before the real server asks Hasura for each, so the parts of an answer are of different
// moments. The fields in first come first, in that order. Split calls between before each
// part but the first, with its name; between may change the data.
func (a *API) Split(between func(next string), first ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.splitting = &splitting{first, between}
}

// execute answers a valid request, in one part or in several.
func (a *API) execute(ctx context.Context, request graphqlRequest) answer {
	a.mu.Lock()
	splitting := a.splitting
	a.mu.Unlock()
	parts := []graphqlRequest{request}
	if splitting != nil {
		parts = request.parts(splitting.first)
	}
	if len(parts) == 1 {
		return a.executePart(ctx, request)
	}
	var out answer
	data := map[string]json.RawMessage{}
	for i, part := range parts {
		if i > 0 {
			splitting.between(part.OperationName)
		}
		part.OperationName = ""
		answered := a.executePart(ctx, part)
		out.Errors = append(out.Errors, answered.Errors...)
		if err := json.Unmarshal(answered.Data, &data); err != nil {
			panic(err) // our own JSON
		}
	}
	out.Data, _ = json.Marshal(data)
	return out
}

func (a *API) executePart(ctx context.Context, request graphqlRequest) answer {
	result := a.schema.Exec(ctx, request.Query, request.OperationName, request.Variables)
	out := answer{Data: result.Data}
	for _, e := range result.Errors {
		out.Errors = append(out.Errors, newProblem(e, request))
	}
	return out
}

// parts are requests for one root field each, named after it. Mutations stay whole.
func (r graphqlRequest) parts(first []string) []graphqlRequest {
	if r.document == nil || len(r.document.Operations) != 1 || r.document.Operations[0].Operation != ast.Query {
		return []graphqlRequest{r}
	}
	whole := r.document.Operations[0]
	var parts []graphqlRequest
	for _, selection := range whole.SelectionSet {
		field, ok := selection.(*ast.Field)
		if !ok {
			return []graphqlRequest{r}
		}
		operation := *whole
		operation.Name, operation.SelectionSet = "", ast.SelectionSet{field}
		u := used{document: r.document, variables: map[string]bool{}}
		u.walk(operation.SelectionSet)
		operation.VariableDefinitions = slices.DeleteFunc(slices.Clone(whole.VariableDefinitions), func(v *ast.VariableDefinition) bool {
			return !u.variables[v.Variable]
		})
		var text bytes.Buffer
		formatter.NewFormatter(&text).FormatQueryDocument(&ast.QueryDocument{Operations: ast.OperationList{&operation}, Fragments: u.fragments})
		parts = append(parts, graphqlRequest{Query: text.String(), OperationName: field.Alias, Variables: r.Variables, document: r.document})
	}
	slices.SortStableFunc(parts, func(a, b graphqlRequest) int {
		return place(first, a.OperationName) - place(first, b.OperationName)
	})
	return parts
}

func place(first []string, name string) int {
	if i := slices.Index(first, name); i >= 0 {
		return i
	}
	return len(first)
}

// used are a document's definitions that one part needs.
type used struct {
	document  *ast.QueryDocument
	variables map[string]bool
	fragments ast.FragmentDefinitionList
}

func (u *used) walk(set ast.SelectionSet) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			u.arguments(s.Arguments)
			u.directives(s.Directives)
			u.walk(s.SelectionSet)
		case *ast.InlineFragment:
			u.directives(s.Directives)
			u.walk(s.SelectionSet)
		case *ast.FragmentSpread:
			u.directives(s.Directives)
			if f := u.document.Fragments.ForName(s.Name); f != nil && !slices.Contains(u.fragments, f) {
				u.fragments = append(u.fragments, f)
				u.walk(f.SelectionSet)
			}
		}
	}
}

func (u *used) directives(list ast.DirectiveList) {
	for _, d := range list {
		u.arguments(d.Arguments)
	}
}

func (u *used) arguments(list ast.ArgumentList) {
	for _, a := range list {
		u.value(a.Value)
	}
}

func (u *used) value(v *ast.Value) {
	if v.Kind == ast.Variable {
		u.variables[v.Raw] = true
	}
	for _, child := range v.Children {
		u.value(child.Value)
	}
}
