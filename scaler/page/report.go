// Package page shows people what the scaler tells KEDA and why: as JSON, and as a page that
// works in any browser, without scripts and without anything from elsewhere.
//
// Writing either is a pure function of a Report. The package asks nobody and decides nothing
// but what comes first: what is wrong.
package page

import (
	"encoding/json"
	"io"
	"time"

	"github.com/prefect-keda/prefect-keda/scaler/hour"
	"github.com/prefect-keda/prefect-keda/trouble"
)

// Report explains each number.
type Report struct {
	At time.Time `json:"at"`
	// Since is the scaler's start: it knows nothing of the time before.
	Since         time.Time        `json:"since"`
	ScaledObjects List[Object]     `json:"scaled_objects"`
	Refused       List[Refusal]    `json:"refused"`
	Connections   List[Connection] `json:"connections"`
	Saved         Saved            `json:"saved"`
}

// Object is one trigger of a ScaledObject.
type Object struct {
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	Connection string `json:"connection"`
	Scope
	Active        bool         `json:"active"`
	Value         int64        `json:"value"`
	Target        int64        `json:"target"`
	Launchers     int64        `json:"launchers"`
	Demand        int64        `json:"demand"`
	Due           int64        `json:"due"`
	DueWithin     int64        `json:"due_within_lead"`
	WithoutJob    int64        `json:"claims_without_job"`
	HeartbeatsDue int64        `json:"heartbeats_due,omitempty"`
	Troubled      KindCounts   `json:"jobs_in_trouble,omitempty"`
	WarmUpLead    string       `json:"warm_up_lead"`
	FirstRuns     List[string] `json:"first_runs"`
	NextWake      *time.Time   `json:"next_wake"`
	Reason        string       `json:"reason"`
	Untaken       string       `json:"untaken,omitempty"`
	// Refused says why it is refused now; all other fields are then of the last verdict.
	Refused      string       `json:"refused,omitempty"`
	Err          string       `json:"err,omitempty"`
	LastAsked    time.Time    `json:"last_asked"`
	OpenStreams  int64        `json:"open_streams"`
	MetadataSeen List[string] `json:"metadata_keys"`
	// Hour is of the ScaledObject, so its triggers share it; nil if nobody remembers it.
	Hour *hour.Timeline `json:"-"`
}

// Refusal is a ScaledObject that was refused lately.
type Refusal struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Err       string    `json:"err"`
	At        time.Time `json:"last_asked"`
}

// Connection is a Prefect API, with its runs and Jobs.
type Connection struct {
	Name      string `json:"name"`
	Age       string `json:"snapshot_age"`
	Failures  int    `json:"consecutive_failures"`
	Err       string `json:"err,omitempty"`
	Truncated bool   `json:"truncated"`
	TooLarge  bool   `json:"runs_too_large,omitempty"`
	// Frozen is set while KEDA gets errors instead of answers.
	Frozen bool `json:"-"`
	// Heading is that of a column of places.
	Heading string `json:"-"`
	// RunURL is the address of a run in Prefect's UI; nil where that is not known.
	RunURL        func(id string) string `json:"-"`
	PollEvery     string                 `json:"poll_every,omitempty"`
	Unserved      List[Unserved]         `json:"unserved"`
	Held          []Held                 `json:"held,omitempty"`
	HeldRuns      int                    `json:"held_runs,omitempty"`
	WithoutJob    List[Claim]            `json:"claims_without_job"`
	HeartbeatsDue []Claim                `json:"heartbeats_due,omitempty"`
	Troubled      List[Job]              `json:"jobs_in_trouble"`
	Stuck         List[Stuck]            `json:"stuck"`
	StuckRuns     int                    `json:"stuck_runs"`
	WaitLimit     string                 `json:"stuck_limit,omitempty"`
	Unsynced      []string               `json:"job_namespaces_not_listed,omitempty"`
	Longest       []Wait                 `json:"waiting_longest,omitempty"`
	Launched      []Launched             `json:"last_runs,omitempty"`
}

