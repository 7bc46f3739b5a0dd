package prefect_test

import (
	"context"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

func TestTooLateToSend(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		ctx  context.Context
		want bool
	}{
		"no bound": {t.Context(), false},
		"in time":  {prefect.WithSendBy(t.Context(), now.Add(time.Hour)), false},
		"late":     {prefect.WithSendBy(t.Context(), now.Add(-time.Nanosecond)), true},
	} {
		if got := prefect.TooLateToSend(tc.ctx); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
