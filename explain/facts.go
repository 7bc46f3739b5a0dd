// Package explain says in plain words why one flow run does, or does not, start:
// what Prefect, the scaler and Kubernetes say of it, and what follows from that.
//
// It is pure: facts go in that others have gathered, with the time at which they did,
// and a report comes out. What is wrong with a Job is judged by package trouble,
// as scaler and launchers do.
package explain

import (
	"cmp"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Facts are what is known of one run.
type Facts struct {
	// At is when they were gathered; in its time zone the report tells times.
	At  time.Time
	Run prefect.FlowRun
	// Past are the run's last states, the newest first, the present one included.
	Past []prefect.PastState

	// Serving are the ScaledObjects that asked the scaler about the run's Prefect API
	// lately; nothing is known of them without Asked.
	Serving []Served
	Asked   bool
	// Refused are ScaledObjects, served or not, whose triggers the scaler refuses.
	Refused []Served
	// Cloud is set where Prefect Cloud's queue may hold runs back, and only it knows.
	Cloud bool
	// HeldBack is why Prefect keeps a waiting run back: a pause or a limit; empty if it does
	// not, or does not say.
	HeldBack string
	// Scope is that of a launcher with the settings at hand.
	Scope prefect.Scope

	// Namespaces are where Jobs were looked for, and could be.
	Namespaces []string
	// Jobs, Pods and Events are the run's, the oldest first.
	Jobs   []*batchv1.Job
	Pods   []*corev1.Pod
	Events []corev1.Event
	// Elsewhere is set when the run's claim is of another cluster.
	Elsewhere bool
	// Launchers are the pods of launchers; nothing is known of them without Watched.
	Launchers []*corev1.Pod
	Watched   bool

	// Rules, and ClaimGrace, are those of scaler and launchers.
	Rules      trouble.Rules
	ClaimGrace time.Duration

	// Unread says what could not be read, and why.
	Unread []string
}

// Served is a ScaledObject as the scaler's page reports it.
type Served struct {
	Namespace string
	Name      string
	Scope     prefect.Scope `json:"-"`
	Active    bool
	Due       int64
	Reason    string
	Err       string
	LastAsked time.Time `json:"last_asked"`
	// Untaken is what the scaler says of launchers that do not come; empty while they do.
	Untaken string
	// Listens is set while KEDA has a stream open for it, which ends when KEDA goes.
	Listens    bool          `json:"-"`
	WarmUpLead time.Duration `json:"-"`
	// Refused is why the scaler refuses its trigger by now; empty when it does not.
	Refused string
	// Paused is set where an annotation has KEDA leave it alone, and NotReady what KEDA
	// says where it is not Ready.
	Paused   bool
	NotReady string
}

func (s Served) String() string { return s.Namespace + "/" + s.Name }

// serving are those whose launchers may take the run.
func (f Facts) serving() []Served {
	return slices.DeleteFunc(slices.Clone(f.Serving), func(s Served) bool { return !s.Scope.Takes(f.Run.Place) })
}

// Homes are the namespaces of launchers that may take the run, where it waits for
// one.
func (f Facts) Homes() []string {
	phase := f.Run.State.Phase
	waits := (phase == prefect.Waiting || f.Run.JobFirst) && !f.Run.Due.After(f.At) || phase == prefect.Claimed && len(f.Jobs) == 0 && !f.Elsewhere
	if !waits {
		return nil
	}
	var homes []string
	for _, s := range f.serving() {
		if !slices.Contains(homes, s.Namespace) {
			homes = append(homes, s.Namespace)
		}
	}
	return homes
}

// LastClaim is the last one of ours; nil when there is none.
func (f Facts) LastClaim() *prefect.Claim {
	if c := cmp.Or(f.Run.Claim, f.Run.LastClaim); c != nil {
		return c
	}
	for _, s := range f.Past {
		if s.Phase == prefect.Claimed {
			return s.Claim
		}
	}
	return nil
}

// job is the run's present one: the claim's, or else the youngest.
func (f Facts) job() *batchv1.Job {
	if c := f.LastClaim(); c != nil {
		for _, j := range f.Jobs {
			if j.Name == c.Job {
				return j
			}
		}
	}
	if len(f.Jobs) == 0 {
		return nil
	}
	return f.Jobs[len(f.Jobs)-1]
}

// running is a pod whose flow executes the run.
func (f Facts) running() *corev1.Pod {
	i := slices.IndexFunc(f.Pods, func(p *corev1.Pod) bool { return trouble.Executes(p) && !trouble.FlowBegan(p).IsZero() })
	if i < 0 {
		return nil
	}
	return f.Pods[i]
}

// judged is what is wrong with a Job, whether or not somebody was told.
func (f Facts) judged(j *batchv1.Job) (trouble.Finding, bool) {
	j = j.DeepCopy()
	delete(j.Annotations, trouble.Annotation)
	return trouble.Judge(j, f.Pods, f.Rules)
}

// lastEvent is the message of the youngest one that warns of an object.
func (f Facts) lastEvent(name string) string {
	for _, e := range slices.Backward(f.Events) {
		if e.InvolvedObject.Name == name && e.Type == corev1.EventTypeWarning {
			return plain(e.Message)
		}
	}
	return ""
}

// plain is one line without the full stop that our sentence brings.
func plain(s string) string {
	return job.Shortened(strings.TrimRight(strings.Join(strings.Fields(s), " "), "."), maxText)
}

// maxText is how much of somebody else's words is repeated.
const maxText = 600
