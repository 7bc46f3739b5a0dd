package page

import (
	"fmt"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/trouble"
)

// Where is a place for people. No name of a work pool has a slash.
func (p Place) Where() string {
	switch {
	case p.WorkPool != "":
		return p.WorkPool + " / " + p.WorkQueue
	case len(p.Labels) > 0:
		return strings.Join(p.Labels, ", ")
	}
	return "(none)"
}

// Meaning is a kind of trouble, or of waiting, in words.
func Meaning(k trouble.Kind) string {
	return map[trouble.Kind]string{
		trouble.Failed:        "it has failed",
		trouble.ImagePull:     "an image cannot be pulled",
		trouble.Container:     "a container cannot be started",
		trouble.CrashLoop:     "a container ends again and again",
		trouble.Unstarted:     "its pod has a node and does not start",
		trouble.Unschedulable: "no node takes its pod",
		trouble.Outlived:      "its flow has ended and its pod has not",
		trouble.Sidecar:       "a container beside the flow is in trouble",
		trouble.NoPods:        "no pod is created for it",
		trouble.Cancelling:    "its flow does not react to being cancelled",
		trouble.Cancelled:     "its run was cancelled and it is still there",
		trouble.JobGone:       "it is gone and its run is still Running",
		NoJob:                 "its Job is not created",
		trouble.Spent:         "the run's log says how it ended, and the Job is to be removed",
	}[k]
}

// NoJob is the kind of a claim whose Job is not created, because of a quota of Jobs or a
// permission.
const NoJob trouble.Kind = "no_job"

// lasted is a duration for people: two units at most.
func lasted(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return units(int(d/time.Minute), "min", int(d%time.Minute/time.Second), "s")
	case d < 24*time.Hour:
		return units(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
	}
	return units(int(d/(24*time.Hour)), "d", int(d%(24*time.Hour)/time.Hour), "h")
}

func units(n int, unit string, m int, smaller string) string {
	if m == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, m, smaller)
}

// count is a number of things.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// grouped has a comma between thousands.
func grouped(n int) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}

func podHours(h float64) string { return fmt.Sprintf("%.1f h", h) }

func gigabyteHours(bytes float64) string { return fmt.Sprintf("%.2f GB·h", bytes/1e9) }

func megabytes(bytes int64) string { return fmt.Sprintf("%d MB", bytes/1e6) }
