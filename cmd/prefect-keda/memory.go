package main

import (
	"io/fs"
	"math"
	"runtime/debug"
	"strconv"
	"strings"
)

// scalerGC is the growth of memory, in per cent, at which the scaler collects garbage; Go's own
// is 100. It is the only process that always runs, so it trades more CPU for memory.
const scalerGC = 20

// collectOften does so, unless Go's own variable says otherwise.
func collectOften(env environment) {
	if _, set := env.Lookup("GOGC"); !set {
		debug.SetGCPercent(scalerGC)
	}
}

// heedLimit has Go collect garbage more often as the process comes near its container's limit,
// unless Go's own variable says otherwise.
func heedLimit(env environment, files fs.FS) {
	if _, set := env.Lookup("GOMEMLIMIT"); set {
		return
	}
	if limit, ok := containerLimit(files); ok {
		debug.SetMemoryLimit(goalOf(limit))
	}
}

// goalOf is what Go aims for under a container's limit. The rest is for memory that Go does not
// count and for what comes quicker than it collects.
func goalOf(limit int64) int64 { return limit / 4 * 3 }

// containerLimit is the container's memory limit, in bytes, as the kernel knows it; files are
// those of the root directory.
func containerLimit(files fs.FS) (limit int64, ok bool) {
	for _, path := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := fs.ReadFile(files, path)
		if err != nil {
			continue
		}
		// Without a limit it says max, or a number beyond any machine's memory.
		limit, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return limit, err == nil && limit > 0 && limit < math.MaxInt64/2
	}
	return 0, false
}
