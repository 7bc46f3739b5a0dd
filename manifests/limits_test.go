package manifests_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/prefect-keda/prefect-keda/config"
)

func limitsFlows(overlay string) bool {
	return strings.Contains(overlay, "hardened") || strings.Contains(overlay, "flow-limits")
}

// TestFlowLimits: where authors are limited every launcher is, whatever it is
// listed with, and config.env may say how far; where they are not, they get what
// the agent gave them.
func TestFlowLimits(t *testing.T) {
	type limits struct {
		Level    config.PodSecurity
		Accounts []string
	}
	const own = "PREFECT__BACKEND=server\nNAMESPACE=flows\nPREFECT_KEDA_POD_SECURITY=restricted\n"
	for _, overlay := range append(overlays(t), "overlays/two-teams and flow-limits") {
		for _, restricted := range []bool{false, true} {
			files, want := map[string]string{}, limits{}
			if limitsFlows(overlay) {
				want = limits{"baseline", []string{"default"}}
			} else if restricted {
				continue
			}
			if restricted {
				files["base/config.env"], want.Level = own, "restricted"
			}
			folder := overlay
			if of, found := strings.CutSuffix(overlay, " and flow-limits"); found && strings.HasPrefix(of, "overlays/") {
				files[of+"/kustomization.yaml"] = "resources: [../../base]\ncomponents: [team-b, ../../components/flow-limits]\n"
				folder = of
			}
			objects := build(t, folder)
			if len(files) > 0 {
				objects = buildWith(t, folder, files)
			}
			role := decode[rbacv1.Role](t, find(t, objects, "Role", "prefect-keda-launcher"))
			for _, p := range pods(t, objects) {
				if p.process() != "launcher" {
					continue
				}
				settings, err := config.LoadLauncher(t.Context(), environment(t, objects, p))
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, limits{settings.PodSecurity, role.Rules[0].ResourceNames}); d != "" {
					t.Errorf("%s: %s: -want +got:\n%s", overlay, p.of, d)
				}
			}
		}
	}
}
