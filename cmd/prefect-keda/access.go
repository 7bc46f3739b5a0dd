package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/lasting"
)

const (
	// checkTimeout bounds asking Kubernetes for our permissions.
	checkTimeout = 15 * time.Second
	// askAgain is the time between two questions while some are missing.
	askAgain = 5 * time.Second
)

// access checks what Kubernetes lets us do, and waits for it. A namespace or a Role may be
// created after us, and a process that ended would be restarted only minutes later.
type access struct {
	log         *slog.Logger
	reviews     kube.Reviewer
	permissions []kube.Permission
	namespaces  []string
	// operator gets the same messages as the log; may be nil.
	operator func(reason, message string)

	missing atomic.Pointer[kube.MissingError]
}

// ask is nil when nothing is missing, as far as is known: an API server that is away
// is no reason to wait.
func (a *access) ask(ctx context.Context) *kube.MissingError {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := kube.Check(ctx, a.reviews, a.permissions, a.namespaces...)
	missing, found := errors.AsType[*kube.MissingError](err)
	if err != nil && !found {
		if missing = a.missing.Load(); missing == nil {
			a.log.WarnContext(ctx, "cannot check our permissions; going on without", "err", err)
		}
	}
	a.missing.Store(missing)
	return missing
}

// await returns nil when nothing is missing, or ctx has ended, and the last answer
// when that has not come for so long; 0 is for ever.
func (a *access) await(ctx context.Context, patience time.Duration) error {
	began := time.Now()
	var lacking lasting.State
	for missing := a.ask(ctx); missing != nil; missing = a.ask(ctx) {
		now := time.Now()
		if lacking.Holds(now) {
			a.log.ErrorContext(ctx, "permissions are missing, or the namespace is; waiting for them", "err", missing)
			if a.operator != nil {
				a.operator("PrefectPermissionsMissing", missing.Error())
			}
		}
		if patience > 0 && now.Sub(began) >= patience {
			return missing
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(askAgain):
		}
	}
	if lacking.Over() {
		a.log.InfoContext(ctx, "all permissions are granted now; going on")
	}
	return nil
}

// err is set while there is no namespace in which we may do all that we have to.
func (a *access) err() error {
	missing := a.missing.Load()
	if missing == nil || len(missing.Missing) < len(a.namespaces) {
		return nil
	}
	return fmt.Errorf("waiting for permissions: %w", missing)
}
