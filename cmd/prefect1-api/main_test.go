package main

import (
	"context"
	"strings"
	"testing"
)

// A wrong command line serves nothing.
func TestRun(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for args, want := range map[string]int{
		"-api 127.0.0.1:0 -control 127.0.0.1:0": 0,
		"-help":                                 0,
		"bogus":                                 2,
		"-bogus":                                2,
		"-replicas many":                        2,
	} {
		var out strings.Builder
		if got := run(ended, strings.Fields(args), &out); got != want {
			t.Errorf("%s: exit code %d, want %d: %s", args, got, want, out.String())
		}
	}
}
