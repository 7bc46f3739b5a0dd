package chaos

import (
	"sync/atomic"
	"time"
)

// moment is how times are shown as evidence, so that they sort.
const moment = "15:04:05.000"

// runsPerLauncher is the trigger's; few, so that there are several launchers.
const runsPerLauncher = 40

// Sort is what becomes of a run.
type Sort string

const (
	// AdHoc runs are due at once.
	AdHoc Sort = "ad hoc"
	// Scheduled runs are due later.
	Scheduled Sort = "scheduled"
	// Retried runs are launched a second time without anybody's doing: for a task's retry,
	// or because their pod had to go.
	Retried Sort = "retried"
	// Restarted runs fail, and their author starts them again.
	Restarted Sort = "restarted"
	// Cancelled runs are cancelled at any moment, before or after their Job.
	Cancelled Sort = "cancelled"
)

// schedulings is how often runs of a sort are launched.
func (s Sort) schedulings() int {
	if s == Retried || s == Restarted {
		return 2
	}
	return 1
}

// World is a stand-in for a Prefect API with a clock that can be moved, and what people and
// pods do to it. They reach it without a proxy.
type World interface {
	// Settings are the environment of launchers and scalers for the API at a URL; their
	// template is the nth.
	Settings(url string, template int) []string
	// Metadata are those of the trigger.
	Metadata() map[string]string
	// Label is on each Job and has the run's id.
	Label() string
	// Start serves the API and returns its URL for settings.
	Start() (url string)
	// Move moves the API's clock away from everybody's.
	Move(by time.Duration)
	// Change has launchers that start from now on find the nth template.
	Change(template int)
	// Create creates a run that is due after in.
	Create(s Sort, in time.Duration) (id string)
	// Cancel is the UI's button.
	Cancel(id string)
	// Begin is a pod that begins with its run. It may run it if why not is empty; else it
	// may have to wait first.
	Begin(id string) (whyNot string, wait time.Duration)
	// End is the end of the nth pod that began with the run.
	End(id string, s Sort, n int) (ok bool)
	// Restart is the author who starts a failed run again.
	Restart(id string)
	// Look shows the runs as they are now.
	Look() map[string]Run
}

// Run is a flow run as people see it in the UI.
type Run struct {
	State            string
	Ended, Cancelled bool
	// History are its states and log lines, each with its time.
	History []string
}

// clock is a World's, which can be moved.
type clock struct{ off atomic.Int64 }

// Move moves it away from everybody's.
func (c *clock) Move(by time.Duration) { c.off.Store(int64(by)) }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }
