package install

import (
	"fmt"
	"strings"
	"testing"
)

// What a script's words are, they still are when each is quoted, and none is made longer
// than the variables allow.
func FuzzWords(f *testing.F) {
	f.Add(`exec prefect agent kubernetes start -l "$A" ${B} $(C) \`+"\n --x # y", "a b")
	f.Add(`a 'b'"'"'c' >>file 2>&1; d && e | f & (g)`, "")
	f.Add("a=`b` ${c:-d} $((1+2)) <<EOF", "$A")
	f.Add("'", "'")
	f.Fuzz(func(t *testing.T, script, value string) {
		lookup := known([]Variable{{Name: "A", Value: value}, {Name: "B", From: map[string]any{"x": "y"}}})
		commands := words(script, lookup)
		size := 0
		var quoted []string
		for _, command := range commands {
			if len(command) == 0 {
				t.Fatalf("%q has a command without words", script)
			}
			var line []string
			for _, word := range command {
				size += len(word)
				line = append(line, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
			}
			quoted = append(quoted, strings.Join(line, " "))
		}
		if size > len(script)*(1+len(unknown))+maxExpanded {
			t.Fatalf("%q grows to %d bytes", script, size)
		}
		again := words(strings.Join(quoted, "\n"), lookup)
		if fmt.Sprintf("%q", again) != fmt.Sprintf("%q", commands) {
			t.Fatalf("%q\n is %q,\nquoted %q", script, commands, again)
		}
	})
}

// Whatever is piped in, there is a worker with variables of different names, or an error.
func FuzzReadWorker(f *testing.F) {
	const worker = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: w, namespace: n}\nspec:\n  template:\n    spec:\n      serviceAccountName: s\n      containers:\n      - {name: w, args: [prefect, worker, start, --type, kubernetes, --pool, \"$(A)\"], env: [{name: A, value: x}, {name: B, value: $(A)$(A)}]}\n"
	f.Add(worker)
	f.Add("kind: Role\nmetadata: {namespace: flows}\nrules: [{apiGroups: [batch], resources: [jobs], verbs: [create]}]\n---\n" + worker)
	f.Add("kind: ServiceAccount\nmetadata: {name: s, annotations: {a: b}}\n---\n" + worker)
	f.Add("PREFECT_API_URL=x\n")
	f.Add("&a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		found, err := ReadWorker([]byte(text))
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, v := range found.Env {
			if v.Name == "" || names[v.Name] {
				t.Errorf("the variable %q is there twice or has no name", v.Name)
			}
			if v.From != nil && v.Value != "" || Unknown(v.Value) && !strings.Contains(text, unknown) && !strings.Contains(text, `\`) {
				t.Errorf("the variable %+v has a value that nobody knows", v)
			}
			names[v.Name] = true
		}
	})
}

// Variables that hold each other twice do not fill the memory.
func TestVariablesGrowWithinBounds(t *testing.T) {
	text := "- {name: V0, value: abcdefghij}\n"
	for i := range 40 {
		text += fmt.Sprintf("- {name: V%d, value: $(V%d)$(V%d)}\n", i+1, i, i)
	}
	found, err := ReadWorker([]byte(text))
	if err != nil || len(found.Env) != 41 {
		t.Fatalf("%d variables, %v", len(found.Env), err)
	}
	if last := found.Env[40]; last.From == nil || last.Value != "" {
		t.Errorf("the last one has %d bytes", len(last.Value))
	}
	if tenth := found.Env[10]; len(tenth.Value) != 10<<10 {
		t.Errorf("the tenth one has %d bytes", len(tenth.Value))
	}
}
