package prefect3

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestNote(t *testing.T) {
	claim := prefect.Claim{Launcher: "launcher-5f7", Namespace: "flows", Job: "hello-0a1b2c3d4e", NamespaceUID: "8a2c7c4e-3d5f-4a37-9a51-0d8f6c1f0a10", Attempt: "s01a221ed"}
	const line = "prefect-keda launcher=launcher-5f7 job=flows/hello-0a1b2c3d4e cluster=8a2c7c4e-3d5f-4a37-9a51-0d8f6c1f0a10 attempt=s01a221ed"
	if got := noteOf(claim, 0); got != line {
		t.Errorf("the note reads\n%s, want\n%s", got, line)
	}
	for name, tc := range map[string]struct {
		message  string
		want     *prefect.Claim
		returned int
	}{
		"as it was written":           {line, &claim, 0},
		"with hand-backs":             {line + " returned=2", &claim, 2},
		"of a later release":          {line + " colour=blue", &claim, 0},
		"below why the pod waits":     {"no node\nhas room\n" + line, &claim, 0},
		"nobody's":                    {"", nil, 0},
		"an observer's":               {"Kubernetes pod is pending.", nil, 0},
		"not in a line of its own":    {"see " + line, nil, 0},
		"with more below":             {line + "\nand so on", nil, 0},
		"with a member twice":         {line + " attempt=s2", nil, 0},
		"without an attempt":          {"prefect-keda launcher=a job=flows/b cluster=c attempt=", nil, 0},
		"without a namespace":         {"prefect-keda launcher=a job=b cluster=c attempt=s1", nil, 0},
		"with two slashes":            {"prefect-keda launcher=a job=a/b/c cluster=c attempt=s1", nil, 0},
		"with text that is no member": {line + " and", nil, 0},
		"with a broken escape":        {"prefect-keda launcher=%zz job=a/b cluster=c attempt=s1", nil, 0},
		"with a nonsensical count":    {line + " returned=many", &claim, 0},
		"with a negative count":       {line + " returned=-1", &claim, 0},
	} {
		got, returned := claimIn(tc.message)
		if diff := cmp.Diff(tc.want, got); diff != "" || returned != tc.returned {
			t.Errorf("%s: returned %d, want %d (-want +got):\n%s", name, returned, tc.returned, diff)
		}
	}
}

func TestReturned(t *testing.T) {
	for _, tc := range []struct {
		message, words string
		returned       int
	}{
		{withReturned("no pod began", 3), "no pod began", 3},
		{withReturned("no pod began", 0), "no pod began", 0},
		{"prefect-keda returned=1", "", 1},
		{"Flow run scheduled", "Flow run scheduled", 0},
		{"a\nprefect-keda returned=", "a\nprefect-keda returned=", 0},
		{"a\nprefect-keda other=1", "a\nprefect-keda other=1", 0},
	} {
		if words, returned := returnedIn(tc.message); words != tc.words || returned != tc.returned {
			t.Errorf("%q is %q, returned %d times", tc.message, words, returned)
		}
	}
}

// Whatever a claim holds comes back, and whatever anybody writes is a claim of ours or is
// not.
func FuzzNote(f *testing.F) {
	f.Add("launcher", "flows", "job", "uid", "s1", 2, "a\nb")
	f.Add("a b", "ä", "x=y", "%", "\n", -1, "prefect-keda launcher=a job=b/c cluster=d attempt=e")
	f.Fuzz(func(t *testing.T, launcher, namespace, job, uid, attempt string, returned int, text string) {
		if c, _ := claimIn(text); c != nil && (c.Attempt == "" || !strings.Contains(text, marker)) {
			t.Errorf("%q is taken for %+v", text, c)
		}
		returnedIn(text)
		claim := prefect.Claim{Launcher: launcher, Namespace: namespace, Job: job, NamespaceUID: uid, Attempt: prefect.Attempt(attempt)}
		if attempt == "" {
			return
		}
		got, n := claimIn(text + "\n" + noteOf(claim, returned))
		if diff := cmp.Diff(&claim, got); diff != "" || n != max(returned, 0) {
			t.Errorf("returned %d, want %d (-want +got):\n%s", n, returned, diff)
		}
	})
}
