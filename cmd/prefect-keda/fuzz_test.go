package main

import (
	"encoding/json"
	"testing"
	"testing/fstest"

	"github.com/prefect-keda/prefect-keda/config"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
)

// Whatever file is given to render, it holds one run with an id, or people are told what to
// give. It is read alike alone, in a list and in the API's answer.
func FuzzSavedRun(f *testing.F) {
	f.Add(`{"id": "1", "version": 2}`)
	f.Add(`[{"id": "1"}]`)
	f.Add(`{"data": {"flow_run": [{"id": "1"}, {"id": "2"}]}}`)
	f.Add(`{"data": {"flow_run": null}, "id": "3"}`)
	f.Add(`{"flow_run": {"id": "4"}, "work_pool": {"name": "p"}}`)
	f.Add(` [`)
	f.Fuzz(func(t *testing.T, text string) {
		if isBundle([]byte(text)) {
			if _, id, err := prefect3Of([]byte(text), prefect3.Options{API: "http://saved/api"}, config.Prefect{}); err == nil && id == "" {
				t.Fatal("a bundle of no run")
			}
		}
		row, id, err := onlyRow([]byte(text))
		if err != nil {
			return
		}
		var of struct{ ID string }
		if json.Unmarshal(row, &of) != nil || of.ID == "" || of.ID != id {
			t.Fatalf("%s is taken for the run %q", row, id)
		}
		for _, form := range []string{string(row), "[" + string(row) + "]", `{"data": {"flow_run": [` + string(row) + `]}}`} {
			if _, again, err := onlyRow([]byte(form)); again != id {
				t.Fatalf("%s is the run %q, not %q: %v", form, again, id, err)
			}
		}
	})
}

// Whatever the kernel's file says, a limit is a size.
func FuzzMemoryLimit(f *testing.F) {
	for _, text := range []string{"max\n", "268435456\n", "-1", "9223372036854771712", "", "0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limit, ok := containerLimit(fstest.MapFS{"sys/fs/cgroup/memory.max": {Data: []byte(text)}})
		if ok && (limit <= 0 || goalOf(limit) < 0 || goalOf(limit) > limit) {
			t.Fatalf("%q is a limit of %d and a goal of %d", text, limit, goalOf(limit))
		}
	})
}
