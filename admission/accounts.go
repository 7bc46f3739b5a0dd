package admission

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxAccounts bounds the memory: authors choose the names.
	maxAccounts = 256
	// A denial fails its run for good, so it is remembered for no longer than a burst
	// lasts: the operator may have fixed the Role.
	allowedFor, deniedFor = time.Minute, 5 * time.Second
)

// Accounts asks RBAC about service accounts and remembers the answers, so that a burst
// of runs asks once.
type Accounts struct {
	// Ask asks RBAC whether the launcher may use an account in a namespace.
	Ask func(ctx context.Context, namespace, account string) (allowed bool, err error)
	// Operators is the account in the operator's settings, which needs no question;
	// empty for none.
	Operators string

	mu    sync.Mutex
	known map[[2]string]answer // by namespace and account
}

type answer struct {
	allowed bool
	until   time.Time
}

// Permit asks RBAC whether a flow's pod may have the service account that its author
// chose: the pod can do all that the account may. The launcher's Role decides, by the
// verb use. An error is a *prefect.AuthorError when RBAC says no, and another one when
// RBAC could not be asked.
func (a *Accounts) Permit(ctx context.Context, namespace string, account job.Account) error {
	name := account.Name
	if name == "" || name == "default" || name == a.Operators {
		return nil
	}
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return &prefect.AuthorError{Message: fmt.Sprintf("%.80q cannot be the name of a service account: change %s", name, account.Field)}
	}
	allowed, err := a.mayUse(ctx, namespace, name)
	if err != nil {
		return fmt.Errorf("ask RBAC whether the pod may use the service account %s: %w", name, err)
	}
	if !allowed {
		return &prefect.AuthorError{Message: fmt.Sprintf("the service account %s is not for flows here: change %s, "+
			"or ask the launcher's operator to add %s to the resourceNames of the rule for use on serviceaccounts in the launcher's Role in namespace %s", name, account.Field, name, namespace)}
	}
	return nil
}

func (a *Accounts) mayUse(ctx context.Context, namespace, account string) (bool, error) {
	if known, ok := a.remembered(namespace, account); ok {
		return known, nil
	}
	asked := time.Now()
	allowed, err := a.Ask(ctx, namespace, account)
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
		a.known = map[[2]string]answer{}
	}
	a.known[[2]string{namespace, account}] = kept
	return allowed, nil
}

func (a *Accounts) remembered(namespace, account string) (allowed, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.known[[2]string{namespace, account}]
	return known.allowed, ok && time.Now().Before(known.until)
}
