package page_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/e2e/debian"
	"github.com/prefect-keda/prefect-keda/scaler/page"
)

var pictures = flag.String("pictures", "", "write pictures of the pages into this folder, as a browser shows them")

// browser runs a Chromium without a window.
type browser struct{ path string }

func findBrowser(t *testing.T) browser {
	t.Helper()
	find := func() string {
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
			if path, err := exec.LookPath(name); err == nil {
				return path
			}
		}
		return ""
	}
	path := find()
	if path == "" && os.Getenv("PREFECT_KEDA_BROWSER") == "install" && debian.CanInstall() {
		if err := debian.Install(t.Context(), "chromium", "fonts-dejavu-core"); err != nil {
			t.Log(err)
		}
		path = find()
	}
	if path == "" {
		t.Skip("no Chromium is installed (make page installs it on Debian as root), so nobody looks at the page as a browser shows it")
	}
	return browser{path}
}

// browserTimeout is for a machine that is busy.
const browserTimeout = 2 * time.Minute

func (b browser) run(t *testing.T, dark bool, args ...string) string {
	t.Helper()
	scheme := "1"
	if dark {
		scheme = "0"
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, b.path, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--blink-settings=preferredColorScheme=" + scheme, "--user-data-dir=" + t.TempDir(),
	}, args...)...)
	c.Env = append(os.Environ(), "HOME="+t.TempDir())
	c.WaitDelay = 5 * time.Second
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v", b.path, err)
	}
	return string(out)
}

// look is what a browser makes of a page.
type look struct {
	Width, Texts, Curves, Scripts int
	Least                         float64
	Faint, Wide                   []string
	Background, Says              string
}

// served has the pages, and the page that looks at them.
func served(t *testing.T) string {
	mux := http.NewServeMux()
	all := reports()
	all["crowded"], all["pictured"] = crowded(), pictured()
	for name, r := range all {
		text := rendered(t, r)
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			// The page that looks has it in a frame.
			w.Header().Set("Content-Security-Policy", strings.Replace(page.Policy(), "frame-ancestors 'none'", "frame-ancestors 'self'", 1))
			fmt.Fprint(w, text)
		})
	}
	mux.HandleFunc("GET /look", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "testdata/look.html") })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

var result = regexp.MustCompile(`(?s)<pre id="result">(.*?)</pre>`)

// On a phone as on a desk, in the dark as in the light, everything can be read, and without a script.
func TestInABrowser(t *testing.T) {
	b, site := findBrowser(t), served(t)
	type seen struct {
		width int
		page  string
	}
	var wanted []seen
	var hash []string
	for _, name := range slices.Sorted(maps.Keys(reports())) {
		for _, width := range []int{360, 1280} {
			wanted = append(wanted, seen{width, name})
			hash = append(hash, fmt.Sprintf("%d,/%s", width, name))
		}
	}
	for _, dark := range []bool{false, true} {
		dom := b.run(t, dark, "--virtual-time-budget=8000", "--window-size=1400,1000", "--dump-dom", site+"/look#"+strings.Join(hash, ";"))
		var looks []look
		found := result.FindStringSubmatch(dom)
		if found == nil || json.Unmarshal([]byte(html.UnescapeString(found[1])), &looks) != nil || len(looks) != len(wanted) {
			t.Fatalf("the browser says:\n%s", dom)
		}
		for i, is := range looks {
			t.Run(fmt.Sprintf("%s, %d pixels, dark %v", wanted[i].page, wanted[i].width, dark), func(t *testing.T) {
				if is.Width > wanted[i].width || len(is.Wide) > 0 {
					t.Errorf("it is %d pixels wide: %q", is.Width, is.Wide)
				}
				if len(is.Faint) > 0 || is.Least < 4.5 || is.Texts < 20 {
					t.Errorf("of %d texts these are hard to read (at least 4.5 is needed, the least is %.1f): %q", is.Texts, is.Least, is.Faint)
				}
				if is.Scripts > 0 {
					t.Errorf("it has %d scripts", is.Scripts)
				}
				if want := map[bool]string{false: "rgb(246, 247, 249)", true: "rgb(13, 17, 23)"}[dark]; is.Background != want {
					t.Errorf("its background is %s, want %s: the style is not applied, or not that of the scheme", is.Background, want)
				}
				if want := map[string]int{"lively": 10, "ill": 11}[wanted[i].page]; is.Curves != want {
					t.Errorf("it draws %d curves, want %d", is.Curves, want)
				}
				if want := map[string]string{"lively": "All is well", "ill": "9 things are wrong", "empty": "Not known yet"}[wanted[i].page]; is.Says != want {
					t.Errorf("it says %q first, want %q", is.Says, want)
				}
			})
		}
	}
}

// With -pictures ../../docs this writes docs/page.png, which pngquant makes small; with another
// folder also others to look at.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("give -pictures FOLDER to write pictures of the pages")
	}
	b, site := findBrowser(t), served(t)
	for name, r := range map[string]struct {
		page string
		dark bool
		size string
	}{
		"page":        {"pictured", false, "1200,2240"},
		"lively-dark": {"lively", true, "1200,2650"},
		"phone":       {"lively", false, "500,3200"},
		"ill":         {"ill", false, "1200,2600"},
		"ill-dark":    {"ill", true, "1200,2600"},
		"empty":       {"empty", false, "1200,900"},
		"crowded":     {"crowded", false, "1200,2000"},
	} {
		if name != "page" && filepath.Base(*pictures) == "docs" {
			continue
		}
		file := filepath.Join(*pictures, name+".png")
		b.run(t, r.dark, "--force-device-scale-factor=1", "--window-size="+r.size, "--screenshot="+file, site+"/"+r.page)
	}
}
