package prefect3

import "testing"

func TestRunURL(t *testing.T) {
	const cloud = "https://api.prefect.cloud/api/accounts/a-1/workspaces/w-1"
	for _, tc := range []struct{ api, ui, want string }{
		{"http://prefect-server.prefect:4200/api", "", "http://prefect-server.prefect:4200/runs/flow-run/r%2F1"},
		{"https://example.com/prefect/api/", "", "https://example.com/prefect/runs/flow-run/r%2F1"},
		{"http://user:secret@host/api", "", "http://host/runs/flow-run/r%2F1"},
		{"http://prefect-server.prefect:4200/api", "https://prefect.example.com/", "https://prefect.example.com/runs/flow-run/r%2F1"},
		{"http://host/api", "http://host/flow-runs/flow-run/{id}", "http://host/flow-runs/flow-run/r%2F1"},
		{cloud, "", "https://app.prefect.cloud/account/a-1/workspace/w-1/runs/flow-run/r%2F1"},
		{"https://proxy/api/accounts/a-1/workspaces/w-1", "", ""}, // whose UI may be anywhere
		{"http://host/behind-a-proxy", "", ""},
		{"", "", ""},
	} {
		got := ""
		if url := RunURL(tc.api, tc.ui); url != nil {
			got = url("r/1")
		}
		if got != tc.want {
			t.Errorf("API %q, UI %q: %q, want %q", tc.api, tc.ui, got, tc.want)
		}
	}
}
