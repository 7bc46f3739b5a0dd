package prefect1

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
)

const (
	// maxLines of log go in one request: about 100 ms of the server's time.
	maxLines = 500
	// maxBatch bytes of log, and at most one line more, go in one request; the
	// server takes 5 MB, and JSON may write a byte as six.
	maxBatch = 500_000
	// maxText is the longest line or state message we send.
	maxText = 100_000
	// agentType is what the agent we replace registers as; the UI knows it.
	agentType = "KubernetesAgent"
	// prefetch is how far ahead the original agent asks its queue.
	prefetch = 10 * time.Second
)

// Log writes lines into the logs of flow runs. The server stores nothing of a
// batch that names a run it does not know, so such a batch is sent again run by
// run and only the unknown runs' lines are dropped.
func (c *Client) Log(ctx context.Context, entries []prefect.LogEntry) error {
	for batch := range batches(entries) {
		err := c.writeLogs(ctx, batch)
		var e *Error
		if errors.As(err, &e) && (e.kind == notFound || e.kind == rejected || e.kind == requestTooLarge || e.kind == unclear) {
			err = c.writeLogsByRun(ctx, batch, e)
		}
		if err != nil {
			return fmt.Errorf("write flow run logs: %w", err)
		}
	}
	return nil
}

// batches cuts entries into what one request may hold.
func batches(entries []prefect.LogEntry) iter.Seq[[]prefect.LogEntry] {
	return func(yield func([]prefect.LogEntry) bool) {
		start, size := 0, 0
		for i, e := range entries {
			if i > start && (i-start == maxLines || size >= maxBatch) {
				if !yield(entries[start:i]) {
					return
				}
				start, size = i, 0
			}
			size += min(len(e.Message), maxText)
		}
		if start < len(entries) {
			yield(entries[start:])
		}
	}
}

// writeLogsByRun is for a batch that was refused as a whole.
func (c *Client) writeLogsByRun(ctx context.Context, batch []prefect.LogEntry, refused error) error {
	byRun := map[string][]prefect.LogEntry{}
	var order []string
	for _, e := range batch {
		if byRun[e.FlowRunID] == nil {
			order = append(order, e.FlowRunID)
		}
		byRun[e.FlowRunID] = append(byRun[e.FlowRunID], e)
	}
	if len(order) == 1 {
		return c.tolerateUnknown(ctx, order[0], refused)
	}
	var failed []error
	for _, id := range order {
		failed = append(failed, c.tolerateUnknown(ctx, id, c.writeLogs(ctx, byRun[id])))
	}
	return errors.Join(failed...)
}

// tolerateUnknown drops the lines of a run that does not exist: nobody is left
// to read them.
func (c *Client) tolerateUnknown(ctx context.Context, id string, err error) error {
	if errors.Is(err, prefect.ErrNotFound) || !isUUID(id) {
		c.log.DebugContext(ctx, "dropped the log of an unknown flow run", "flow_run", id, "err", err)
		return nil
	}
	return err
}

func (c *Client) writeLogs(ctx context.Context, entries []prefect.LogEntry) error {
	lines := make([]runLog, 0, len(entries))
	for _, e := range entries {
		line := runLog{Flow_run_id: e.FlowRunID, Name: e.Name, Level: string(e.Level), Message: storable(e.Message)}
		if !e.Time.IsZero() {
			line.Timestamp = formatTime(e.Time)
		}
		lines = append(lines, line)
	}
	out, err := writeRunLogs(ctx, c.wire, writeRunLogsInput{Logs: lines})
	if err != nil {
		return err
	}
	if !out.Write_run_logs.Success {
		return &Error{Operation: "writeRunLogs", kind: unclear, detail: "the API did not accept the lines"}
	}
	return nil
}

// Heartbeat tells the server that a run is looked after, so that it is not
// rescheduled while its pod still waits. The server answers success for unknown
// runs as well (prefect1-server-facts f).
func (c *Client) Heartbeat(ctx context.Context, flowRunID string) error {
	if _, err := updateFlowRunHeartbeat(ctx, c.wire, flowRunID); err != nil {
		return fmt.Errorf("send heartbeat of flow run %s: %w", flowRunID, err)
	}
	return nil
}

// Announce makes the API show an agent that is alive: it registers once and
// asks the agent's queue, which is all the API goes by. What the queue answers
// is not used here.
func (c *Client) Announce(ctx context.Context, labels []string) error {
	if _, err := c.queue(ctx, labels, time.Now().Add(prefetch)); err != nil {
		return fmt.Errorf("announce the agent: %w", err)
	}
	return nil
}

// queue asks which runs the API would hand an agent with these labels.
func (c *Client) queue(ctx context.Context, labels []string, before time.Time) ([]string, error) {
	tenant, err := c.tenant(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.register(ctx, tenant, labels); err != nil {
		return nil, err
	}
	// A mutation by name, a read by nature: it moves only the agent's last-seen.
	out, err := read(ctx, func(ctx context.Context) (*getRunsInQueueResponse, error) {
		return getRunsInQueue(ctx, c.wire, getRunsInQueueInput{
			Before: formatTime(before), Labels: listOf(labels), Tenant_id: tenant,
		})
	})
	if err != nil {
		return nil, err
	}
	return out.Get_runs_in_queue.Flow_run_ids, nil
}

// register makes sure that we have an agent id. The server gives the same id
// for the same name and labels, so launchers share one and registering twice
// does no harm: it is retried like a read.
func (c *Client) register(ctx context.Context, tenant string, labels []string) error {
	if c.wire.agentID() != "" {
		return nil
	}
	input := registerAgentInput{Type: agentType, Name: c.agentName, Labels: listOf(labels), Tenant_id: tenant}
	if c.agentConfigID != "" {
		input.Agent_config_id = &c.agentConfigID
	}
	out, err := read(ctx, func(ctx context.Context) (*registerAgentResponse, error) {
		return registerAgent(ctx, c.wire, input)
	})
	if err != nil {
		return fmt.Errorf("register the agent: %w", err)
	}
	id := out.Register_agent.Id
	// A malformed id in the header makes the server fail writes after it has
	// applied them (prefect1-server-facts b), so none is better.
	if !isUUID(id) {
		return fmt.Errorf("register the agent: the API answered no agent id")
	}
	c.wire.agent.Store(&id)
	_, err = read(ctx, func(ctx context.Context) (*helloResponse, error) { return hello(ctx, c.wire) })
	return err
}

// listOf keeps an empty list from becoming null, which the server cannot take.
func listOf(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// storable makes a text that the API can keep: not too long, and without the
// NUL characters that PostgreSQL refuses.
func storable(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
