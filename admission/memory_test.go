package admission

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prefect-keda/prefect-keda/job"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// against is Kubernetes' answer about every Job.
type against func() error

func (a against) Try(context.Context, *batchv1.Job) error { return a() }

// A burst asks once. An operator's change counts soon, and a denial, which fails runs, is
// asked about again sooner. Failed questions are not remembered, and the memory is bounded.
func TestAccountsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, away := 0, false
		a := &Accounts{Ask: func(_ context.Context, _, account string) (bool, error) {
			asked++
			if away {
				return false, errors.New("503")
			}
			return account == "allowed", nil
		}}
		want := func(when, account string, allowed bool, questions int) {
			t.Helper()
			asked = 0
			got, err := a.mayUse(t.Context(), "flows", account)
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

// The memory of answers is bounded, whatever runs there are.
func TestTrialRemembersSoMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		trial := NewTrial(nil, against(func() error {
			asked++
			return apierrors.NewForbidden(batchv1.Resource("jobs"), "j", errors.New(`admission webhook "policy" denied the request: no`))
		}), job.Marks{Run: "run"})
		ask := func(i int) {
			j := &batchv1.Job{}
			j.Annotations = map[string]string{"a": fmt.Sprint(i)}
			if refused, err := trial.Ask(t.Context(), j); refused == nil || err != nil {
				t.Fatalf("%v, %v", refused, err)
			}
		}
		for range 2 {
			for i := range maxAnswers {
				ask(i)
			}
		}
		if asked != maxAnswers {
			t.Errorf("asked %d times for %d Jobs", asked, maxAnswers)
		}
		time.Sleep(refusedFor / 2)
		ask(-1) // forgets all, since no answer has expired
		if len(trial.answers) != 1 {
			t.Errorf("%d answers", len(trial.answers))
		}
		time.Sleep(refusedFor / 2)
		for i := range maxAnswers - 1 {
			ask(i)
		}
		time.Sleep(refusedFor / 2) // the answer about -1 has expired
		ask(-2)
		if len(trial.answers) != maxAnswers {
			t.Errorf("%d answers, want the others kept: %d", len(trial.answers), maxAnswers)
		}
	})
}
