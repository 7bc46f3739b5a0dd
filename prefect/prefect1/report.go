package prefect1

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

const (
	// maxLines of log go in one request: they cost the server about 100 ms.
	maxLines = 500
	// maxBatch bytes of log, and at most one line more, go in one request; the
	// server takes 5 MB, and JSON may write a byte as six.
	maxBatch = 500_000
	// maxText is the longest line or state message we send.
	maxText = 100_000
	// agentType is the type of the original agent; the UI knows it.
	agentType = "KubernetesAgent"
	// keepFor is how long a heartbeat is good for. The server reschedules a run whose
	// heartbeat is 10 minutes old, and fails it the fourth time (prefect1-server §f), so
	// one may be lost.
	keepFor = 3 * time.Minute
	// prefetch is how far ahead the original agent asks its queue.
	prefetch = 10 * time.Second
)

// Log writes lines into the logs of flow runs. The server stores nothing of a batch that
// names an unknown run, so Log sends such a batch again run by run and drops only the
// unknown runs' lines.
func (c *Client) Log(ctx context.Context, entries []prefect.LogEntry) (err error) {
	defer exchange.Explain(&err, "write flow run logs")
	for len(entries) > 0 {
		batch := entries[:fitting(entries)]
		err := c.writeLogs(ctx, batch)
		var e *Error
		if errors.As(err, &e) && (e.kind == notFound || e.kind == rejected || e.kind == requestTooLarge || e.kind == unclear) {
			err = c.writeLogsByRun(ctx, batch, e)
		}
		if err != nil {
			return err
		}
		entries = entries[len(batch):]
	}
	return nil
}

// fitting is how many of the entries one request may hold.
func fitting(entries []prefect.LogEntry) int {
	size := 0
	for i, e := range entries {
		if i == maxLines || size >= maxBatch {
			return i
		}
		size += min(len(e.Message), maxText)
	}
	return len(entries)
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

// Keep sends a heartbeat, so that the server does not reschedule a run whose pod still
// waits, or a Running run whose tasks wait for a launcher to claim their retry. It
// returns by when to send the next. The server answers success for unknown runs as well
// (prefect1-server §f).
func (c *Client) Keep(ctx context.Context, run prefect.FlowRun) (next time.Time, err error) {
	if _, err := updateFlowRunHeartbeat(ctx, c.wire, run.ID); err != nil {
		return time.Time{}, fmt.Errorf("send heartbeat of flow run %s: %w", run.ID, err)
	}
	return time.Now().Add(keepFor), nil
}

// keepBy is the time by which a claimed run needs a heartbeat: keepFor after its claim,
// or after its last one.
func keepBy(claimed, heartbeat time.Time) time.Time {
	if heartbeat.After(claimed) {
		claimed = heartbeat
	}
	return claimed.Add(keepFor)
}

// Announce makes the API show a live agent: it registers once and asks the agent's queue,
// because the API goes by nothing else. It ignores the queue's answer.
func (c *Client) Announce(ctx context.Context, scope prefect.Scope) (err error) {
	defer exchange.Explain(&err, "announce the agent")
	_, err = c.queue(ctx, scope.Labels, time.Now().Add(prefetch))
	return err
}

// queue asks which runs the API would hand an agent with these labels.
func (c *Client) queue(ctx context.Context, labels []string, before time.Time) ([]string, error) {
	tenant, err := c.TenantID(ctx)
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

// register gets us an agent id. The server gives the same id for the same name and
// labels, so launchers share one, and registering twice does no harm: it is retried like
// a read.
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
	// The server fails writes with a malformed id in the header after it has applied them
	// (prefect1-server §b), so we send none.
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
