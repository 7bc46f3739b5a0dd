package jobs

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/prefect-keda/prefect-keda/jobs/informer"
)

// space is one namespace with Jobs.
type space struct {
	name      string
	client    Client
	log       *slog.Logger
	informer  *informer.Informer
	verdicts  *verdicts
	presences *presences
}

func (c *Cluster) newSpace(name string, client Client, log *slog.Logger) *space {
	s := &space{name: name, client: client, log: log.With("namespace", name), verdicts: newVerdicts(), presences: newPresences()}
	s.informer = informer.New(name, c.marks, informer.Client{Jobs: client.Jobs, Pods: client.Pods, UID: client.UID},
		informer.Hooks{
			Job: func(_ watch.EventType, name, run string) {
				s.changed(run)
				c.delivered(s.name, name, run)
			},
			Pod:    func(_ watch.EventType, _, run string) { s.changed(run) },
			Failed: s.failed, Recovered: s.recovered,
		})
	return s
}

// changed is called after a Job or a pod of a run has changed.
func (s *space) changed(run string) {
	s.verdicts.change(run)
	s.presences.forget(run)
}

func (s *space) failed(ctx context.Context, part informer.Part, err error) {
	message := map[informer.Part]string{
		informer.Jobs:      "cannot watch Jobs, retrying; the launcher's Role must allow list and watch on jobs",
		informer.Pods:      "cannot watch pods, retrying; until then nobody handles their trouble. The launcher's Role must allow list and watch on pods",
		informer.Namespace: "cannot read the namespace of the Jobs, retrying",
	}[part]
	s.log.WarnContext(ctx, message, "err", err) //nolint:sloglint // one of a closed set of messages
}

func (s *space) recovered(ctx context.Context, part informer.Part) {
	message := map[informer.Part]string{
		informer.Jobs: "watching Jobs again", informer.Pods: "watching pods again", informer.Namespace: "the namespace of the Jobs can be read again",
	}[part]
	s.log.InfoContext(ctx, message) //nolint:sloglint // one of a closed set of messages
}

// isKnown reports whether its Jobs and its UID are known, or why not.
func (s *space) isKnown() (bool, error) {
	for _, part := range []informer.Part{informer.Jobs, informer.Namespace} {
		if !s.informer.Knows(part) {
			return false, s.informer.Err(part)
		}
	}
	return true, nil
}

// isBarred reports whether the error says that there is no such namespace, or none for us.
func isBarred(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsNotFound(err) }

// at is the namespace of that name; without a name, the home namespace.
func (c *Cluster) at(namespace string) (*space, error) {
	namespace = cmp.Or(namespace, c.spaces[0].name)
	i := slices.IndexFunc(c.spaces, func(s *space) bool { return s.name == namespace })
	if i < 0 {
		return nil, &NotServedError{Namespace: namespace}
	}
	return c.spaces[i], nil
}

// Open is why no Job can be created in the namespace now; nil if one can, or in the home
// namespace. A claim with a Job elsewhere would not be known for ours.
func (c *Cluster) Open(namespace string) error {
	s, err := c.at(namespace)
	if err != nil || s == c.spaces[0] {
		return err
	}
	known, err := s.isKnown()
	if !known && err == nil {
		err = fmt.Errorf("namespace %s is not known yet", s.name)
	}
	return err
}

// NotServedError says that Jobs of a namespace are not ours to create.
type NotServedError struct{ Namespace string }

// Error says what to change.
func (e *NotServedError) Error() string {
	return fmt.Sprintf("this launcher creates no Jobs in namespace %s", e.Namespace)
}
