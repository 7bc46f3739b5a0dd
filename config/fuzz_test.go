package config

import (
	"encoding"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"
)

// read reads a value of one of our types.
func read[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](text string,
) (v T, err error) {
	err = P(&v).UnmarshalText([]byte(text))
	return v, err
}

// What a setting's text is read as, it is again when it is written as the type prints
// itself.
func FuzzValues(f *testing.F) {
	for _, text := range []string{"15", "1.5", "15s", "-1h", "1e400", "NaN", "0x1p-2", "http://[::1]:080/x", ":0", "a/b", "a/b/c", "warn", "CRITICAL", "TRUE", "['a', ' b ', '']", "a,,b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := read[Seconds](text); err == nil {
			if again, err := read[Seconds](d.String()); err != nil || again != d {
				t.Errorf("%q is %s, and that is %s, %v", text, d, again, err)
			}
		}
		if a, err := read[Address](text); err == nil {
			if again, err := read[Address](string(a)); err != nil || again != a {
				t.Errorf("%q is %q, and that is %q, %v", text, a, again, err)
			}
			if port, err := strconv.ParseUint(a.Port(), 10, 16); err != nil {
				t.Errorf("%q has the port %d, %v", text, port, err)
			}
			if host, _, err := net.SplitHostPort(string(a)); err != nil || a.Port() != "0" && !a.Covers(a) {
				t.Errorf("%q listens on %q, %v, and does not cover itself", text, host, err)
			}
		}
		if k, err := read[SecretKey](text); err == nil && k.Name+"/"+k.Key != text {
			t.Errorf("%q is %+v", text, k)
		}
		if l, err := read[Level](text); err == nil && l.Level() <= 8 {
			if again, err := read[Level](l.String()); err != nil || again != l {
				t.Errorf("%q is %s, and that is %s, %v", text, l, again, err)
			}
		}
		if names, err := read[Names](text); err == nil {
			for _, name := range names {
				if name == "" || name != strings.TrimSpace(name) {
					t.Errorf("%q has the name %q", text, name)
				}
			}
		}
	})
}

// Headers are what HTTP can carry. They come back as lines, and no error says what they hold.
func FuzzHeaders(f *testing.F) {
	f.Add("X-Token: ", "\nX-User: me")
	f.Add("{'Authorization': 'Basic ", "', \"X\": \"\"}")
	f.Add("Host: ", "")
	f.Add("", "")
	f.Add("A: \t", "\x7f\r\n:")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "canary-5f1c"
		h, err := read[Headers](before + secret + after)
		// A name may be told; a secret stands behind a colon.
		if err != nil && strings.Contains(err.Error(), secret) && strings.Contains(before, ":") && !strings.Contains(after, ":") {
			t.Fatalf("%q: %v", before+secret+after, err)
		}
		var lines strings.Builder
		for _, one := range h {
			if one.Value.Reveal() != strings.TrimSpace(one.Value.Reveal()) {
				return // in quotes
			}
			fmt.Fprintf(&lines, "%s: %s\n", one.Name, one.Value.Reveal())
			if strings.ContainsAny(one.Name+one.Value.Reveal(), "\r\n\x00") || one.Name == "" {
				t.Fatalf("%q is no header", one.Name)
			}
		}
		if lines.Len() > maxHeaders {
			return
		}
		again, err := read[Headers](lines.String())
		if d := cmp.Diff(h.Reveal(), again.Reveal()); d != "" || err != nil {
			t.Fatalf("%v, -read +read again:\n%s", err, d)
		}
	})
}

// A file of settings is TOML, or an error names its line and nothing of it. What it holds
// is found as text.
func FuzzTOML(f *testing.F) {
	f.Add("[cloud]\napi_key = \"x\"\n[cloud.agent]\nlabels = [\"a\"]\n", "PREFECT__CLOUD__AGENT__LABELS")
	f.Add("a.b = 1979-05-27T07:32:00Z\nc = inf", "PREFECT__A__B")
	f.Add("cloud = 1", "PREFECT__CLOUD__API")
	f.Add("\"\" = 1\n[[x]]\n", "PREFECT__")
	f.Add("canary", "")
	path := filepath.Join(f.TempDir(), "config.toml")
	f.Fuzz(func(t *testing.T, text, name string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		tree, err := readTOML(path)
		if err != nil {
			if want := namesLine(err.Error()); !want {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		value, ok := tomlTree(tree).Lookup(name)
		if !ok && value != "" || ok && !strings.HasPrefix(name, "PREFECT__") {
			t.Fatalf("%s is %q, %v", name, value, ok)
		}
		// The environment wins, and an empty variable does not.
		if got, _ := (layers{envconfig.MapLookuper(map[string]string{name: ""}), tomlTree(tree)}).Lookup(name); got != value {
			t.Fatalf("%s is %q in the file, and %q with an empty variable", name, value, got)
		}
		if got, _ := (layers{envconfig.MapLookuper(map[string]string{name: "set"}), tomlTree(tree)}).Lookup(name); got != "set" {
			t.Fatalf("%s is %q although the environment has it", name, got)
		}
	})
}

// namesLine reports whether an error is the one that names a line.
func namesLine(said string) bool {
	return matches(`^is not TOML at line [0-9]+: fix it, or move the file away$`, said)
}

// References are replaced once: those in values stay, and so does all around them.
func FuzzReferences(f *testing.F) {
	f.Add("$A/${B}x$C", "$B")
	f.Add("~/x", "~")
	f.Add("$${A}}$", "${A}")
	f.Add("$1", "")
	f.Fuzz(func(t *testing.T, text, value string) {
		env := map[string]string{"PREFECT__X": text, "OTHER": text, "A": value}
		i := Environment(envconfig.MapLookuper(env))
		if got, ok := i.Lookup("OTHER"); !ok || got != text {
			t.Fatalf("a variable that is not Prefect's is changed to %q", got)
		}
		got, ok := i.Lookup("PREFECT__X")
		if !ok || len(got) > len(text)*(1+len(value)) {
			t.Fatalf("%q grows to %q", text, got)
		}
		if !strings.Contains(text, "$") && got != text {
			t.Fatalf("%q without references is %q", text, got)
		}
		env["A"] = "$A"
		if same, _ := i.Lookup("PREFECT__X"); !strings.Contains(text, "${A}") && same != text {
			t.Fatalf("%q is %q where $A is $A", text, same)
		}
	})
}
