package main

import (
	"runtime/debug"
	"strings"
)

// version is set by the release build (hack/build.sh).
var version string //nolint:gochecknoglobals // the linker's -X can set nothing else

func currentVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, dirty := "devel", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return revision + dirty
}

func userAgent(process string) string {
	return "prefect-keda/" + strings.ReplaceAll(currentVersion(), " ", "") + " (" + process + ")"
}
