package prefect1

import (
	"net/url"
	"strings"
)

// RunURL is the address of flow runs in Prefect's UI, given that of the UI with the tenant, as
// in http://host:8080/default. In it {id} may stand for the run's id. It is nil for an empty
// one: the API does not tell where its UI is.
func RunURL(ui string) func(id string) string {
	ui = strings.TrimRight(ui, "/")
	switch {
	case ui == "":
		return nil
	case !strings.Contains(ui, "{id}"):
		ui += "/flow-run/{id}"
	}
	return func(id string) string { return strings.ReplaceAll(ui, "{id}", url.PathEscape(id)) }
}
