package kedaversions

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The go command is shown KEDA's packages, of the one with all scalers only the client.
func TestOverlay(t *testing.T) {
	source := tree(t, map[string]string{
		"go.mod": "", "go.sum": "", "README.md": "", "pkg/util/tls.go": "", "pkg/util/tls_test.go": "", "pkg/util/go.mod.txt": "",
		"pkg/scalers/external_scaler.go": "", "pkg/scalers/scaler.go": "", "pkg/scalers/kafka_scaler.go": "", "pkg/scalers/scalersconfig/config.go": "",
	})
	got, err := overlay(source, "/root")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, name := range []string{"go.mod", "go.sum", "pkg/util/tls.go", "pkg/scalers/external_scaler.go", "pkg/scalers/scaler.go", "pkg/scalers/scalersconfig/config.go"} {
		want["/root/"+name] = filepath.Join(source, name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestConstantsOf(t *testing.T) {
	dir := tree(t, map[string]string{
		"a.go":      "package scalers\n\nconst (\n\tother = 3\n\tkind  = \"External\"\n)\n\nvar most = 4\n",
		"a_test.go": "package scalers\n\nconst most = 5\n",
	})
	got, err := constantsOf(dir, []string{"kind", "other"})
	if want := "package scalers\n\nconst kind = \"External\"\n\nconst other = 3\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if _, err := constantsOf(dir, []string{"most"}); err == nil || !strings.Contains(err.Error(), "declares the constant most") {
		t.Errorf("a constant that is missing: %v", err)
	}
}

func TestPick(t *testing.T) {
	all := Versions()
	newest := all[len(all)-1]
	picked, unknown := pick(all, []string{all[0].Minor(), newest.Number, "1.0"})
	if d := cmp.Diff([]Version{all[0], newest}, picked); d != "" || !cmp.Equal(unknown, []string{`"1.0"`}) {
		t.Errorf("unknown %q, -want +got:\n%s", unknown, d)
	}
	if picked, _ := pick(all, nil); !cmp.Equal(all, picked) {
		t.Errorf("without a choice there is %v", picked)
	}
}

// The newest version is the one whose proto the product has, and the cluster.
func TestNewestIsTheModules(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", "github.com/kedacore/keda/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := Versions()
	if got, newest := strings.TrimSpace(string(out)), all[len(all)-1].Number; got != "v"+newest {
		t.Errorf("go.mod has KEDA %s, and the newest of Versions is %s: add it there, and to docs/compatibility.md", got, newest)
	}
}
