package job

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// Labels on every Job and its pods. The first three are the agent's own, byte
// for byte; the last is ours.
const (
	LabelIdentifier = "prefect.io/identifier"
	LabelFlowRunID  = "prefect.io/flow_run_id"
	LabelFlowID     = "prefect.io/flow_id"
	LabelAttempt    = "prefect-keda.io/attempt"
)

// prefixLength is how much of a template's name the agent keeps (prefect1-spec §4.2).
const prefixLength = 48

// defaultPrefix is the name of Jobs whose template gives none.
const defaultPrefix = "prefect-job"

// Name is the Job's name for an attempt at a run, and the identifier in it.
//
// The name is the lock: every launcher that sees the run claimable in the same
// state computes the same name, and Kubernetes lets a name exist once. It locks
// only while the Job exists. What stops a launcher that acts after the Job was
// deleted is the run's state, read right before acting, and the floor under
// the Job's time to live.
//
// n is 0, or the number of the try after that many names turned out to be taken
// by other runs' Jobs.
func Name(prefix, runID string, attempt prefect.Attempt, n int) (name, identifier string) {
	sum := sha256.Sum256([]byte(runID + "/" + string(attempt) + "/" + strconv.Itoa(n)))
	identifier = hex.EncodeToString(sum[:])[:8]
	// Characters, not bytes: the agent cuts a string. Kubernetes refuses anything
	// but ASCII in names anyway, and says so to the author.
	if runes := []rune(prefix); len(runes) > prefixLength {
		prefix = string(runes[:prefixLength])
	}
	// The identifier cannot follow a dot, or a dash behind a dot, where a cut may well
	// fall. (The agent's Jobs of such a template were refused.)
	prefix = unfinished.ReplaceAllString(prefix, "")
	if prefix == "" {
		prefix = defaultPrefix
	}
	return prefix + "-" + identifier, identifier
}

// WithName renames a rendered Job for try n, when the name of try n-1 belongs to
// another run's Job.
func WithName(j *batchv1.Job, runID string, attempt prefect.Attempt, n int) *batchv1.Job {
	j = j.DeepCopy()
	name, identifier := Name(PrefixOf(j.Name), runID, attempt, n)
	j.Name = name
	j.Labels[LabelIdentifier] = identifier
	j.Spec.Template.Labels[LabelIdentifier] = identifier
	return j
}

// PrefixOf is a Job's name without the identifier that Name put to it; empty when
// it has none.
func PrefixOf(name string) string {
	if i := len(name) - len("-") - 8; i > 0 && name[i] == '-' {
		return name[:i]
	}
	return ""
}

// NameVaries reports whether launchers may give a run's Job different names: the
// prefix is from a template that they read each for itself, and which may be edited
// between. The default is the same for all, and so is the run's inline template.
func NameVaries(run prefect.FlowRun, name string) bool {
	if PrefixOf(name) == defaultPrefix {
		return false
	}
	rc, err := DecodeRunConfig(run.ID, run.RunConfig)
	return err != nil || !rc.JobTemplate.isGiven()
}

var unfinished = regexp.MustCompile(`(\.-*)+$`) //nolint:gochecknoglobals // compiled once, never changed

var notLabel = regexp.MustCompile(`[^A-Za-z0-9_.-]+`) //nolint:gochecknoglobals // compiled once, never changed

// AttemptLabel is the attempt as a label's value may spell it.
func AttemptLabel(a prefect.Attempt) string {
	v := notLabel.ReplaceAllString(string(a), "-")
	if len(v) > 63 {
		sum := sha256.Sum256([]byte(v))
		v = v[:54] + "-" + hex.EncodeToString(sum[:])[:8]
	}
	return v
}
