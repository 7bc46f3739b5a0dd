package kubernetesrun

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	pep440 "github.com/aquasecurity/go-pep440-version"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// storages are the storage types Prefect 1.x knows (prefect1 §3.3).
func storages() []string {
	return []string{
		"Azure", "Bitbucket", "CodeCommit", "Docker", "GCS", "GitHub", "GitLab", "Local", "Module", "S3",
		"Storage", "Webhook", "Git",
	}
}

// storage is what rendering needs of a flow's storage.
type storage struct {
	Type        *string `json:"type"`
	RegistryURL *string `json:"registry_url"`
	ImageName   *string `json:"image_name"`
	ImageTag    *string `json:"image_tag"`
}

func decodeStorage(raw json.RawMessage) (storage, error) {
	var s storage
	if !isSet(raw) {
		return s, authorError("the flow has no storage, so its pod could not load it: register the flow with one")
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, authorError("the flow's storage does not parse: %v", err)
	}
	if s.Type == nil {
		return s, authorError("{'type': ['Missing data for required field.']}")
	}
	if !slices.Contains(storages(), *s.Type) {
		return s, authorError("{'type': ['Unsupported value: %s']}", *s.Type)
	}
	return s, nil
}

var slashes = regexp.MustCompile(`/+`) //nolint:gochecknoglobals // compiled once, never changed

// image chooses the flow container's image; first match wins (prefect1 §3.3).
func image(flow recipe.Recipe, rc runConfig, fromTemplate string, from job.Origins) (string, error) {
	const path = containerPath + "image"
	s, err := decodeStorage(flow.Storage)
	if err != nil {
		return "", err
	}
	if s.Type != nil && *s.Type == "Docker" {
		if s.ImageName == nil || *s.ImageName == "" || s.ImageTag == nil || *s.ImageTag == "" {
			return "", authorError("Docker storage is missing required fields image_name and image_tag")
		}
		name := *s.ImageName
		if s.RegistryURL != nil && *s.RegistryURL != "" {
			name = slashes.ReplaceAllString(*s.RegistryURL+"/"+name, "/")
		}
		from[path] = "flow.storage"
		return name + ":" + *s.ImageTag, nil
	}
	if rc.Image != "" {
		from[path] = "run_config.image"
		return rc.Image, nil
	}
	if fromTemplate != "" {
		return fromTemplate, nil
	}
	if flow.CoreVersion == "" {
		from[path] = byDefault
		return "prefecthq/prefect:latest", nil
	}
	from[path] = "flow.core_version"
	version, _, _ := strings.Cut(flow.CoreVersion, "+")
	return "prefecthq/prefect:" + version, nil
}

// command is what the flow's container runs: flows registered before 0.13 know
// only the old spelling. A pre-release of 0.13.0 counts as older.
func command(coreVersion string) ([]string, error) {
	have, err := pep440.Parse(cmp.Or(coreVersion, "0.0.0"))
	if err != nil {
		return nil, authorError("the flow's core_version %q is not a version: register the flow again with a released Prefect", coreVersion)
	}
	boundary, err := pep440.Parse("0.13.0")
	if err != nil {
		return nil, err
	}
	if have.LessThan(boundary) {
		return []string{"prefect", "execute", "cloud-flow"}, nil
	}
	return []string{"prefect", "execute", "flow-run"}, nil
}
