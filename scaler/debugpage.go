package scaler

import (
	_ "embed"
	"html/template"
	"sync"
	"time"

	"github.com/prefect-keda/prefect-keda/trouble"
)

//go:embed debugpage.html
var debugPageText string //nolint:gochecknoglobals // embedded text

// debugPage is the report as HTML. Its template is parsed at the first request.
//
//nolint:gochecknoglobals // parsed once, never changed
var debugPage = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"clock":   func(t time.Time) string { return t.Format(time.TimeOnly) },
		"date":    func(t time.Time) string { return t.Format("2006-01-02 15:04:05") },
		"meaning": meaning,
	}).Parse(debugPageText))
})

// meaning is a kind of trouble in words.
func meaning(k trouble.Kind) string {
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
		noJob:                 "its Job is not created",
		trouble.Spent:         "the run's log says how it ended, and the Job is to be removed",
	}[k]
}
