package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A module whose one guard has a test, and whose other has none.
func TestWhatNoTestNoticesIsTold(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":      "module example.com/m\n\ngo 1.26\n",
		"p/p.go":      "package p\n\nfunc Clamp(a int) int {\n\tif a < 0 {\n\t\treturn 0\n\t}\n\tif a > 9 {\n\t\ta = 9\n\t}\n\treturn a\n}\n\nfunc unreached() int { return max(1, 2) }\n",
		"p/p_test.go": "package p\n\nimport \"testing\"\n\nfunc TestLow(t *testing.T) {\n\tif Clamp(-1) != 0 || Clamp(5) != 5 {\n\t\tt.Error(\"low\")\n\t}\n}\n\nfunc TestHigh(t *testing.T) { Clamp(12) }\n",
		guardsFile: "@@ p/p.go TestLow @@ not below zero\n-\tif a < 0 {\n+\tif false {\n@@ p/p.go TestHigh @@ not above nine\n-\tif a > 9 {\n+\tif false {\n" +
			"@@ p/p.go TestMisspelt @@ a test that is not there\n-\tif a < 0 {\n+\tif false {\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for name, tc := range map[string]struct{ args, want, not []string }{
		"guards": {nil, []string{"LIVES  p/p.go:7: not above nine", "LIVES  p/p.go:4: a test that is not there", "2 not noticed"}, []string{"below zero"}},
		"sweep": {
			[]string{"-sweep", "./p"},
			[]string{"LIVES  p/p.go:7: never: a > 9", "LIVES  p/p.go:8: left out: a = 9", "LIVES  p/p.go:4: <= in a < 0"},
			[]string{"never: a < 0", "always: a > 9", "max(1, 2)"},
		},
		"no time for a sample": {[]string{"-sweep", "-sample", "2", "-for", "1ns", "./p"}, []string{"0 of 2 breakages tried"}, []string{"LIVES"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), tc.args, &out)
			if lives := strings.Contains(out.String(), "LIVES"); lives != (err != nil) {
				t.Errorf("err %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q", want)
				}
			}
			for _, not := range tc.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("says %q", not)
				}
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

func TestAnInterruptEndsIt(t *testing.T) {
	t.Chdir("../..")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	if err := run(ctx, nil, &out); !errors.Is(err, context.Canceled) || strings.Contains(out.String(), "LIVES") {
		t.Errorf("err %v\n%s", err, &out)
	}
}
