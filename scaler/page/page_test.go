package page_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/scaler/page"
)

var update = flag.Bool("update", false, "rewrite the golden pages")

func rendered(t *testing.T, r page.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := page.HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// If there are too many ScaledObjects, those with something to see have a timeline.
func TestManyScaledObjects(t *testing.T) {
	got := rendered(t, crowded())
	if cards := strings.Count(got, `<section class="card"`); cards != 30 {
		t.Errorf("%d timelines", cards)
	}
	for _, name := range []string{"team-57", "team-58", "team-59", "team-26"} {
		if !strings.Contains(got, "<h3>flows/"+name+"</h3>") {
			t.Errorf("%s has no timeline", name)
		}
	}
	if rest := strings.Count(got, "<tr><td>flows/team-"); rest != 60 || !strings.Contains(got, "And 30 with less to show") {
		t.Errorf("%d triggers have a row", rest)
	}
	if size := len(got); size > 400<<10 {
		t.Errorf("the page has %d KiB", size>>10)
	}
}

func TestPages(t *testing.T) {
	for name, r := range reports() {
		golden := filepath.Join("testdata", name+".html")
		got := rendered(t, r)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
			t.Errorf("page %s has changed (-want +got); look at it, then run go test ./scaler/page -update:\n%s", name, diff)
		}
	}
}

// Whatever people and clusters write, it is text on the page, and no link leads to a script.
func TestForeignTextStaysText(t *testing.T) {
	got := rendered(t, ill())
	if n := strings.Count(got, "alert(1)"); n < 10 {
		t.Fatalf("the hostile text is there %d times only", n)
	}
	for _, tag := range regexp.MustCompile(`<[^>]*>`).FindAllString(got, -1) {
		if regexp.MustCompile(`(?i)<(script|img)|\son\w+=|javascript:`).MatchString(strings.ReplaceAll(tag, "&#34;", "")) && !strings.Contains(tag, "&lt;script") {
			t.Errorf("the page has the tag %s", tag)
		}
	}
	if strings.Contains(got, `href="javascript:`) {
		t.Error("a link leads to a script")
	}
}
