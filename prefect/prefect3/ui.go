package prefect3

import (
	"net/url"
	"regexp"
	"strings"
)

// cloudWorkspace finds account and workspace in the URL of Cloud's API.
var cloudWorkspace = regexp.MustCompile(`^https://api\.prefect\.cloud/api/accounts/([^/]+)/workspaces/([^/]+)`)

// RunURL is the address of flow runs in Prefect's UI, given that of the API and, unless it is
// empty, that of the UI. In the latter {id} may stand for the run's id, because Prefect 2's UI
// has other paths than Prefect 3's. It is nil if neither tells.
func RunURL(api, ui string) func(id string) string {
	ui = strings.TrimRight(ui, "/")
	if ui == "" {
		ui = uiOf(api)
	}
	switch {
	case ui == "":
		return nil
	case !strings.Contains(ui, "{id}"):
		ui += "/runs/flow-run/{id}"
	}
	return func(id string) string { return strings.ReplaceAll(ui, "{id}", url.PathEscape(id)) }
}

// uiOf is the UI that belongs to an API: Cloud's, or the one that a server has at its own
// address.
func uiOf(api string) string {
	if at := cloudWorkspace.FindStringSubmatch(api); at != nil {
		return "https://app.prefect.cloud/account/" + at[1] + "/workspace/" + at[2]
	}
	u, err := url.Parse(api)
	if err != nil || u.Host == "" || isCloud(api) {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	base, isAPI := strings.CutSuffix(strings.TrimRight(u.String(), "/"), "/api")
	if !isAPI {
		return ""
	}
	return base
}
