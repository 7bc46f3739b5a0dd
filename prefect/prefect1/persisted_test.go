package prefect1

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Launchers of two releases read each other's claims while one replaces the other
// (docs/compatibility.md). testdata/persisted holds each form that a release wrote;
// a file is added for a new form, and none is changed.
func TestPersistedClaims(t *testing.T) {
	type meaning struct {
		Claim    prefect.Claim
		Returned int
	}
	const launcher, namespace, uid = "prefect-keda-launcher-7d4b9c-x2x9q", "prefect-flows", "6f1e2d3c-8a4b-4f0e-9a55-0d5a1c1f7b11"
	forms := map[string]meaning{
		"claim-before-namespace-uid.json": {Claim: prefect.Claim{Launcher: launcher, Namespace: namespace, Job: "prefect-job-1a2b3c4d", Attempt: "v3"}},
		"claim.json":                      {Claim: prefect.Claim{Launcher: launcher, Namespace: namespace, Job: "prefect-job-1a2b3c4d", Attempt: "v3", NamespaceUID: uid}},
		"claim-of-a-returned-run.json":    {prefect.Claim{Launcher: launcher, Namespace: namespace, Job: "prefect-job-5e6f7a8b", Attempt: "v5", NamespaceUID: uid}, 2},
	}
	files, err := filepath.Glob("testdata/persisted/*.json")
	if err != nil || len(files) != len(forms) {
		t.Fatalf("%d forms, of which %d are recorded: %v", len(forms), len(files), err)
	}
	known := map[string]json.RawMessage{}
	for file, want := range forms {
		recorded, err := os.ReadFile(filepath.Join("testdata/persisted", file))
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(known, object(object(object(recorded)["context"])[claimKey]))
		claim := claimOf(recorded)
		if claim == nil {
			t.Errorf("%s: no claim is found in it", file)
			continue
		}
		if diff := cmp.Diff(want, meaning{*claim, returnedOf(recorded)}); diff != "" {
			t.Errorf("%s is read to another meaning (-want +got):\n%s", file, diff)
		}
		// The release before finds all that it knew in our claim, unchanged.
		from := prefect.State{Phase: prefect.Waiting, Name: "Scheduled", Opaque: object(recorded)["state"]}
		written, err := submittedState("Submitted for execution", from, *claim)
		if err != nil {
			t.Fatal(err)
		}
		if missing := without(t, recorded, written); missing != "" {
			t.Errorf("%s: the claim is written without %s: %s", file, missing, written)
		}
		if want.Returned == 0 {
			continue
		}
		back, err := rescheduled(from, time.Date(2026, 11, 28, 12, 1, 0, 0, time.UTC), "Its pods never began.", want.Returned)
		if err != nil {
			t.Fatal(err)
		}
		if missing := without(t, from.Opaque, back); missing != "" {
			t.Errorf("%s: the run is handed back without %s: %s", file, missing, back)
		}
	}
	for field := range reflect.TypeFor[claimNote]().Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); known[name] == nil {
			t.Errorf("no recorded form has the member %s: add one", name)
		}
	}
}

// without is the first member of a recorded JSON object that another lacks or has
// otherwise; objects in it may have more members than were recorded.
func without(t *testing.T, recorded, written json.RawMessage) string {
	t.Helper()
	var was, is any
	if err := json.Unmarshal(recorded, &was); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(written, &is); err != nil {
		t.Fatal(err)
	}
	return missing(was, is)
}

func missing(was, is any) string {
	members, ok := was.(map[string]any)
	if !ok {
		if reflect.DeepEqual(was, is) {
			return ""
		}
		return "its value"
	}
	there, _ := is.(map[string]any)
	for name, value := range members {
		got, found := there[name]
		if !found {
			return name
		}
		if inner := missing(value, got); inner != "" {
			return name + "." + inner
		}
	}
	return ""
}
