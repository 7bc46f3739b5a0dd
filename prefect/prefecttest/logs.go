package prefecttest

import (
	"slices"
	"time"
)

// LogLine is one line of a flow run's log.
type LogLine struct {
	ID        string    `json:"id"`
	TaskRunID string    `json:"task_run_id,omitempty"`
	Name      string    `json:"name"`
	Level     string    `json:"level"`
	Message   string    `json:"message"`
	At        time.Time `json:"at"`
	Info      any       `json:"info,omitempty"`
}

type logInput struct {
	FlowRunID, TaskRunID *UUID
	Timestamp            *Time
	Name, Level, Message *string
	Info                 *JSON
}

// WriteRunLogs stores a batch or, when one line names an unknown run, none of it
// (prefect1-server §h). Lines without a run or a message are dropped.
func (q resolver) WriteRunLogs(args struct{ Input struct{ Logs []logInput } }) (*successPayload, error) {
	defer q.lock()()
	s := q.api.store
	for _, l := range args.Input.Logs {
		if l.FlowRunID != nil && s.runs[*l.FlowRunID] == nil || l.TaskRunID != nil && s.taskRuns[*l.TaskRunID] == nil {
			return nil, say("Foreign key violation.")
		}
	}
	for _, l := range args.Input.Logs {
		if l.FlowRunID == nil || l.Message == nil {
			continue
		}
		line := LogLine{
			ID: string(newID()), TaskRunID: string(deref(l.TaskRunID)), Name: deref(l.Name), Level: "INFO", Message: *l.Message,
			At: s.clock(), Info: deref(l.Info).Value,
		}
		if l.Level != nil {
			line.Level = *l.Level
		}
		if l.Timestamp != nil {
			line.At = l.Timestamp.Time
		}
		s.logs[*l.FlowRunID] = append(s.logs[*l.FlowRunID], line)
	}
	return ok(), nil
}

type logRow struct {
	flowRun UUID
	l       LogLine
}

func (r logRow) ID() UUID         { return UUID(r.l.ID) }
func (r logRow) FlowRunID() *UUID { return &r.flowRun }
func (r logRow) TaskRunID() *UUID { return optionalID(UUID(r.l.TaskRunID)) }
func (r logRow) Timestamp() *Time { return optionalTime(r.l.At) }
func (r logRow) Name() *string    { return optionalString(r.l.Name) }
func (r logRow) Level() *string   { return &r.l.Level }
func (r logRow) Message() *string { return &r.l.Message }
func (r logRow) Info() *JSON      { return optionalJSON(r.l.Info) }

type logExp struct {
	And, Or              *[]logExp
	Not                  *logExp
	FlowRunID, TaskRunID *uuidExp
	Timestamp            *timeExp
	Name, Level, Message *stringExp
}

func (e *logExp) match(r logRow) bool {
	return e == nil || (matchUUID(e.FlowRunID, r.flowRun) && matchUUID(e.TaskRunID, UUID(r.l.TaskRunID)) && matchTime(e.Timestamp, r.l.At) &&
		matchString(e.Name, r.l.Name) && matchString(e.Level, r.l.Level) && matchString(e.Message, r.l.Message) &&
		combine(e.And, e.Or, e.Not, func(inner *logExp) bool { return inner.match(r) }))
}

type logArgs struct {
	Where         *logExp
	OrderBy       *[]struct{ Timestamp, Level *string }
	Limit, Offset *int32
}

func (a logArgs) pick(rows []logRow) []logRow {
	kept := slices.DeleteFunc(rows, func(r logRow) bool { return !a.Where.match(r) })
	var by []ordering[logRow]
	for _, o := range deref(a.OrderBy) {
		by = append(by, byTime(o.Timestamp, func(r logRow) time.Time { return r.l.At }), byKey(o.Level, func(a, b logRow) int { return slices.Index(levels(), a.l.Level) - slices.Index(levels(), b.l.Level) }))
	}
	sortBy(kept, by)
	return page(kept, a.Limit, a.Offset)
}

func levels() []string { return []string{"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"} }

func (s *store) logRows(r *flowRun) []logRow {
	rows := []logRow{}
	for _, l := range s.logs[r.ID] {
		rows = append(rows, logRow{r.ID, l})
	}
	return rows
}

func (q resolver) Log(args logArgs) []logRow {
	defer q.lock()()
	rows := []logRow{}
	for _, r := range inOrder(q.api.store.runs, func(r *flowRun) int { return r.made }) {
		rows = append(rows, q.api.store.logRows(r)...)
	}
	return args.pick(rows)
}
