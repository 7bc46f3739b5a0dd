package framework

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// CreateRuns creates flow runs.
func (e *Env) CreateRuns(o prefecttest.Order) []string {
	e.t.Helper()
	ids, err := e.Prefect.CreateRuns(e.t.Context(), o)
	if err != nil {
		e.t.Fatal(err)
	}
	return ids
}

// NoPods is the run config of flow runs whose Jobs are created suspended, because the test
// ends at the Job. Hundreds of pods would keep the Job controller from those of other
// scenarios.
func NoPods() map[string]any {
	return KubernetesRun(map[string]any{
		"apiVersion": "batch/v1", "kind": "Job",
		"spec": map[string]any{"suspend": true, "template": map[string]any{"spec": map[string]any{
			"containers": []any{map[string]any{"name": "flow"}},
		}}},
	})
}

// KubernetesRun is a run config with a Job template of its own, as the Python
// client spells it.
func KubernetesRun(template any) map[string]any {
	return map[string]any{
		"type": "KubernetesRun", "__version__": "1.4.1", "job_template_path": nil, "job_template": template,
		"image": "registry.example/never-pulled:1", "image_pull_policy": "IfNotPresent", "image_pull_secrets": nil,
		"service_account_name": nil, "env": nil, "labels": []any{},
		"cpu_limit": nil, "cpu_request": nil, "memory_limit": nil, "memory_request": nil,
	}
}

// Runs reads flow runs; all of them without ids.
func (e *Env) Runs(ids ...string) []prefecttest.Run {
	e.t.Helper()
	runs, err := e.Prefect.Runs(e.t.Context(), ids...)
	if err != nil {
		e.t.Fatal(err)
	}
	return runs
}

// WaitForState waits until every one of the flow runs is in the state.
func (e *Env) WaitForState(ids []string, state string, within time.Duration) {
	e.t.Helper()
	e.Eventually(within, fmt.Sprintf("%d flow runs are %s", len(ids), state), func(ctx context.Context) (string, bool) {
		runs, err := e.Prefect.Runs(ctx, ids...)
		if err != nil {
			return err.Error(), false
		}
		states := map[string]int{}
		for _, r := range runs {
			states[r.State]++
		}
		return tally(states), states[state] == len(ids)
	})
}

// tally tells how many runs are in each state.
func tally(states map[string]int) string {
	var seen []string
	for _, s := range slices.Sorted(maps.Keys(states)) {
		seen = append(seen, fmt.Sprintf("%d %s", states[s], s))
	}
	return strings.Join(seen, ", ")
}

// AssertHistory fails unless the flow run went through exactly these states.
func (e *Env) AssertHistory(id string, want ...string) {
	e.t.Helper()
	var got []string
	for _, s := range e.Runs(id)[0].History {
		got = append(got, s.Type)
	}
	if !slices.Equal(got, want) {
		e.t.Errorf("flow run %s went through %v, want %v", id, got, want)
	}
}

// Cancel does what the UI's button does.
func (e *Env) Cancel(id string) {
	e.t.Helper()
	if err := e.Prefect.Cancel(e.t.Context(), id); err != nil {
		e.t.Fatal(err)
	}
}

// Break makes something go wrong with the Prefect API; Mend ends it.
func (e *Env) Break(f prefecttest.Fault) {
	e.t.Helper()
	if err := e.Prefect.Break(e.t.Context(), f); err != nil {
		e.t.Fatal(err)
	}
}

// Mend clears all faults.
func (e *Env) Mend() {
	e.t.Helper()
	if err := e.Prefect.Mend(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
}

// AssertMessage fails unless the message of the flow run's state holds the words.
func (e *Env) AssertMessage(id, words string) {
	e.t.Helper()
	if r := e.Runs(id)[0]; !strings.Contains(r.Message, words) {
		e.t.Errorf("flow run %s is %s with the message %q, which does not say %q", id, r.State, r.Message, words)
	}
}

// AssertLogged waits a moment for a line with the words in the flow run's log:
// logs are written after states, in batches.
func (e *Env) AssertLogged(id, words string) {
	e.t.Helper()
	e.Eventually(time.Minute, fmt.Sprintf("the log of flow run %s says %q", id, words), func(ctx context.Context) (string, bool) {
		runs, err := e.Prefect.Runs(ctx, id)
		if err != nil {
			return err.Error(), false
		}
		var lines []string
		for _, l := range runs[0].Logs {
			lines = append(lines, l.Message)
		}
		text := strings.Join(lines, "\n")
		return text, strings.Contains(text, words)
	})
}
