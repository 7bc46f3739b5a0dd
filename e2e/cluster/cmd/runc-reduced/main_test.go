package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFiles(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want []file
	}{
		{"create", []string{"--root", "/r", "create", "--bundle", "/b", "--pid-file", "/p", "id"}, []file{{"/b/config.json", true}}},
		{"joined", []string{"create", "--bundle=/b", "id"}, []file{{"/b/config.json", true}}},
		{"short", []string{"run", "-b", "/b", "id"}, []file{{"/b/config.json", true}}},
		{"exec", []string{"exec", "--process", "/tmp/p", "--detach", "id"}, []file{{"/tmp/p", false}}},
		{"neither", []string{"--log-format", "json", "kill", "--all", "id", "9"}, nil},
		{"flag without a value", []string{"create", "--bundle"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, files(tc.args), cmp.AllowUnexported(file{})); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReduce(t *testing.T) {
	for _, tc := range []struct {
		name, spec, want string
		bundle           bool
	}{
		{
			name: "container", bundle: true,
			spec: `{"linux":{"x":1e3},"process":{"args":["x"],"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE"],"permitted":["CAP_SYS_RESOURCE"]}}}`,
			want: `{"linux":{"x":1e3},"process":{"args":["x"],"capabilities":{"bounding":["CAP_CHOWN"],"permitted":[]}}}`,
		},
		{
			name: "process",
			spec: `{"args":["y"],"capabilities":{"effective":["CAP_SYS_RESOURCE","CAP_KILL"]}}`,
			want: `{"args":["y"],"capabilities":{"effective":["CAP_KILL"]}}`,
		},
		{
			name: "a number is not rounded",
			spec: `{"capabilities":{},"rlimit":18446744073709551615}`,
			want: `{"capabilities":{},"rlimit":18446744073709551615}`,
		},
		{name: "no capabilities", spec: `{"args":["y"]}`, want: `{"args":["y"]}`},
		{name: "no process", bundle: true, spec: `{"linux":{}}`, want: `{"linux":{}}`},
		{name: "null list", spec: `{"capabilities":{"ambient":null}}`, want: `{"capabilities":{"ambient":null}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := reduce([]byte(tc.spec), tc.bundle)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("reduce (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReduceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "process.json")
	if err := os.WriteFile(path, []byte(`{"capabilities":{"effective":["CAP_SYS_RESOURCE"]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reduceFile(file{path: path}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"capabilities":{"effective":[]}}`, string(got)); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(path, []byte("not JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reduceFile(file{path: path}); err == nil {
		t.Error("a file that cannot be read as JSON is passed on to runc")
	}
}
