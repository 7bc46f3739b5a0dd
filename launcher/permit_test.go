package launcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/prefect-keda/prefect-keda/job/kubernetesrun"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1/recipe"
)

// named is the operator's template, with a service account.
type named struct{}

func (named) Read(context.Context, string) ([]byte, error) {
	return []byte("spec: {template: {spec: {serviceAccountName: of-the-template}}}"), nil
}

// asking is a run with a run config, of a flow that can be rendered.
func asking(runConfig string) *runBuilder {
	r := run("r")
	r.Recipe = recipe.Recipe{FlowID: "flow", CoreVersion: "1.4.1", Storage: []byte(`{"type":"Local"}`), RunConfig: []byte(runConfig)}
	return r
}

// Of the accounts that an author chooses RBAC decides, and nobody is asked about
// what the operator chose. A run that is refused tells its author; one that could not
// be asked about waits unclaimed.
func TestServiceAccounts(t *testing.T) {
	const denied = `{"type":"KubernetesRun","service_account_name":"prefect-keda-launcher"}`
	inTemplate := func(field string) string {
		return fmt.Sprintf(`{"type":"KubernetesRun","job_template":{"spec":{"template":{"spec":{%s}}}}}`, field)
	}
	for name, tc := range map[string]struct {
		runConfig string
		template  bool // the operator's names one
		asked     string
		result    string
	}{
		"none":                             {`{"type":"KubernetesRun"}`, false, "", done},
		"the namespace's default":          {`{"type":"KubernetesRun","service_account_name":"default"}`, false, "", done},
		"the launcher's setting":           {`{"type":"KubernetesRun","service_account_name":"of-the-setting"}`, false, "", done},
		"allowed":                          {`{"type":"KubernetesRun","service_account_name":"allowed"}`, false, "allowed", done},
		"denied":                           {denied, false, "prefect-keda-launcher", failed},
		"denied, though others may bring":  {denied, true, "prefect-keda-launcher", failed},
		"denied, in a template of the run": {inTemplate(`"serviceAccountName":"x"`), false, "x", failed},
		"by its old name":                  {inTemplate(`"serviceAccount":"x"`), false, "x", failed},
		"the old name, and none":           {strings.Replace(inTemplate(`"serviceAccount":"x"`), `"job_template"`, `"service_account_name":"","job_template"`, 1), false, "x", failed},
		"the operator's template":          {`{"type":"KubernetesRun"}`, true, "", done},
		"no name at all":                   {`{"type":"KubernetesRun","service_account_name":"No Name"}`, false, "", failed},
		"cannot be asked":                  {`{"type":"KubernetesRun","service_account_name":"away"}`, false, "away", broken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, st := newMemory(asking(tc.runConfig)), emptyStore()
				y := &eyes{memory: m, store: st, actor: "me"}
				settings := kubernetesrun.Settings{Namespace: "flows", Backend: "server"}
				o := Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks(), ServiceAccountName: "of-the-setting"}.withDefaults()
				if tc.template {
					settings.JobTemplate, o.ServiceAccountName = "/t.yaml", ""
				}
				l := newLauncher(o, y, kubernetesrun.Renderer{Settings: settings, Source: named{}}, y)
				var asked []string
				l.accounts.Ask = func(_ context.Context, _, account string) (bool, error) {
					asked = append(asked, account)
					if account == "away" {
						return false, errors.New("503")
					}
					return account == "allowed", nil
				}
				got := carriedOut(t, l, Action{Kind: Launch, Run: asking(tc.runConfig).readAt(time.Now()).FlowRun})
				if got.result != tc.result || strings.Join(asked, ",") != tc.asked {
					t.Errorf("%s after asking for %q, want %s after %q: %v", got.result, asked, tc.result, tc.asked, got.err)
				}
				if created := len(st.created) > 0; created != (tc.result == done) {
					t.Errorf("Jobs: %q", st.created)
				}
				if tc.result == broken && (len(m.writes) > 0 || got.blame != kubernetesAPI) {
					t.Errorf("wrote %q, to the blame of %v", m.writes, got.blame)
				}
			})
		})
	}
}

// The author reads whom to turn to, and for what.
func TestDeniedServiceAccountSaysWhatToAdd(t *testing.T) {
	l := newLauncher(Options{Name: "me", Namespace: "flows", Marks: kubernetesrun.Marks()}.withDefaults(), nil, template{}, nil)
	l.accounts.Ask = func(context.Context, string, string) (bool, error) { return false, nil }
	r := asking(`{"type":"KubernetesRun","service_account_name":"data"}`).FlowRun
	made, err := kubernetesrun.Renderer{Settings: kubernetesrun.Settings{Namespace: "flows"}}.Render(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	err = l.accounts.Permit(t.Context(), "flows", made.AuthorsAccount)
	wrong, ok := errors.AsType[*prefect.AuthorError](err)
	if !ok {
		t.Fatalf("%v is not for the author", err)
	}
	want := "the service account data is not for flows here: change service_account_name in the run config, " +
		"or ask the launcher's operator to add data to the resourceNames of the rule for use on serviceaccounts in the launcher's Role in namespace flows"
	if d := cmp.Diff(want, wrong.Message); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// New wires the question.
func TestServiceAccountOfALauncherThatRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, m := options("me"), newMemory(asking(`{"type":"KubernetesRun","service_account_name":"denied"}`))
		client := fake.NewClientset()
		l, err := New(o, m, kubernetesrun.Renderer{Settings: kubernetesrun.Settings{Namespace: "flows"}}, kubernetes(client))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if got := m.get("r").State.Name; got != "Failed" {
			t.Errorf("the run is %s", got)
		}
		if lines := strings.Join(m.linesOf("r"), "\n"); !strings.Contains(lines, "the service account denied is not for flows here") {
			t.Errorf("its log:\n%s", lines)
		}
	})
}
