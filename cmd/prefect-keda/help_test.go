package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// commands are all of ours; cobra's own explain themselves.
func commands(environ []string) []*cobra.Command {
	root := newRoot(streams{}, environ)
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if c.Name() != "completion" && c.Name() != "help" {
			all = append(all, c)
		}
	}
	return all
}

// TestExamples holds every example of every help page against what it calls: the
// command is there, takes the flags and arguments, and its settings load. What
// needs no API and no cluster is run.
func TestExamples(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"run.json": rowWith("2"), "key.txt": "pk\n", "agent.yaml": anAgent, "worker.yaml": serverWorker(), "job.yaml": "kind: Job\nspec: {template: {spec: {containers: [{name: flow}]}}}\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ofPrefect1 := []string{"PREFECT__BACKEND=server", "PREFECT__CLOUD__API=http://127.0.0.1:1"}
	seen := 0
	for _, c := range commands(ofPrefect1) {
		for line := range strings.Lines(c.Example) {
			seen++
			environ := ofPrefect1
			if strings.Contains(line, "--pool") {
				environ = []string{"PREFECT_API_URL=http://127.0.0.1:1/api"}
			}
			args, stdin := words(t, line)
			if offline := args[0] == "install" || args[0] == "completion" || strings.Contains(line, "render -f"); offline {
				if got := command(t.Context(), environ, stdin, args...); got.Code != exitOK || got.Out == "" {
					t.Errorf("%s%+v", line, got)
				}
				continue
			}
			root := newRoot(streams{}, environ)
			called, rest, err := root.Find(args)
			if err != nil {
				t.Errorf("%s%v", line, err)
				continue
			}
			called.RunE = func(c *cobra.Command, _ []string) error {
				if c.Name() == "launcher" || c.Name() == "render" || c.Name() == "check" {
					_, err := loadLauncher(c, parseEnviron(environ))
					return err
				}
				if c.Name() == "scaler" || c.Name() == "explain" {
					_, err := loadScaler(c, parseEnviron(environ))
					return err
				}
				return nil
			}
			root.SetArgs(append([]string{called.Name()}, rest...))
			if err := root.ExecuteContext(t.Context()); err != nil {
				t.Errorf("%s%v", line, err)
			}
		}
	}
	if seen < 10 {
		t.Errorf("found %d examples", seen)
	}
}

// words are the arguments of our command in a line of shell, and what is piped
// into it.
func words(t *testing.T, line string) (args []string, stdin string) {
	t.Helper()
	line, _, _ = strings.Cut(line, "|")
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, ">")
	line, file, piped := strings.Cut(line, "<")
	if piped {
		text, err := os.ReadFile(filepath.Clean(strings.TrimSpace(file)))
		if err != nil {
			t.Fatal(err)
		}
		stdin = string(text)
	}
	args = strings.Fields(line)
	if len(args) < 2 || args[0] != "prefect-keda" || strings.ContainsAny(line, `'"\`) {
		t.Fatalf("%q is more shell than this test knows", line)
	}
	return args[1:], stdin
}

// Every command says what its exit codes mean.
func TestExitCodesAreDocumented(t *testing.T) {
	for _, c := range commands(nil) {
		if c.Name() == "version" {
			continue // it cannot fail
		}
		page := command(t.Context(), nil, "", strings.Fields(c.CommandPath() + " --help")[1:]...)
		_, codes, found := strings.Cut(page.Out, "Exit codes:\n")
		for _, code := range []string{"0", "1", "2"} {
			meaning := c.Annotations["exit "+code]
			if !found || meaning == "" || !strings.Contains(codes, "  "+code+"  "+meaning+"\n") {
				t.Errorf("%s --help does not say what exit code %s means", c.CommandPath(), code)
			}
		}
		for line := range strings.Lines(page.Out) {
			if len(line) > helpWidth+1 {
				t.Errorf("%s --help has a line of %d: %s", c.CommandPath(), len(line), line)
			}
		}
	}
}

// Shells complete commands, flags and the values that are few.
func TestCompletion(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"__complete", "re"}, "render\tPrint the Job a flow run would get, and create nothing\n:4\n"},
		{[]string{"__complete", "launcher", "--backend", ""}, "cloud\nserver\n:4\n"},
		{[]string{"__complete", "render", "--output", ""}, "yaml\njson\n:4\n"},
		{[]string{"__complete", "check", "--output", ""}, "text\njson\n:4\n"},
		{[]string{"__complete", "install", "--max-l"}, "--max-launchers\tmost launchers at a time (default 10)\n:4\n"},
	} {
		got := command(t.Context(), nil, "", tc.args...)
		if d := cmp.Diff(tc.want, got.Out); d != "" || got.Code != exitOK {
			t.Errorf("%q: %+v, -want +got:\n%s", tc.args, got, d)
		}
	}
	for _, shell := range []string{"bash", "fish", "powershell", "zsh"} {
		if got := command(t.Context(), nil, "", "completion", shell); got.Code != exitOK || !strings.Contains(got.Out, "__complete") {
			t.Errorf("%s: %+v", shell, got)
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "csh"}, {"completion", "bash", "now"}} {
		if got := command(t.Context(), nil, "", args...); got.Code != exitMisconfigured || got.Out != "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

// What the documents show of commands and flags is there.
func TestDocumentedFlagsExist(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`(?:prefect-keda|--|/usr/local/bin/app) (check|completion|install|launcher|render|scaler|version)\b([^` + "`" + `|\n]*)`)
	seen := 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range shown.FindAllStringSubmatch(string(text), -1) {
			seen++
			c, _, err := newRoot(streams{}, nil).Find([]string{m[1]})
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			for word := range strings.FieldsSeq(m[2]) {
				name, long := strings.CutPrefix(word, "--")
				short, isShort := strings.CutPrefix(word, "-")
				if long && c.Flag(name) == nil || !long && len(short) == 1 && isShort && c.Flags().ShorthandLookup(short) == nil {
					t.Errorf("%s shows %q, but there is no flag %s", file, m[0], word)
				}
			}
		}
	}
	if seen < 4 {
		t.Errorf("found %d commands in the documents", seen)
	}
}