// Unserved holds due runs at a place that no ScaledObject serves that asked lately: the
// most frequent reason why a run does not start.
type Unserved struct {
	Place
	Due       int          `json:"due"`
	FirstRuns List[string] `json:"first_runs"`
}

// Held holds due runs that Prefect holds back.
type Held struct {
	Place
	Why       string       `json:"why"`
	Runs      int          `json:"runs"`
	FirstRuns List[string] `json:"first_runs"`
}

// Claim is a run that a launcher has claimed.
type Claim struct {
	FlowRun string `json:"flow_run"`
	Place
	Launcher   string    `json:"launcher"`
	Namespace  string    `json:"namespace"`
	Job        string    `json:"job"`
	Attempt    string    `json:"attempt"`
	CountsFrom time.Time `json:"counts_from"`
}

// KindCounts are numbers of Jobs.
type KindCounts map[trouble.Kind]int64

// Job is one in trouble.
type Job struct {
	FlowRun string `json:"flow_run"`
	Place
	Namespace  string       `json:"namespace"`
	Job        string       `json:"job"`
	Kind       trouble.Kind `json:"kind"`
	Message    string       `json:"message"`
	CountsFrom time.Time    `json:"counts_from"`
}

// Stuck is a run that waits for something outside of Prefect.
type Stuck struct {
	FlowRun string `json:"flow_run"`
	Place
	Namespace string       `json:"namespace"`
	Job       string       `json:"job"`
	Kind      trouble.Kind `json:"kind"`
	Message   string       `json:"message"`
	Since     time.Time    `json:"since"`
	FailsAt   *time.Time   `json:"fails_at"`
}

// Wait is one of the runs that wait longest.
type Wait struct {
	FlowRun string `json:"flow_run"`
	Place
	// For is what it waits for, in words.
	For   string    `json:"for"`
	Since time.Time `json:"since"`
}

// Launched is one of the last runs that got a Job.
type Launched struct {
	FlowRun string `json:"flow_run"`
	// Noted is set if its launcher told what follows.
	Noted bool   `json:"-"`
	Name  string `json:"name,omitempty"`
	Flow  string `json:"flow,omitempty"`
	Place
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
	// The times are zero where they are not known.
	Due     time.Time  `json:"due,omitzero"`
	Claimed time.Time  `json:"claimed,omitzero"`
	Created time.Time  `json:"job_created"`
	Running time.Time  `json:"running,omitzero"`
	Stage   hour.Stage `json:"stage"`
}

// Saved compares what is up with what would be up without us.
type Saved struct {
	Since time.Time `json:"since"`
	// Of are the connections.
	Of List[SavedOf] `json:"connections"`
	// ScalerBytes is the memory of a scaler, LauncherBytes that of a launcher.
	ScalerBytes   int64 `json:"scaler_bytes"`
	LauncherBytes int64 `json:"launcher_bytes"`
}

// SavedOf is a connection's part.
type SavedOf struct {
	Connection string `json:"connection"`
	// Replaces names what would always be up, with the memory of one.
	Replaces      string `json:"replaces"`
	ReplacedBytes int64  `json:"replaced_bytes"`
	// ReplacedFor and LaunchersFor are pod-hours.
	ReplacedFor  float64 `json:"replaced_pod_hours"`
	LaunchersFor float64 `json:"launcher_pod_hours"`
}

// Scope is what the launchers of a trigger serve.
type Scope struct {
	Labels List[string] `json:"labels"`
	// WorkPools are nil for a connection without work pools, and empty for all of them.
	WorkPools  List[string] `json:"work_pools,omitzero"`
	WorkQueues List[string] `json:"work_queues,omitempty"`
	// Serves is all that in words.
	Serves string `json:"-"`
}

// Place is where a run waits, or waited.
type Place struct {
	Labels    List[string] `json:"labels"`
	WorkPool  string       `json:"work_pool,omitempty"`
	WorkQueue string       `json:"work_queue,omitempty"`
}

// List is one that JSON writes as [] when it is empty, and not as null.
type List[T any] []T

// MarshalJSON implements json.Marshaler.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// JSON writes the report for programs.
func JSON(w io.Writer, r Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
