package main

import (
	"math"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

// Go's goal follows the container's limit, whatever somebody has set there, unless Go's own
// variables say otherwise.
func TestMemoryFollowsTheContainersLimit(t *testing.T) {
	const v2, v1 = "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"
	for name, tc := range map[string]struct {
		files map[string]string
		env   []string
		want  int64
	}{
		"as shipped":          {map[string]string{v2: "134217728\n"}, nil, 96 << 20},
		"a launcher":          {map[string]string{v2: "268435456\n"}, nil, 192 << 20},
		"an older kernel":     {map[string]string{v1: "134217728\n"}, nil, 96 << 20},
		"no limit":            {map[string]string{v2: "max\n"}, nil, math.MaxInt64},
		"no limit, older":     {map[string]string{v1: "9223372036854771712\n"}, nil, math.MaxInt64},
		"no container":        {nil, nil, math.MaxInt64},
		"Go's own variable":   {map[string]string{v2: "134217728\n"}, []string{"GOMEMLIMIT=1GiB"}, math.MaxInt64},
		"the other variable":  {map[string]string{v2: "134217728\n"}, []string{"GOGC=77"}, 96 << 20},
		"it cannot be parsed": {map[string]string{v2: "much\n"}, nil, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{}
			for path, text := range tc.files {
				files[path] = &fstest.MapFile{Data: []byte(text)}
			}
			former := debug.SetMemoryLimit(math.MaxInt64)
			defer debug.SetMemoryLimit(former)
			heedLimit(parseEnviron(tc.env), files)
			if got := debug.SetMemoryLimit(-1); got != tc.want {
				t.Errorf("the goal is %d bytes, want %d", got, tc.want)
			}
		})
	}
}

func TestScalerCollectsOften(t *testing.T) {
	for _, tc := range []struct {
		env  []string
		want int
	}{{nil, 20}, {[]string{"GOGC=77"}, 100}, {[]string{"GOGC=77", "GOMEMLIMIT=1GiB"}, 100}} {
		former := debug.SetGCPercent(100)
		collectOften(parseEnviron(tc.env))
		if got := debug.SetGCPercent(former); got != tc.want {
			t.Errorf("with %v it collects at %d %%, want %d", tc.env, got, tc.want)
		}
	}
}
