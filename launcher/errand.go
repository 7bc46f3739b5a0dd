package launcher

import (
	"sync/atomic"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// errand is a run in hand: an action and how far it has come. It is carried out
// in one or more tries; between them it waits in the calendar, not in a worker.
type errand struct {
	Action
	claim prefect.Claim
	// claimed: the run is ours, so it may not be dropped.
	claimed bool
	// confirmed is when the run was last known to be in the state we act upon,
	// taken before the request that told so.
	confirmed time.Time
	// rivals: claims of the attempt have named its Job differently.
	rivals bool
	job    *batchv1.Job
	suffix int
	tries  int
	// refused is when Kubernetes first refused the Job.
	refused time.Time
	// failure is the text the run must fail with.
	failure string
	// handBack is why the run must be handed back.
	handBack string
	// returns are how often in a row the run was handed back for the operator's fault.
	returns int
	// last: there will be no further try, we are leaving.
	last bool
	// began is when this try began.
	began time.Time
	// claims: this try is to claim the run. It is the loop's to say, and the try's how
	// far it has got with that.
	claims bool
	stage  atomic.Int32
	// sent is when this try sent a claim, heard when it was known what came of it, and
	// answered whether the answer told.
	sent, heard time.Time
	answered    bool
	// awaited is the claim under way; unlike the rest it is the loop's business too.
	awaited atomic.Pointer[awaited]
}

// The stages of a try that claims.
const (
	beforeClaim int32 = iota // it renders the Job and asks Kubernetes; Prefect has no part in it
	atClaim                  // it reads and claims the run
	afterClaim               // it knows what came of that
)

// outcome of a try.
type outcome struct {
	*errand
	// result is a metric's and a log's label.
	result string
	// again is when to go on; zero when the errand is over.
	again time.Time
	// hold keeps a run whose errand is over from being planned until then.
	hold time.Time
	// err is what went wrong; blame is the upstream it belongs to, if any.
	err   error
	blame upstream
	// quiet is how long Prefect asked to be left alone.
	quiet time.Duration
}

// upstream is whose failure an outcome is.
type upstream int

const (
	none upstream = iota
	prefectAPI
	kubernetesAPI
	jobTemplate // the launcher's own
)

// Results, a closed set.
const (
	done      = "done"
	adopted   = "adopted"
	lost      = "lost"
	later     = "not_now"
	overtaken = "overtaken"
	failed    = "failed"
	returned  = "handed_back"
	restored  = "restored"
	broken    = "error"
	left      = "left"
	told      = "told"
	removed   = "removed"
	ignored   = "ignored"
)

// age is how long ago t was. A machine that slept has a monotonic clock that did
// not go on, so the wall clock has a say as well.
func age(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}
