package scaler

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of metadata keys anew") //nolint:gochecknoglobals // how the testing package takes flags

// The table of metadata keys on the page about tuning is made of the keys themselves.
func TestMetadataTable(t *testing.T) {
	const path, begin, end = "../docs/tuning.md", "<!-- metadata:begin (checked against the scaler by a test) -->\n", "<!-- metadata:end -->"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no markers around the table of metadata keys", path)
	}
	want := "| key | default | meaning |\n|---|---|---|\n"
	for _, k := range keys(10 * time.Second) {
		initial := "none"
		if k.initial != "" {
			initial = "`" + k.initial + "`"
		}
		want += fmt.Sprintf("| `%s` | %s | %s |\n", k.name, initial, k.about)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, table); diff != "" {
		t.Errorf("run 'make generate' and commit docs/tuning.md (-want +got):\n%s", diff)
	}
}
