package fake

import (
	"net/http"
	"time"
)

// LogLine is a line of a flow run's log.
type LogLine struct {
	Name    string
	Level   int
	Message string
	At      time.Time
}

// log takes lines of any run, also of one that is not there (prefect3 §1.10).
func (a *API) log(q *ask) (int, any) {
	var lines []struct {
		Name    string  `json:"name"`
		Level   int     `json:"level"`
		Message string  `json:"message"`
		At      stamp   `json:"timestamp"`
		RunID   *string `json:"flow_run_id"`
		TaskRun *string `json:"task_run_id"`
		Worker  *string `json:"worker_id"`
	}
	if member := unknown(q.body, &lines); member != "" {
		return q.invalid(extra(member))
	}
	if status, out := q.decode(&lines); status != 0 {
		return status, out
	}
	var inputs []any
	q.decode(&inputs)
	for i, l := range lines {
		if l.At.IsZero() {
			return q.invalid(problem{Type: "missing", Loc: []any{i, "timestamp"}, Msg: "Field required", Input: inputs[i]})
		}
	}
	for _, l := range lines {
		a.store.logs[deref(l.RunID)] = append(a.store.logs[deref(l.RunID)], LogLine{l.Name, l.Level, l.Message, l.At.Time})
	}
	return http.StatusCreated, nothing
}
