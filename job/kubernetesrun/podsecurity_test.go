package kubernetesrun_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// What goes beyond the level is told to the one who wrote it: a run's author in a
// run that brings it, the operator in the template that others get.
func TestPodSecurity(t *testing.T) {
	const (
		plain      = "spec: {template: {spec: {}}}"
		host       = "spec: {template: {spec: {hostNetwork: true, containers: [{name: flow, securityContext: {privileged: true}}, {name: beside, image: i, ports: [{containerPort: 80, hostPort: 80}]}]}}}"
		apparmor   = "spec: {template: {metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/flow: unconfined}}, spec: {containers: [{name: flow}]}}}"
		restricted = "spec: {template: {spec: {securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: flow, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}}}"
	)
	for name, tc := range map[string]struct {
		level, template string
		beyond          []string // what is named; nothing where it is allowed
	}{
		"off":                      {"", host, nil},
		"privileged":               {"privileged", host, nil},
		"baseline, a plain pod":    {"baseline", plain, nil},
		"baseline, the host":       {"baseline", host, []string{"hostNetwork=true", `container "flow" must not set securityContext.privileged=true`, `container "beside" uses hostPort 80`}},
		"baseline, an annotation":  {"baseline", apparmor, []string{"unconfined"}},
		"restricted, a plain pod":  {"restricted", plain, []string{"runAsNonRoot != true", "seccompProfile"}},
		"restricted, as it has to": {"restricted", restricted, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings()
			s.PodSecurity = tc.level
			_, err := kubernetesrun.Render(run(""), s, inline(tc.template))
			wrong, _ := errors.AsType[*prefect.AuthorError](err)
			if (err != nil) != (tc.beyond != nil) || err != nil && wrong == nil {
				t.Fatalf("in a run's template: %v", err)
			}
			for _, part := range tc.beyond {
				if !strings.Contains(wrong.Message, part) {
					t.Errorf("the author is not told of %s: %s", part, wrong.Message)
				}
			}
			s.JobTemplate = "/t.yaml"
			r := kubernetesrun.Renderer{Settings: s, Source: file(tc.template)}
			want := ""
			if tc.beyond != nil {
				want = "operator"
			}
			_, err = r.Render(t.Context(), run(""))
			if d := cmp.Diff([]string{want, want}, []string{addressee(err), addressee(r.CheckTemplate(t.Context()))}); d != "" {
				t.Errorf("in the operator's template: %v: -want +got:\n%s", err, d)
			}
		})
	}
}

// A level that the built-in template does not reach is found at start, and what
// there is to do about it said.
func TestPodSecurityOfTheBuiltInTemplate(t *testing.T) {
	s := settings()
	s.PodSecurity = "restricted"
	err := kubernetesrun.Renderer{Settings: s}.CheckTemplate(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "the built-in job template makes a pod that the Pod Security level restricted, which flows are held to here, does not allow: ") {
		t.Errorf("%v", err)
	}
}
