package launcher

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// linesPerBatch is small, because one unknown run in a request makes the backend send
	// the rest again.
	linesPerBatch = 50
	// lineDelay is how long a line waits for others; with a slow Prefect, lineShare times as
	// long as the last batch took, up to maxLineDelay.
	lineDelay    = 200 * time.Millisecond
	lineShare    = 4
	maxLineDelay = 5 * time.Second
	// linesWaiting may pile up while Prefect is slow; more are dropped.
	linesWaiting = 4096
	bytesWaiting = 8 << 20
	logTimeout   = 15 * time.Second
)

// flowLog writes to flow runs' logs, best effort and beside the work: a lost line never
// holds up a run.
type flowLog struct {
	backend Backend
	agent   string
	log     *slog.Logger
	metrics *metrics
	lines   chan *prefect.LogEntry
	bytes   atomic.Int64 // of the messages that wait
}

func newFlowLog(b Backend, agent string, log *slog.Logger, m *metrics) *flowLog {
	return &flowLog{backend: b, agent: agent, log: log, metrics: m, lines: make(chan *prefect.LogEntry, linesWaiting)}
}

func (f *flowLog) add(run string, level prefect.LogLevel, message string) {
	f.addAs(f.agent, run, level, message)
}

func (f *flowLog) addAs(name, run string, level prefect.LogLevel, message string) {
	size := int64(len(message))
	if f.bytes.Add(size) <= bytesWaiting {
		select {
		case f.lines <- &prefect.LogEntry{FlowRunID: run, Name: name, Level: level, Message: message, Time: time.Now()}:
			return
		default:
		}
	}
	f.bytes.Add(-size)
	f.metrics.linesDropped.Inc()
}

// write writes the lines until stop is closed, then the rest. ctx must outlive stop.
func (f *flowLog) write(ctx context.Context, stop <-chan struct{}) {
	var batch []prefect.LogEntry
	delay := lineDelay
	timer := time.NewTimer(delay)
	timer.Stop()
	defer timer.Stop()
	flush := func() {
		if len(batch) > 0 {
			began := time.Now()
			f.send(ctx, batch)
			batch = nil
			delay = min(max(lineDelay, lineShare*time.Since(began)), maxLineDelay)
		}
		timer.Stop()
	}
	take := func(line *prefect.LogEntry) {
		f.bytes.Add(-int64(len(line.Message)))
		if batch = append(batch, *line); len(batch) == 1 {
			timer.Reset(delay)
		}
		if len(batch) >= linesPerBatch {
			flush()
		}
	}
	for {
		select {
		case line := <-f.lines:
			take(line)
		case <-timer.C:
			flush()
		case <-stop:
			for {
				select {
				case line := <-f.lines:
					take(line)
				default:
					flush()
					return
				}
			}
		}
	}
}

func (f *flowLog) send(ctx context.Context, batch []prefect.LogEntry) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	if err := f.backend.Log(ctx, batch); err != nil {
		f.metrics.linesDropped.Add(float64(len(batch)))
		f.log.DebugContext(ctx, "lines of flow runs' logs were lost", "lines", len(batch), "err", err)
	}
}
