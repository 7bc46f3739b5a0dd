package main

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// Go's goal follows the container's limit, whatever somebody has set there, unless Go's own
// variables say otherwise.
func TestMemoryFollowsTheContainersLimit(t *testing.T) {
	const v2, v1 = "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"
	type goals struct {
		Limit int64
		GC    int
	}
	for name, tc := range map[string]struct {
		files  map[string]string
		growth int
		env    []string
		want   goals
	}{
		"as shipped":          {map[string]string{v2: "134217728\n"}, scalerGC, nil, goals{96 << 20, 40}},
		"a launcher":          {map[string]string{v2: "268435456\n"}, launcherGC, nil, goals{192 << 20, 70}},
		"an older kernel":     {map[string]string{v1: "134217728\n"}, launcherGC, nil, goals{96 << 20, 70}},
		"no limit":            {map[string]string{v2: "max\n"}, launcherGC, nil, goals{math.MaxInt64, 70}},
		"no limit, older":     {map[string]string{v1: "9223372036854771712\n"}, launcherGC, nil, goals{math.MaxInt64, 70}},
		"no container":        {nil, launcherGC, nil, goals{math.MaxInt64, 70}},
		"Go's own variables":  {map[string]string{v2: "134217728\n"}, scalerGC, []string{"GOGC=77", "GOMEMLIMIT=1GiB"}, goals{math.MaxInt64, 100}},
		"one of these":        {map[string]string{v2: "134217728\n"}, scalerGC, []string{"GOGC=77"}, goals{96 << 20, 100}},
		"it cannot be parsed": {map[string]string{v2: "much\n"}, launcherGC, nil, goals{math.MaxInt64, 70}},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{}
			for path, text := range tc.files {
				files[path] = &fstest.MapFile{Data: []byte(text)}
			}
			gc, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
			defer func() { debug.SetGCPercent(gc); debug.SetMemoryLimit(limit) }()
			thrift(parseEnviron(tc.env), files, tc.growth)
			got := goals{debug.SetMemoryLimit(-1), debug.SetGCPercent(100)}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
