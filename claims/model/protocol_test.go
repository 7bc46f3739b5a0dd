package model_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/claims"
	"github.com/prefect-keda/prefect-keda/claims/model"
	"github.com/prefect-keda/prefect-keda/job"
)

var update = flag.Bool("update", false, "write the generated parts of docs/spec/claim-protocol.md")

const (
	page = "../../docs/spec/claim-protocol.md"
	// atMost so many states are visited, so that a mistake in the model does not fill the memory.
	atMost = 2_000_000
)

// The protocol keeps what it promises in every state that can be reached, each of its rules
// is there for something, and the page says so.
func TestProtocol(t *testing.T) {
	parts := map[string]string{
		"actions": actions(), "invariants": invariants(), "worlds": worlds(t, model.Worlds()),
		"guards": rules(t, model.Guards()), "assumptions": rules(t, model.Assumptions()), "orders": orders(t), "example": example(t),
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, part := range parts {
		text = replaced(t, text, name, part)
	}
	if t.Failed() {
		return
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(text, string(b)); d != "" {
		t.Errorf("docs/spec/claim-protocol.md is not what the model says; run `make generate`:\n%s", d)
	}
}

// Larger worlds take minutes: `make model`.
func TestLargerWorlds(t *testing.T) {
	if os.Getenv("PREFECT_KEDA_MODEL") != "all" {
		t.Skip("PREFECT_KEDA_MODEL=all checks larger worlds, for minutes")
	}
	t.Log("\n" + worlds(t, model.Larger()))
}

// The bounds of package claims are in the order that the model needs.
func TestBoundsAreInOrder(t *testing.T) {
	real := model.Bounds{
		SendWithin: int32(claims.SendWithin / time.Second), CreateWithin: int32(claims.CreateWithin / time.Second),
		HandBackDelay: int32(claims.HandBackDelay / time.Second), RivalsSettle: int32(claims.RivalsSettle / time.Second),
		TTL: job.MinTTLSeconds, Lock: 30, // prefect1-server §a
	}
	for _, o := range model.Orders() {
		if !o.Holds(real) {
			t.Errorf("not %s: %+v", o.Name, real)
		}
		if !o.Holds(model.Least()) {
			t.Errorf("not %s in the model: %+v", o.Name, model.Least())
		}
	}
	if claims.MaxAge > claims.SendWithin {
		t.Error("a read that is young enough to rest a claim on must not be too old to send it")
	}
}

// told is a trace, a line an event.
func told(r model.Result) string {
	var lines []string
	for _, e := range r.Trace {
		lines = append(lines, e.Text)
	}
	return strings.Join(lines, "\n")
}

func worlds(t *testing.T, all []model.World) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("| world | launchers | states | transitions | depth |\n|---|---|---|---|---|\n")
	for _, w := range all {
		began := time.Now()
		r := w.Explore(atMost)
		if r.Broken != "" || !r.All {
			t.Errorf("%s: not %s, after %d states:\n%s", w.Name, r.Broken, r.States, told(r))
		}
		t.Logf("%s: %d states in %s", w.Name, r.States, time.Since(began).Round(time.Millisecond))
		fmt.Fprintf(&out, "| %s | %d | %d | %d | %d |\n", w.Name, len(w.Launchers), r.States, r.Transitions, r.Depth)
	}
	return out.String()
}

// broken is the first of the worlds, changed in some way, in which an invariant does not hold.
func broken(t *testing.T, what string, change func(*model.World)) (model.World, model.Result) {
	t.Helper()
	for _, most := range []int{40_000, atMost} { // what goes wrong mostly does so soon
		for _, w := range model.Worlds() {
			change(&w)
			if r := w.Explore(most); r.Broken != "" {
				return w, r
			}
		}
	}
	t.Errorf("nothing goes wrong without this, so either it is not needed or the model does not see why: %s", what)
	return model.World{}, model.Result{}
}

func without(t *testing.T, s model.Stated) (model.World, model.Result) {
	t.Helper()
	return broken(t, s.Name, func(w *model.World) { w.Without = []model.Rule{s.Rule} })
}

// rules are a table of guards or assumptions, each with what goes wrong without it.
func rules(t *testing.T, all []model.Stated) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("| rule | what | without it | steps |\n|---|---|---|---|\n")
	for _, s := range all {
		w, r := without(t, s)
		what := s.What
		if s.Code != "" {
			what += " `" + s.Code + "`"
			if _, err := os.Stat("../../" + s.Code); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
		fmt.Fprintf(&out, "| %s | %s | not *%s*. %s | %d |\n", s.Name, what, r.Broken, w.Name, len(r.Trace))
	}
	return out.String()
}

func orders(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	out.WriteString("| order | why | without it |\n|---|---|---|\n")
	for _, o := range model.Orders() {
		_, r := broken(t, o.Name, func(w *model.World) { o.Breaks(&w.Bounds) })
		fmt.Fprintf(&out, "| %s | %s | not *%s* |\n", o.Name, o.What, r.Broken)
	}
	return out.String()
}

func actions() string {
	var out strings.Builder
	out.WriteString("| action | who | what |\n|---|---|---|\n")
	for _, a := range model.Actions() {
		fmt.Fprintf(&out, "| %s | %s | %s |\n", a.Name, a.Who, a.What)
	}
	return out.String()
}

func invariants() string {
	var out strings.Builder
	for _, i := range model.Invariants() {
		fmt.Fprintf(&out, "- *%s*: %s\n", i.Name, i.What)
	}
	fmt.Fprintf(&out, "- *%s*: %s\n", model.NotLost, model.NotLostWhat)
	return out.String()
}

// example is the shortest way to two pods where a run is handed back for at once.
func example(t *testing.T) string {
	t.Helper()
	_, r := without(t, model.Stated{Rule: model.HandsBackForLater, Name: "example"})
	var out strings.Builder
	out.WriteString("```mermaid\nsequenceDiagram\n    participant A as launcher A\n    participant B as launcher B\n    participant P as Prefect\n    participant K as Kubernetes\n")
	for _, e := range r.Trace {
		who := string(rune('A' + e.Launcher))
		text := strings.TrimPrefix(e.Text, "launcher "+who+" ")
		switch e.Action {
		case model.Read, model.Check, model.Ask, model.HandBack, model.Restore:
			fmt.Fprintf(&out, "    %s->>P: %s\n", who, text)
		case model.List, model.Look, model.Create:
			fmt.Fprintf(&out, "    %s->>K: %s\n", who, text)
		case model.Serve:
			fmt.Fprintf(&out, "    Note over P: %s\n", strings.TrimPrefix(text, "Prefect "))
		case model.Hear:
			fmt.Fprintf(&out, "    P->>%s: %s\n", who, text)
		default:
			fmt.Fprintf(&out, "    Note over K: %s\n", text)
		}
	}
	out.WriteString("```\n")
	return out.String()
}

// replaced puts a part between its marks.
func replaced(t *testing.T, text, name, part string) string {
	t.Helper()
	begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
	before, rest, ok := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("the page has no marks for %s", name)
	}
	return before + begin + part + end + after
}
