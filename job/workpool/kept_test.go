package workpool

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/recipe"
)

// The runs of a burst share a decoded template and do not see each other.
func TestTemplateIsSharedUnchanged(t *testing.T) {
	inputs := func(i int) recipe.Inputs {
		return recipe.Inputs{
			FlowRun:  json.RawMessage(fmt.Sprintf(`{"id": "run-%d", "name": "run-%d", "job_variables": {"env": {"N": "%d"}, "image": "flow:%d", "labels": {"n": "%d"}}}`, i, i, i, i, i)),
			Flow:     json.RawMessage(`{"id": "f", "name": "flow"}`),
			WorkPool: json.RawMessage(`{"id": "p", "name": "etl", "base_job_template": {}}`),
		}
	}
	known := &library{}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			run := prefect.FlowRun{ID: fmt.Sprint("run-", i), Attempt: "s1"}
			want, err := render(t.Context(), run, inputs(i), Settings{}, FromBundle(recipe.Bundle{}), nil)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := render(t.Context(), run, inputs(i), Settings{}, FromBundle(recipe.Bundle{}), known)
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Errorf("run %d, %v (-alone +shared):\n%s", i, err, d)
			}
		})
	}
	all.Wait()
	again := func([]byte) (pool, error) { return pool{}, errors.New("it is not known") }
	if _, err := known.pools.Open(inputs(0).WorkPool, again); err != nil {
		t.Errorf("the template is decoded again: %v", err)
	}
}

// A text that is taken for its own slug is.
func FuzzIsSlug(f *testing.F) {
	for _, text := range []string{"a", "a-b", "a--b", "-a", "a.", "a_b.c", "1,000", "ä", "a&amp;b", "it's", "prefect.io", strings.Repeat("x", 64), ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if isSlug(text, maxLabel, "_.") {
			if got := strings.Trim(slug(ascii(text), notInValue, maxLabel), "_-."); got != text {
				t.Errorf("the slug of %q is %q", text, got)
			}
		}
		if isSlug(text, maxDomain, ".") {
			if got := strings.Trim(slug(ascii(text), notInDomain, maxDomain), "_-."); got != text {
				t.Errorf("the domain of %q is %q", text, got)
			}
		}
	})
}
