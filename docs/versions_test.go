package docs

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/e2e/kedaversions"
)

// under is the part of a page below a heading.
func under(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", page, heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// The versions of KEDA that the pages say are tested are those that the tests drive.
func TestVersionsOfKEDA(t *testing.T) {
	all := kedaversions.Versions()
	oldest, newest := all[0], all[len(all)-1]
	var want, got [][]string
	for _, v := range slices.Backward(all) {
		want = append(want, []string{v.Number, v.Kubernetes[0] + " to " + v.Kubernetes[1]})
	}
	text := under(t, "docs/compatibility.md", "Versions of KEDA")
	for _, row := range rows(text, 3)[1:] {
		got = append(got, row[:2])
		i := slices.IndexFunc(all, func(v kedaversions.Version) bool { return v.Number == row[0] })
		if i < 0 {
			continue
		}
		differs := row[2]
		for _, v := range all {
			if differs == "as "+v.Minor() {
				differs = rowOf(rows(text, 3), v.Number)[2]
			}
		}
		if says := strings.Contains(differs, "changed certificates"); says == all[i].FollowsTLS {
			t.Errorf("the row of KEDA %s says of changed certificates %q, and the tests that it follows them: %t", row[0], differs, all[i].FollowsTLS)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("docs/compatibility.md lists versions of KEDA (-kedaversions.Versions +page):\n%s", d)
	}
	if says := "KEDA " + newest.Number + " itself runs in the tests on a cluster"; !strings.Contains(text, says) || !strings.Contains(read(t, "e2e/cluster/keda.go"), `kedaVersion = "`+newest.Number+`"`) {
		t.Errorf("docs/compatibility.md does not say %q, or the cluster has another one", says)
	}
	row := rowOf(rows(read(t, "README.md"), 3), "KEDA")
	if says := newest.Number + " (in the cluster); the client of each minor version from " + oldest.Minor() + " to " + newest.Minor(); row[1] != says {
		t.Errorf("the README says KEDA %q is tested, want %q", row[1], says)
	}
	if says := oldest.Minor() + " or newer"; !strings.HasPrefix(row[2], says) {
		t.Errorf("the README says it works with KEDA %q, want %q", row[2], says)
	}
	text = under(t, "docs/compatibility.md", "Versions of Kubernetes")
	for _, says := range []string{
		"how old a cluster may be: " + oldest.Kubernetes[0] + ", with KEDA " + oldest.Minor() + ".",
		"those of " + oldest.Types + " to " + newest.Types + ".",
	} {
		if !strings.Contains(text, says) {
			t.Errorf("docs/compatibility.md does not say of Kubernetes: %q", says)
		}
	}
}

// rowOf is the row that begins with name, else one of empty cells.
func rowOf(all [][]string, name string) []string {
	for _, row := range all {
		if row[0] == name {
			return row
		}
	}
	return make([]string, 3)
}
