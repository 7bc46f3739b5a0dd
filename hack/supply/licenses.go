package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// allowed are the licenses that what we link may have. All let us distribute a binary under
// Apache-2.0 with their texts beside it; MPL-2.0 wants its files' source too, which is
// public under the module's path and version.
func allowed() []string {
	return []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0"}
}

// granted are a module's licenses. One that cannot be told, or is not allowed, is an error.
func granted(m module, texts []text) ([]string, error) {
	var ids []string
	for _, text := range texts {
		for _, id := range text.licenses {
			if !slices.Contains(allowed(), id) {
				return nil, fmt.Errorf("%s %s: %s is under %s, which is none of %s", m.path, m.version, text.name, id, strings.Join(allowed(), ", "))
			}
		}
		ids = append(ids, text.licenses...)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s %s: no license is found in %s", m.path, m.version, m.dir)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// table is the page docs/licenses.md: what is linked, without versions, so that an update
// leaves it as it is unless a module or its license is another one.
func table(ctx context.Context) ([]byte, error) {
	modules, err := linked(ctx)
	if err != nil {
		return nil, err
	}
	var page strings.Builder
	page.WriteString("# Licenses\n\nprefect-keda is under the [Apache License 2.0](../LICENSE). Its binary has these modules in it; `std` is Go's standard library. The image has\n" +
		"their license texts in `/licenses`, each release in `THIRD_PARTY_LICENSES`, and the release's SBOM has the versions ([RELEASING.md](../RELEASING.md#verify-one)).\n" +
		"`hack/supply` makes this page and allows no other licenses than " + strings.Join(allowed(), ", ") + ".\n\n| module | licenses |\n|---|---|\n")
	for _, m := range modules {
		texts, err := m.texts()
		if err != nil {
			return nil, err
		}
		ids, err := granted(m, texts)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&page, "| `%s` | %s |\n", m.path, strings.Join(ids, ", "))
	}
	return []byte(page.String()), nil
}

// notices are the license texts of all that is linked, each text once.
func notices(ctx context.Context) ([]byte, error) {
	modules, err := linked(ctx)
	if err != nil {
		return nil, err
	}
	type group struct {
		words string
		files []string
	}
	var groups []*group
	known := map[string]*group{}
	for _, m := range modules {
		texts, err := m.texts()
		if err != nil {
			return nil, err
		}
		if _, err := granted(m, texts); err != nil {
			return nil, err
		}
		for _, text := range texts {
			words := strings.TrimSpace(strings.ReplaceAll(text.words, "\r\n", "\n"))
			if known[words] == nil {
				known[words] = &group{words: words}
				groups = append(groups, known[words])
			}
			known[words].files = append(known[words].files, m.path+" "+m.version+" "+text.name)
		}
	}
	var all strings.Builder
	all.WriteString("prefect-keda contains the following. It is itself under the Apache License 2.0.\n")
	rule := "\n" + strings.Repeat("=", 80) + "\n"
	for _, group := range groups {
		all.WriteString(rule + strings.Join(group.files, "\n") + rule + "\n" + group.words + "\n")
	}
	return []byte(all.String()), nil
}
