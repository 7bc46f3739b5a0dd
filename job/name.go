package job

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// prefixLength is how much of a template's name the agent keeps (prefect1 §4.2).
const prefixLength = 48

// DefaultPrefix is the name of Jobs whose template gives none.
const DefaultPrefix = "prefect-job"

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
	if strings.Contains(prefix, ".") {
		prefix = unfinished.ReplaceAllString(prefix, "")
	}
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return prefix + "-" + identifier, identifier
}

// PrefixOf is a Job's name without the identifier that Name put to it; empty when
// it has none.
func PrefixOf(name string) string {
	if i := len(name) - len("-") - 8; i > 0 && name[i] == '-' {
		return name[:i]
	}
	return ""
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
