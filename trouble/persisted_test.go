package trouble

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Launchers of two releases read each other's notes while one replaces the other
// (docs/compatibility.md). testdata/persisted holds each form that a release wrote;
// a file is added for a new form, and none is changed.
func TestPersistedNotes(t *testing.T) {
	at := func(minute, second int) time.Time { return time.Date(2026, 11, 28, 12, minute, second, 0, time.UTC) }
	forms := map[string]Note{
		"told.json": {
			Told: "image_pull", Why: "The image registry.example.com/flow:1 cannot be pulled: not found.",
			Events: []string{"1a2b3c4d", "5e6f7a8b"},
		},
		"taken.json": {By: "prefect-keda-launcher-7d4b9c-x2x9q", Until: at(0, 30), Tries: 2, Stories: []string{"failed 1a2b3c4d"}},
		"spent.json": {Spent: true, Until: at(5, 0), Stories: []string{"crash_loop 1a2b3c4d"}, Past: []string{"5e6f7a8b", "gone 2"}},
		"done.json":  {Done: true, Events: []string{"1a2b3c4d"}},
	}
	files, err := filepath.Glob("testdata/persisted/*.json")
	if err != nil || len(files) != len(forms) {
		t.Fatalf("%d forms, of which %d are recorded: %v", len(forms), len(files), err)
	}
	known := map[string]bool{}
	for file, want := range forms {
		text, err := os.ReadFile(filepath.Join("testdata/persisted", file))
		if err != nil {
			t.Fatal(err)
		}
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"prefect-keda.io/trouble": string(text)}}}
		got := NoteOf(j)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s is read to another meaning (-want +got):\n%s", file, diff)
		}
		// The release before reads what this one writes: all it knew is there, as it was.
		var recorded, written map[string]any
		for raw, into := range map[string]*map[string]any{string(text): &recorded, got.String(): &written} {
			if err := json.Unmarshal([]byte(raw), into); err != nil {
				t.Fatal(err)
			}
		}
		for name, value := range recorded {
			known[name] = true
			if !reflect.DeepEqual(value, written[name]) {
				t.Errorf("%s: the note is written without %s as it was: %s", file, name, got)
			}
		}
	}
	for field := range reflect.TypeFor[Note]().Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); !known[name] {
			t.Errorf("no recorded form has the member %s: add one", name)
		}
	}
}
