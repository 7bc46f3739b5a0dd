package prefect1

import "testing"

func TestRunURL(t *testing.T) {
	for ui, want := range map[string]string{
		"http://ui:8080/default/":          "http://ui:8080/default/flow-run/r%2F1",
		"http://ui/default/flow-run/{id}?": "http://ui/default/flow-run/r%2F1?",
		"":                                 "",
	} {
		got := ""
		if url := RunURL(ui); url != nil {
			got = url("r/1")
		}
		if got != want {
			t.Errorf("UI %q: %q, want %q", ui, got, want)
		}
	}
}
