package fake

import (
	"slices"
	"time"
)

// rule is one of the server's. The first that has a say decides.
type rule struct {
	from, to []string // types of states; nil for any
	// since and until are the versions that have the rule; empty for all.
	since, until string
	// always holds also for a forced proposal.
	always bool
	say    func(*transition) *verdict
}

func (of rule) concerns(t *transition, force bool) bool {
	switch {
	case of.since != "" && !t.s.version.since(of.since), of.until != "" && t.s.version.since(of.until), force && !of.always:
		return false
	}
	return (of.from == nil || slices.Contains(of.from, t.from.Type)) && (of.to == nil || slices.Contains(of.to, t.to.Type))
}

// others are the types of states without some.
func others(except ...string) []string {
	return slices.DeleteFunc(Types(), func(kind string) bool { return slices.Contains(except, kind) })
}

// slotStates are those in which a run has a slot.
func slotStates() []string { return []string{pending, running, cancelling} }

const cancellingOnly = "Cannot transition flows that are cancelling to a state other than Cancelled."

// rules are the server's, in its order (prefect3 §1.7).
func rules() []rule {
	return []rule{
		{say: sameTransition},
		{from: terminal(), to: []string{crashed, cancelling, paused}, say: func(t *transition) *verdict {
			return &verdict{status: abort, reason: "Run is already in terminal state " + t.from.Type + "."}
		}},
		{from: []string{cancelling}, to: others(cancelled), say: rejecting(cancellingOnly)},
		{from: []string{cancelled}, to: others(cancelled), until: withPrefect3, say: rejecting(cancellingOnly)},
		{from: []string{pending, running, cancelled}, to: []string{pending}, say: abortPending},
		{from: []string{completed}, to: others(terminal()...), say: keptResult},
		{from: []string{scheduled, paused}, to: []string{cancelling}, always: true, say: noInfrastructure},
		{from: []string{paused}, to: []string{cancelling}, until: withPrefect3, say: rejecting("This run cannot transition to the StateType.CANCELLING state from the StateType.PAUSED state.")},
		{from: others(running), to: []string{paused}, say: rejecting("Cannot pause flows that are not currently running.")},
		{from: []string{paused}, to: []string{pending}, say: rejecting("This run cannot transition to the StateType.PENDING state from the StateType.PAUSED state.")},
		{from: []string{scheduled, pending}, to: []string{running}, say: tooEarly},
		{from: others(slotStates()...), to: []string{pending}, since: withSlots, say: takeSlot},
		{from: []string{pending}, to: []string{running}, since: withLeases, say: keepSlot},
		{from: []string{running}, to: []string{failed}, say: retry},
	}
}

func rejecting(reason string) func(*transition) *verdict {
	return func(*transition) *verdict { return &verdict{status: reject, reason: reason} }
}

func sameTransition(t *transition) *verdict {
	if id := t.to.Details.TransitionID; id == nil || deref(t.from.Details.TransitionID) != *id {
		return nil
	}
	return &verdict{status: reject, reason: "This run has already made this state transition."}
}

// abortPending lets a Pending run take another name, where the server has such names
// (prefect3 §1.8).
func abortPending(t *transition) *verdict {
	if t.from.Type == pending && t.s.version.since(withNamedPending) && t.to.Name != t.from.Name && t.to.Name != "Pending" {
		return nil
	}
	return &verdict{status: abort, reason: "This run is in a " + t.from.Type + " state and cannot transition to a PENDING state."}
}

func keptResult(t *transition) *verdict {
	data, _ := t.from.Data.(map[string]any)
	if len(data) == 0 || data["type"] == "unpersisted" {
		return nil
	}
	return &verdict{status: reject, reason: "Run is already COMPLETED."}
}

// noInfrastructure cancels what no pod has to end (prefect3 §5.3).
func noInfrastructure(t *transition) *verdict {
	word := "Scheduled"
	switch {
	case t.from.Type == scheduled && t.run.PID != nil && t.from.Name != "Resuming":
		return nil
	case t.from.Type == paused:
		if !t.from.Details.PauseReschedul {
			return nil
		}
		word = "Suspended"
	}
	return &verdict{status: reject, reason: word + " flow run has no infrastructure to terminate.", instead: &proposal{Type: cancelled, Message: t.to.Message}}
}

func tooEarly(t *transition) *verdict {
	early := t.from.Details.ScheduledTime.Sub(t.s.clock())
	if t.from.Details.ScheduledTime.IsZero() || early <= 0 {
		return nil
	}
	return &verdict{status: wait, reason: "Scheduled time is in the future", delay: int(early.Round(time.Second) / time.Second)}
}

const limitReached = "Deployment concurrency limit reached."

// slotWait is how long a run waits that found no free slot. A claim before that works.
const slotWait = 30 * time.Second

func takeSlot(t *transition) *verdict {
	d := t.run.deployment
	switch {
	case d == nil && t.run.DeploymentID != nil:
		return &verdict{status: abort, reason: "Deployment not found."}
	case d == nil || d.Limit == nil:
		return nil
	case d.Limit.Limit == 0:
		return &verdict{status: abort, reason: "The deployment concurrency limit is 0. The flow will deadlock if submitted again."}
	case !d.Limit.full():
		t.to.Details.Lease = t.s.take(d)
		return nil
	case d.Options != nil && d.Options.Strategy == "CANCEL_NEW":
		message := limitReached
		return &verdict{status: reject, reason: limitReached, instead: &proposal{Type: cancelled, Message: &message}}
	}
	later := &proposal{Type: scheduled, Name: "AwaitingConcurrencySlot"}
	later.Details.ScheduledTime = stamp{t.s.clock().Add(slotWait)}
	return &verdict{status: reject, reason: limitReached, instead: later}
}

// keepSlot looks at the lease when the pod begins (prefect3 §2.4).
func keepSlot(t *transition) *verdict {
	d, id := t.run.deployment, deref(t.from.Details.Lease)
	if d == nil || d.Limit == nil || id == "" {
		return nil
	}
	l := t.s.leases[id]
	switch {
	case !t.isPrefect || !t.client.since(withLeases): // such a pod cannot renew it
		delete(t.s.leases, id)
		return nil
	case l != nil:
		l.expires = t.s.clock().Add(t.s.grace(d))
		return nil
	case !d.Limit.full():
		t.to.Details.Lease = t.s.take(d)
		return nil
	}
	lost := "Deployment concurrency slot lost during provisioning - no slots available to continue execution"
	return &verdict{status: reject, reason: "Deployment concurrency limit reached after lease expiry.", instead: &proposal{Type: cancelled, Message: &lost}}
}

// retry lets a failed run wait in its own pod.
func retry(t *transition) *verdict {
	if t.run.Policy.Retries == nil || t.run.Count > *t.run.Policy.Retries {
		return nil
	}
	var delay time.Duration
	if t.run.Policy.RetryDelay != nil {
		delay = time.Duration(*t.run.Policy.RetryDelay) * time.Second
	}
	later := &proposal{Type: scheduled, Name: "AwaitingRetry", Message: t.to.Message}
	later.Details.ScheduledTime = stamp{t.s.clock().Add(delay)}
	inProcess := "in_process"
	t.run.Policy.RetryType = &inProcess
	return &verdict{status: reject, reason: "Retrying", instead: later}
}
