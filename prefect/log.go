package prefect

import "time"

// LogLevel is a level of a flow run's log, spelled as the API spells it.
type LogLevel string

// The levels Prefect 1.x accepts from us.
const (
	Debug   LogLevel = "DEBUG"
	Info    LogLevel = "INFO"
	Warning LogLevel = "WARNING"
	Error   LogLevel = "ERROR"
)

// LogEntry is a line in a flow run's log, where the flow's author reads it.
type LogEntry struct {
	FlowRunID string
	// Name is the logger's name the UI shows beside the line.
	Name    string
	Level   LogLevel
	Message string
	// Time is when it happened; zero lets the server stamp it.
	Time time.Time
}
