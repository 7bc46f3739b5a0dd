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

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// named is the operator's template, with a service account.
type named struct{}

func (named) Read(context.Context, string) ([]byte, error) {
	return []byte("spec: {template: {spec: {serviceAccountName: of-the-template}}}"), nil
}

// asking is a run with a run config, of a flow that can be rendered.
func asking(runConfig string) *runBuilder {
	r := run("r")
	r.RunConfig = []byte(runConfig)
	r.Flow.CoreVersion, r.Flow.Storage = "1.4.1", []byte(`{"type":"Local"}`)
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
				settings := job.Settings{Namespace: "flows", Backend: "server"}
				o := Options{Name: "me", Namespace: "flows", ServiceAccountName: "of-the-setting"}.withDefaults()
				if tc.template {
					settings.JobTemplate, o.ServiceAccountName = "/t.yaml", ""
				}
				l := newLauncher(o, y, job.Renderer{Settings: settings, Source: named{}}, y)
				var asked []string
				l.accounts.ask = func(_ context.Context, account string) (bool, error) {
					asked = append(asked, account)
					if account == "away" {
						return false, errors.New("503")
					}
					return account == "allowed", nil
				}
				got := l.perform(t.Context(), &errand{Action: Action{Kind: Launch, Run: asking(tc.runConfig).readAt(time.Now()).FlowRun}})
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
	l := newLauncher(Options{Name: "me", Namespace: "flows"}.withDefaults(), nil, template{}, nil)
	l.accounts.ask = func(context.Context, string) (bool, error) { return false, nil }
	r := asking(`{"type":"KubernetesRun","service_account_name":"data"}`).FlowRun
	j, err := job.Renderer{Settings: job.Settings{Namespace: "flows"}}.Render(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	err = l.permit(t.Context(), r, j)
	wrong, ok := errors.AsType[*prefect.AuthorError](err)
	if !ok {
		t.Fatalf("%v is not for the author", err)
	}
	want := "the service account data is not for flows here: take service_account_name out of the run config, or serviceAccountName out of the job template, " +
		"or ask the operator of the launcher to allow it, by adding data to the resourceNames of the rule in its Role in namespace flows that has the verb use on serviceaccounts"
	if d := cmp.Diff(want, wrong.Message); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// A burst asks once; what an operator has changed counts soon, and sooner where
// runs fail for it; an answer that did not come is not remembered, and neither are
// more names than there may be.
func TestAccountsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, away := 0, false
		a := &accounts{ask: func(_ context.Context, account string) (bool, error) {
			asked++
			if away {
				return false, errors.New("503")
			}
			return account == "allowed", nil
		}}
		want := func(when, account string, allowed bool, questions int) {
			t.Helper()
			asked = 0
			got, err := a.mayUse(t.Context(), account)
			if got != allowed || asked != questions || (err != nil) != away {
				t.Errorf("%s: %s is allowed: %v, %v, after %d questions, want %v after %d", when, account, got, err, asked, allowed, questions)
			}
		}
		away = true
		want("away", "allowed", false, 1)
		away = false
		want("back", "allowed", true, 1)
		want("back", "denied", false, 1)
		time.Sleep(deniedFor - time.Second)
		want("soon", "allowed", true, 0)
		want("soon", "denied", false, 0)
		time.Sleep(time.Second)
		want("a little later", "denied", false, 1)
		want("a little later", "allowed", true, 0)
		time.Sleep(allowedFor - deniedFor)
		want("later", "allowed", true, 1)
		for i := range 3 * maxAccounts {
			want("one of many", fmt.Sprint("x", i), false, 1)
			if len(a.known) > maxAccounts {
				t.Fatalf("remembers %d names", len(a.known))
			}
		}
	})
}

// New wires the question.
func TestServiceAccountOfALauncherThatRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, m := options("me"), newMemory(asking(`{"type":"KubernetesRun","service_account_name":"denied"}`))
		client := fake.NewClientset()
		l, err := New(o, m, job.Renderer{Settings: job.Settings{Namespace: "flows"}}, kubernetes(client, "flows"))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if got := m.get("r").State.Type; got != prefect.Failed {
			t.Errorf("the run is %s", got)
		}
		if lines := strings.Join(m.linesOf("r"), "\n"); !strings.Contains(lines, "the service account denied is not for flows here") {
			t.Errorf("its log:\n%s", lines)
		}
	})
}
