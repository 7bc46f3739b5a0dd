// Package collect gathers what is known of one flow run: from Prefect, from the page
// of the scaler and from Kubernetes. Every question has a deadline and a bound, and
// what may not be read is said in the facts. It judges nothing and changes nothing.
package collect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/explain"
	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

const (
	// maxStates, maxObjects and maxEvents bound what is asked for, and shown.
	maxStates  = 30
	maxObjects = 20
	maxEvents  = 30
	// maxHomes is in how many namespaces launchers are looked for.
	maxHomes = 5
)

// errPage is that somebody else answered for the scaler.
var errPage = errors.New("it has another form than expected")

// Prefect is as much of the API as is asked.
type Prefect interface {
	// FlowRun reads one run as it is now; prefect.ErrNotFound when there is none.
	FlowRun(ctx context.Context, id string) (prefect.FlowRun, error)
	// States are its last ones, the newest first.
	States(ctx context.Context, id string, limit int) ([]prefect.PastState, error)
}

// Lister is as much of client-go's typed client as is called here.
type Lister[L any] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
}

// Namespace reads one namespace.
type Namespace struct {
	Jobs   Lister[*batchv1.JobList]
	Pods   Lister[*corev1.PodList]
	Events Lister[*corev1.EventList]
	// UID reads the namespace's own.
	UID func(ctx context.Context) (string, error)
}

// Options are whom to ask, and what is known beforehand.
type Options struct {
	Prefect Prefect
	// Connection is what the scaler calls that API; Cloud, whether it is Prefect Cloud.
	Connection string
	Cloud      bool
	// Kubernetes gives the clients of a namespace; an error says why there are none.
	Kubernetes func(namespace string) (Namespace, error)
	// Namespaces are those of the flows' Jobs.
	Namespaces []string
	// Scaler reads the scaler's page, in JSON.
	Scaler func(ctx context.Context) ([]byte, error)
	// ScaledObject reads one into an object; nil where nobody can.
	ScaledObject func(ctx context.Context, namespace, name string, into any) error
	// Marks are the labels by which its Jobs are known.
	Marks job.Marks
	// Scope, Rules and ClaimGrace are those of the settings at hand.
	Scope      prefect.Scope
	Rules      trouble.Rules
	ClaimGrace time.Duration
	// HeldBack says why Prefect keeps a waiting run back; empty if it does not. It is nil
	// where Prefect does not say.
	HeldBack func(ctx context.Context, run prefect.FlowRun) (string, error)
	// Timeout bounds each question.
	Timeout time.Duration
}

// Facts asks all there are to ask. Only that the run itself cannot be read is an
// error; prefect.ErrNotFound when there is none.
func Facts(ctx context.Context, o Options, id string) (explain.Facts, error) {
	c := &collector{Options: o, facts: explain.Facts{At: time.Now(), Cloud: o.Cloud, Scope: o.Scope, Rules: o.Rules, ClaimGrace: o.ClaimGrace}}
	if err := c.prefect(ctx, id); err != nil {
		return explain.Facts{}, err
	}
	c.scaler(ctx)
	c.keda(ctx)
	c.cluster(ctx)
	c.launchers(ctx)
	return c.facts, nil
}

type collector struct {
	Options

	facts explain.Facts
}

func (c *collector) unread(what string, err error) {
	why := strings.Join(strings.Fields(err.Error()), " ")
	if apierrors.IsForbidden(err) {
		why = "not allowed to"
	}
	c.facts.Unread = append(c.facts.Unread, what+": "+why)
}

func (c *collector) prefect(ctx context.Context, id string) (err error) {
	asking, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if c.facts.Run, err = c.Prefect.FlowRun(asking, id); err != nil {
		return err
	}
	asking, cancel = context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if c.facts.Past, err = c.Prefect.States(asking, id, maxStates); err != nil {
		c.unread("the run's earlier states", err)
	}
	if c.HeldBack == nil || c.facts.Run.State.Phase != prefect.Waiting {
		return nil
	}
	asking, cancel = context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if c.facts.HeldBack, err = c.HeldBack(asking, c.facts.Run); err != nil {
		c.unread("whether Prefect holds the run back", err)
	}
	return nil
}

// page is what is read of /debug/demand.
type page struct {
	ScaledObjects *[]struct {
		explain.Served
		Labels     []string
		WorkPools  []string `json:"work_pools"`
		WorkQueues []string `json:"work_queues"`
		Connection string
		WarmUpLead string `json:"warm_up_lead"`
		Streams    int64  `json:"open_streams"`
	} `json:"scaled_objects"`
	Refused []explain.Served
}

// keda adds what KEDA says of ScaledObjects that serve the run. One that is not there,
// or may not be read, is a ScaledJob perhaps, and no news.
func (c *collector) keda(ctx context.Context) {
	asked := 0
	for i := range c.facts.Serving {
		s := &c.facts.Serving[i]
		if c.ScaledObject == nil || asked == maxHomes || !s.Scope.Takes(c.facts.Run.Place) {
			continue
		}
		asked++
		reading, cancel := context.WithTimeout(ctx, c.Timeout)
		var o struct {
			Status struct{ Conditions []metav1.Condition }
		}
		err := c.ScaledObject(reading, s.Namespace, s.Name, &o)
		cancel()
		if err != nil {
			continue
		}
		for _, condition := range o.Status.Conditions {
			switch {
			case condition.Type == "Paused":
				s.Paused = condition.Status == metav1.ConditionTrue
			case condition.Type == "Ready" && condition.Status != metav1.ConditionTrue:
				s.NotReady = cmp.Or(condition.Message, condition.Reason, "it does not say why")
			}
		}
	}
}

