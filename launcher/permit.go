package launcher

import (
	"context"
	"fmt"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxAccounts is how many service accounts' answers are remembered; their names
	// are the flows' authors' choice.
	maxAccounts = 256
	// allowedFor and deniedFor are how long. A denial fails its run for good, so an
	// operator who has mended the Role waits for it no longer than a burst lasts.
	allowedFor, deniedFor = time.Minute, 5 * time.Second
)

// permit asks RBAC whether a flow's pod may have the service account that its
// author chose: its pod is then what the account may do. Whoever writes the
// launcher's Role decides, by the verb use. Without a choice of the author's there is
// nothing to ask: the operator's settings are the operator's word. An error is a
// *prefect.AuthorError when RBAC says no; otherwise it could not be asked.
func (l *Launcher) permit(ctx context.Context, run prefect.FlowRun, j *batchv1.Job) error {
	account := job.AuthorsAccount(run, j)
	if account == "" || account == "default" || account == l.ServiceAccountName {
		return nil
	}
	if len(validation.IsDNS1123Subdomain(account)) > 0 {
		return &prefect.AuthorError{Message: fmt.Sprintf("%.80q cannot be the name of a service account: give another one, or none", account)}
	}
	allowed, err := l.accounts.mayUse(ctx, account)
	if err != nil {
		return fmt.Errorf("may its pod use the service account %s: %w", account, err)
	}
	if !allowed {
		return &prefect.AuthorError{Message: fmt.Sprintf("the service account %s is not for flows here: take service_account_name out of the run config, or serviceAccountName out of the job template, "+
			"or ask the operator of the launcher to allow it, by adding %s to the resourceNames of the rule in its Role in namespace %s that has the verb use on serviceaccounts", account, account, l.Namespace)}
	}
	return nil
}

// accounts remembers what RBAC said of service accounts, so that a burst of runs
// asks once.
type accounts struct {
	ask func(ctx context.Context, account string) (allowed bool, err error)

	mu    sync.Mutex
	known map[string]answer
}

type answer struct {
	allowed bool
	until   time.Time
}

func (a *accounts) mayUse(ctx context.Context, account string) (bool, error) {
	if known, ok := a.remembered(account); ok {
		return known, nil
	}
	asked := time.Now()
	allowed, err := a.ask(ctx, account)
	if err != nil {
		return false, err
	}
	kept := answer{allowed, asked.Add(deniedFor)}
	if allowed {
		kept.until = asked.Add(allowedFor)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil || len(a.known) >= maxAccounts {
		a.known = map[string]answer{} // those in use are asked for again
	}
	a.known[account] = kept
	return allowed, nil
}

func (a *accounts) remembered(account string) (allowed, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.known[account]
	return known.allowed, ok && time.Now().Before(known.until)
}
