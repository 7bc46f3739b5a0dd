package prefect

import "time"

// LogLevel is a level of a flow run's log, in the API's spelling.
type LogLevel string

// The levels that we write.
const (
	Debug   LogLevel = "DEBUG"
	Info    LogLevel = "INFO"
	Warning LogLevel = "WARNING"
	Error   LogLevel = "ERROR"
)

// LogEntry is a line in a flow run's log, where the flow's author reads it.
type LogEntry struct {
	FlowRunID string
	// Name is the logger's name; the UI shows it beside the line.
	Name    string
	Level   LogLevel
	Message string
	// Time is when it happened; zero for the server's time.
	Time time.Time
}
