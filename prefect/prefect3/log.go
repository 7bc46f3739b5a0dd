package prefect3

import (
	"context"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

const (
	// maxLines of log go in one request.
	maxLines = 500
	// maxBatch bytes of log, and at most one line more, go in one request: Cloud takes
	// 5 MiB, and JSON may write a byte as six.
	maxBatch = 500_000
	// maxCloudText is the longest line that Cloud takes (prefect3 §1.10).
	maxCloudText = 25_000
)

// logLine is a line as the API takes it.
type logLine struct {
	Run       string `json:"flow_run_id"`
	Name      string `json:"name"`
	Level     int    `json:"level"`
	Message   string `json:"message"`
	Timestamp string `json:"timestamp"`
}

// levelOf is a level as a number.
func levelOf(l prefect.LogLevel) int {
	switch l {
	case prefect.Debug:
		return 10
	case prefect.Warning:
		return 30
	case prefect.Error:
		return 40
	}
	return 20
}

// Log writes lines into the logs of flow runs. The server takes lines of unknown runs, and
// nobody sees them.
func (c *Client) Log(ctx context.Context, entries []prefect.LogEntry) (err error) {
	defer exchange.Explain(&err, "write flow run logs")
	now := time.Now()
	var batch []logLine
	size := 0
	for i, e := range entries {
		if isUUID(e.FlowRunID) {
			line := c.lineOf(e, now)
			batch, size = append(batch, line), size+len(line.Message)
		}
		if len(batch) == 0 || len(batch) < maxLines && size < maxBatch && i < len(entries)-1 {
			continue
		}
		if err := c.wire.post(ctx, "logs", "/logs/", batch, nil); err != nil {
			return err
		}
		batch, size = nil, 0
	}
	return nil
}

func (c *Client) lineOf(e prefect.LogEntry, now time.Time) logLine {
	at := e.Time
	if at.IsZero() {
		at = now
	}
	text := storable(e.Message)
	if c.isCloud {
		text = shortened(text, maxCloudText)
	}
	return logLine{Run: e.FlowRunID, Name: e.Name, Level: levelOf(e.Level), Message: text, Timestamp: formatTime(at)}
}
