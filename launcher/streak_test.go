package launcher

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/prefect-keda/prefect-keda/job"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// The operator is told of what does not pass by itself, once when it begins.
func TestOperatorIsToldOfWhatDoesNotPass(t *testing.T) {
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	for name, tc := range map[string]struct {
		upstream string
		err      error
		want     []string
	}{
		"Prefect is away":            {"prefect", errors.New("502"), nil},
		"the key":                    {"prefect", fmt.Errorf("query: %w", prefect.ErrAuth), []string{"PrefectKeyRefused: prefect: check PREFECT__CLOUD__API_KEY: query: " + prefect.ErrAuth.Error()}},
		"the template is wrong":      {"job_template", &job.TemplateError{Err: errors.New("it is a Pod"), Advice: "mend it, or set JOB_TEMPLATE (--job-template) to another"}, []string{"PrefectJobTemplateRefused: job_template: it is a Pod: mend it, or set JOB_TEMPLATE (--job-template) to another; runs without a template of their own wait"}},
		"the template is away":       {"job_template", &job.TemplateError{Err: errors.New("it is away"), Passing: true}, nil},
		"Kubernetes is away":         {"kubernetes", errors.New("connection refused"), nil},
		"a quota":                    {"kubernetes", apierrors.NewForbidden(jobs, "j", errors.New("exceeded quota: few")), nil},
		"a permission":               {"kubernetes", apierrors.NewForbidden(jobs, "j", errors.New("no")), []string{`PrefectLauncherForbidden: kubernetes: jobs.batch "j" is forbidden: no`}},
		"the namespace is not there": {"kubernetes", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "flows"), []string{`PrefectLauncherForbidden: kubernetes: namespaces "flows" not found`}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			s := failures{
				upstream: tc.upstream, log: slog.New(slog.DiscardHandler), gauge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"}),
				credentials: "PREFECT__CLOUD__API_KEY",
				operator:    func(reason, message string) { got = append(got, reason+": "+message) },
			}
			for range 3 {
				s.fail(t.Context(), time.Now(), tc.err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			s.succeed(t.Context(), time.Now())
			s.fail(t.Context(), time.Now(), tc.err)
			if len(got) != 2*len(tc.want) {
				t.Errorf("when it begins again: %q", got)
			}
		})
	}
}
