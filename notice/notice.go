package notice

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/record/util"
)

const (
	// maxQueued notices wait; further ones are only in the log.
	maxQueued = 100
	// callTimeout bounds telling one notice. farewell bounds telling the rest when the
	// process ends: one of them may say why it ends.
	callTimeout = 10 * time.Second
	farewell    = time.Second
	// maxMessage is Kubernetes' own bound.
	maxMessage = 1024
	// knownFor is how long we keep an object before we read it again.
	knownFor = 5 * time.Minute
)

// Cluster reads objects of Kubernetes; kube.Client is one.
type Cluster interface {
	Read(ctx context.Context, path string, into any) error
}

// Events are those of one namespace; client-go's typed client is one.
type Events interface {
	Create(ctx context.Context, e *corev1.Event, o metav1.CreateOptions) (*corev1.Event, error)
	Patch(ctx context.Context, name string, t types.PatchType, data []byte, o metav1.PatchOptions, parts ...string) (*corev1.Event, error)
}

// Options are what a Notices needs.
type Options struct {
	Cluster Cluster
	Events  func(namespace string) Events
	// Process is the teller, such as prefect-keda-scaler; Pod is its pod, or empty.
	Process, Pod string
	Logger       *slog.Logger
}

// Notices tells operators by Events. Warn never waits; Run does the work.
type Notices struct {
	Options
	queue      chan notice
	correlator *record.EventCorrelator

	// Only Run uses it.
	known map[subject]reference

	mu    sync.Mutex
	mute  map[string]bool // namespaces in which we may not tell
	tight bool            // we have logged that the queue is full
}

// subject is an object to tell on, before it was read.
type subject struct{ kind, namespace, name string }

type reference struct {
	corev1.ObjectReference
	at time.Time
}

type notice struct {
	about           subject
	reason, message string
}

// New makes no request.
func New(o Options) *Notices {
	return &Notices{
		Options: o, queue: make(chan notice, maxQueued), known: map[subject]reference{}, mute: map[string]bool{},
		// The correlator counts repeated events and drops those that repeat too often, as
		// every part of Kubernetes does. We do not use client-go's recorder around it: the
		// recorder hands events to goroutines that nobody can wait for, so a process that
		// ends because of the problem could not report it.
		correlator: record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{}),
	}
}

// Run tells notices until ctx ends, and then, for a moment, those that are left.
func (n *Notices) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			n.flush(ctx)
			return
		case one := <-n.queue:
			n.tell(ctx, one)
		}
	}
}

func (n *Notices) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	for {
		select {
		case one := <-n.queue:
			n.tell(ctx, one)
		default:
			return
		}
	}
}

// Warn queues a Warning for a ScaledObject or, where none has the name, for a ScaledJob.
func (n *Notices) Warn(namespace, name, reason, message string) {
	n.add(notice{subject{scaled, namespace, name}, reason, message})
}

// WarnOwner queues a Warning for the object that made a pod, such as its Deployment or
// ScaledJob.
func (n *Notices) WarnOwner(namespace, pod, reason, message string) {
	n.add(notice{subject{owner, namespace, pod}, reason, message})
}

func (n *Notices) add(one notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mute[one.about.namespace] {
		return
	}
	select {
	case n.queue <- one:
		n.tight = false
	default:
		if !n.tight {
			n.tight = true
			n.Logger.Warn("too many warnings to write as Events; the rest is only in the log")
		}
	}
}

func (n *Notices) tell(ctx context.Context, one notice) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := n.record(ctx, one)
	if err == nil {
		return
	}
	log := n.Logger.With("namespace", one.about.namespace, "reason", one.reason, "err", err)
	if !apierrors.IsForbidden(err) {
		log.DebugContext(ctx, "cannot write an Event")
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.mute[one.about.namespace] {
		n.mute[one.about.namespace] = true
		log.InfoContext(ctx, "may not write Events in this namespace, so warnings are only in the log; bind the Role "+n.Process+"-own of the manifests there") //nolint:sloglint // two processes, two constants
	}
}

func (n *Notices) record(ctx context.Context, one notice) error {
	about, err := n.resolve(ctx, one.about)
	if err != nil {
		return err
	}
	now := metav1.Now()
	result, err := n.correlator.EventCorrelate(&corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: about.Namespace, Name: util.GenerateEventName(about.Name, now.UnixNano())},
		InvolvedObject: about, Type: corev1.EventTypeWarning, Reason: one.reason, Message: cut(one.message, maxMessage),
		Source: corev1.EventSource{Component: n.Process}, ReportingController: n.Process, ReportingInstance: n.Pod,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	})
	if err != nil {
		return err
	}
	if result.Skip {
		return nil
	}
	events, event := n.Events(about.Namespace), result.Event
	if event.Count > 1 {
		stored, err := events.Patch(ctx, event.Name, types.StrategicMergePatchType, result.Patch, metav1.PatchOptions{})
		if !apierrors.IsNotFound(err) {
			return n.stored(stored, err)
		}
		event.ResourceVersion = "" // the stored event has expired
	}
	return n.stored(events.Create(ctx, event, metav1.CreateOptions{}))
}

// stored tells the correlator the name under which the event is counted.
func (n *Notices) stored(e *corev1.Event, err error) error {
	if err == nil {
		n.correlator.UpdateState(e)
	}
	return err
}

// resolve reads a subject. kubectl describe finds events by the subject's UID.
func (n *Notices) resolve(ctx context.Context, s subject) (corev1.ObjectReference, error) {
	if known, ok := n.known[s]; ok && time.Since(known.at) < knownFor {
		return known.ObjectReference, nil
	}
	find := n.scaledObject
	if s.kind == owner {
		find = n.ownerOf
	}
	found, err := find(ctx, s.namespace, s.name)
	if err != nil {
		return corev1.ObjectReference{}, err
	}
	if len(n.known) >= maxQueued {
		clear(n.known)
	}
	n.known[s] = reference{found, time.Now()}
	return found, nil
}
