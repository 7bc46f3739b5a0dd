package docs

import (
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"github.com/prefect-keda/prefect-keda/config"
)

// chartValues are all that Prefect's Helm chart for workers can be told (August 2026), down
// to where the meaning changes.
func chartValues() []string {
	worker := []string{
		"autoscaling", "clusterUid", "initContainer.resources", "initContainer.containerSecurityContext", "initContainer.extraEnvVars", "initContainer.extraContainers",
		"dnsPolicy", "dnsConfig", "image.repository", "image.prefectTag", "image.pullPolicy", "image.pullSecrets", "image.debug",
		"config.workPool", "config.workQueues", "config.queryInterval", "config.prefetchSeconds", "config.http2", "config.type", "config.installPolicy", "config.name", "config.limit",
		"config.jobNamespace", "config.observerClusterWide", "config.baseJobTemplate.existingConfigMapName", "config.baseJobTemplate.configuration", "config.baseJobTemplate.name",
		"apiConfig", "cloudApiConfig.accountId", "cloudApiConfig.workspaceId", "cloudApiConfig.apiKeySecret", "cloudApiConfig.jobApiKeyPropagation", "cloudApiConfig.cloudUrl",
		"customerManagedCloudApiConfig.apiUrl", "customerManagedCloudApiConfig.accountId", "customerManagedCloudApiConfig.workspaceId", "customerManagedCloudApiConfig.apiKeySecret",
		"customerManagedCloudApiConfig.jobApiKeyPropagation", "customerManagedCloudApiConfig.cloudApiUrl", "customerManagedCloudApiConfig.cloudUiUrl",
		"selfHostedServerApiConfig.apiUrl", "selfHostedServerApiConfig.basicAuth.enabled", "selfHostedServerApiConfig.basicAuth.authString", "selfHostedServerApiConfig.basicAuth.existingSecret",
		"revisionHistoryLimit", "replicaCount", "resources", "livenessProbe", "podSecurityContext", "priorityClassName", "containerSecurityContext", "args", "command",
		"podLabels", "podAnnotations", "affinity", "nodeSelector", "tolerations", "extraEnvVars", "extraEnvVarsCM", "extraEnvVarsCMs", "extraEnvVarsSecret", "extraEnvVarsSecrets",
		"extraContainers", "extraVolumes", "extraVolumeMounts", "extraArgs", "podDisruptionBudget",
	}
	all := []string{
		"nameOverride", "fullnameOverride", "namespaceOverride", "commonLabels", "commonAnnotations",
		"serviceAccount.create", "serviceAccount.name", "serviceAccount.annotations", "role.create", "role.namespace", "role.extraPermissions", "rolebinding.create",
	}
	for _, value := range worker {
		all = append(all, "worker."+value)
	}
	return all
}

// The page leaves out no value of the chart, and says of each once what becomes of it.
func TestWorkerPageNamesEveryValue(t *testing.T) {
	_, table, found := strings.Cut(read(t, "docs/migrate-worker.md"), "## Every value of the chart")
	if !found {
		t.Fatal("there is no table of values")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	for _, value := range chartValues() {
		if n := strings.Count(table, "`"+value+"`"); n != 1 {
			t.Errorf("%s is there %d times", value, n)
		}
	}
}

// Nor any setting of a worker: neither those that we read nor those without effect.
func TestWorkerPageNamesEverySetting(t *testing.T) {
	page := read(t, "docs/migrate-worker.md")
	_, ignored, _ := strings.Cut(page, "<!-- ignored:begin")
	ignored, rest, found := strings.Cut(ignored, "<!-- ignored:end -->")
	if !found || rest == "" {
		t.Fatal("there is no table of settings without effect")
	}
	everything := envconfig.LookuperFunc(func(string) (string, bool) { return "x", true })
	dead := config.Notices(everything)
	for _, n := range dead {
		if !strings.Contains(ignored, "`"+n.Variable+"`") {
			t.Errorf("the page does not say that %s has no effect", n.Variable)
		}
	}
	for line := range strings.Lines(ignored) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			continue
		}
		for name := range strings.SplitSeq(cells[1], ",") {
			name = strings.Trim(name, " `")
			if known := config.Notices(envconfig.MapLookuper(map[string]string{name: "x"})); len(known) != 1 {
				t.Errorf("the page says that %s has no effect, and nothing ignores it", name)
			}
		}
	}
	for _, s := range config.Settings(config.Launcher{}) {
		for _, variable := range []string{s.Variable, s.Variable3} {
			if strings.HasPrefix(variable, "PREFECT_") && !strings.HasPrefix(variable, "PREFECT__") && !strings.HasPrefix(variable, "PREFECT_KEDA_") && !strings.Contains(page, "`"+variable+"`") {
				t.Errorf("the page does not say what becomes of %s", variable)
			}
		}
	}
}