func (c *collector) scaler(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	const what = "the scaler's page, which knows who serves which labels"
	text, err := c.Scaler(ctx)
	if err != nil {
		c.unread(what, err)
		return
	}
	var p page
	if err := json.Unmarshal(text, &p); err != nil || p.ScaledObjects == nil {
		c.unread(what, errors.Join(errPage, err))
		return
	}
	c.facts.Asked = true
	c.facts.Refused = p.Refused
	for _, s := range *p.ScaledObjects {
		if s.Connection != c.Connection {
			continue
		}
		s.Scope, s.Listens = prefect.Scope{Labels: s.Labels, Pools: s.WorkPools, Queues: s.WorkQueues}, s.Streams > 0
		s.Served.WarmUpLead, _ = time.ParseDuration(s.WarmUpLead) // one that is not understood is told of as none
		c.facts.Serving = append(c.facts.Serving, s.Served)
	}
}

// cluster looks in the namespaces of the Jobs, and where the run's claim says.
func (c *collector) cluster(ctx context.Context) {
	namespaces := slices.Clone(c.Namespaces)
	claim := c.facts.LastClaim()
	if claim != nil && claim.Namespace != "" && !slices.Contains(namespaces, claim.Namespace) {
		namespaces = append(namespaces, claim.Namespace)
	}
	for _, name := range namespaces {
		clients, err := c.Kubernetes(name)
		if err != nil {
			c.unread("Kubernetes", err)
			return
		}
		if claim != nil && claim.Namespace == name {
			c.identify(ctx, clients, *claim)
		}
		c.objects(ctx, clients, name)
	}
	byAge := func(a, b metav1.ObjectMeta) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	}
	slices.SortFunc(c.facts.Jobs, func(a, b *batchv1.Job) int { return byAge(a.ObjectMeta, b.ObjectMeta) })
	slices.SortFunc(c.facts.Pods, func(a, b *corev1.Pod) int { return byAge(a.ObjectMeta, b.ObjectMeta) })
	slices.SortStableFunc(c.facts.Events, func(a, b corev1.Event) int { return trouble.EventTime(a).Compare(trouble.EventTime(b)) })
	c.facts.Events = c.facts.Events[max(0, len(c.facts.Events)-maxEvents):]
}

func (c *collector) identify(ctx context.Context, clients Namespace, claim prefect.Claim) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	uid, err := clients.UID(ctx)
	switch {
	case apierrors.IsNotFound(err):
		c.facts.Elsewhere = true
	case err != nil:
		c.unread("whether namespace "+claim.Namespace+" is the one of the claim", err)
	default:
		c.facts.Elsewhere = !claim.IsIn(claim.Namespace, uid)
	}
}

func (c *collector) objects(ctx context.Context, clients Namespace, name string) {
	ours := metav1.ListOptions{LabelSelector: c.Marks.Selector(c.facts.Run.ID), Limit: maxObjects}
	if jobs, err := listed(ctx, c.Timeout, clients.Jobs, ours); err != nil {
		c.unread("Jobs in "+name, err)
	} else {
		c.facts.Namespaces = append(c.facts.Namespaces, name)
		for i := range jobs.Items {
			c.facts.Jobs = append(c.facts.Jobs, &jobs.Items[i])
		}
	}
	if pods, err := listed(ctx, c.Timeout, clients.Pods, ours); err != nil {
		c.unread("pods in "+name, err)
	} else {
		for i := range pods.Items {
			c.facts.Pods = append(c.facts.Pods, &pods.Items[i])
		}
	}
	var uids []string
	for _, j := range c.facts.Jobs {
		if j.Namespace == name {
			uids = append(uids, string(j.UID))
		}
	}
	for _, p := range c.facts.Pods {
		if p.Namespace == name {
			uids = append(uids, string(p.UID))
		}
	}
	for _, uid := range uids {
		events, err := listed(ctx, c.Timeout, clients.Events, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + uid, Limit: maxEvents})
		if err != nil {
			c.unread("events in "+name, err)
			return
		}
		c.facts.Events = append(c.facts.Events, events.Items...)
	}
}

// launchers are looked for where the ScaledObjects are that serve the run, while it
// waits for one.
func (c *collector) launchers(ctx context.Context) {
	homes := c.facts.Homes()
	if len(homes) == 0 {
		return
	}
	for _, home := range homes[:min(len(homes), maxHomes)] {
		clients, err := c.Kubernetes(home)
		if err != nil {
			return // said already
		}
		pods, err := listed(ctx, c.Timeout, clients.Pods, metav1.ListOptions{LabelSelector: "prefect-keda.io/process=launcher", Limit: maxObjects})
		if err != nil {
			c.unread("launchers' pods in "+home, err)
			return
		}
		for i := range pods.Items {
			c.facts.Launchers = append(c.facts.Launchers, &pods.Items[i])
		}
	}
	c.facts.Watched = true
}

func listed[L any](ctx context.Context, timeout time.Duration, lister Lister[L], o metav1.ListOptions) (L, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return lister.List(ctx, o)
}
