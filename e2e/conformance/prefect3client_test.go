//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	pep440 "github.com/aquasecurity/go-pep440-version"
	"github.com/google/go-cmp/cmp"

	model "github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
)

// The client and a real server understand each other: each request of the client is one
// that the server takes, and does what the stand-in does.
func TestClientAtRealServers(t *testing.T) {
	for version, of := range clientsServers() {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // much of the time is waiting
			server := newServer(t, of)
			server.start()
			clientWorks(t, server.url(), version)
		})
	}
}

// person is whoever uses a server by its API.
type person struct {
	*testing.T
	url string
}

func (p person) ask(method, path string, body, into any) {
	p.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		p.Fatal(err)
	}
	for try := 0; ; try++ {
		r, err := http.NewRequestWithContext(p.Context(), method, p.url+path, bytes.NewReader(text))
		if err != nil {
			p.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			p.Fatal(err)
		}
		var said json.RawMessage
		err = json.NewDecoder(answer.Body).Decode(&said)
		answer.Body.Close()
		switch {
		case answer.StatusCode == http.StatusServiceUnavailable && try < 10: // SQLite is busy
			time.Sleep(time.Second)
			continue
		case answer.StatusCode >= 300:
			p.Fatalf("%s %s: HTTP %d: %s", method, path, answer.StatusCode, said)
		case into != nil && err == nil:
			err = json.Unmarshal(said, into)
		}
		if into != nil && err != nil {
			p.Fatal(err)
		}
		return
	}
}

type id struct{ ID string }

func (p person) create(path string, body map[string]any) string {
	p.Helper()
	var made id
	p.ask(http.MethodPost, path, body, &made)
	return made.ID
}

func (p person) run(deployment string, due time.Time) string {
	p.Helper()
	return p.create("/deployments/"+deployment+"/create_flow_run", map[string]any{
		"state": map[string]any{"type": "SCHEDULED", "state_details": map[string]any{"scheduled_time": due.UTC().Format(time.RFC3339Nano)}},
	})
}

func (p person) set(run, kind string) {
	p.Helper()
	p.ask(http.MethodPost, "/flow_runs/"+run+"/set_state", map[string]any{"state": map[string]any{"type": kind}}, nil)
}

// clientWorks takes runs through what may become of them. Prefect 2 has no name for a run
// whose pod waits, no events, no leases and no slots of deployments (prefect3 §7.3).
func clientWorks(t *testing.T, url, version string) {
	server, err := pep440.Parse(version)
	must(t, err)
	since := func(first string) bool { return server.GreaterThanOrEqual(pep440.MustParse(first)) }
	is3 := since("3")
	c, err := prefect3.New(prefect3.Options{API: url, WorkerName: "conformance"})
	must(t, err)
	ctx := t.Context()
	p := person{T: t, url: url}

	// The stream of events tells of each run, before or while it is looked for.
	changes := make(chan struct{}, 1000)
	listening, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- c.Notify(listening, func() { changes <- struct{}{} }) }()
	defer func() { stop(); must(t, <-ended) }()
	told := func(what string) {
		t.Helper()
		for range 4 {
			if !is3 {
				return
			}
			select {
			case <-changes:
			case <-time.After(time.Minute):
				t.Fatalf("no change is told after %s", what)
			}
		}
	}
	told("connecting")
	time.Sleep(time.Second)

	unique := fmt.Sprint(time.Now().UnixNano())
	pool, wide := "Größe "+unique, "wide-"+unique
	p.create("/work_pools/", map[string]any{"name": pool, "type": "kubernetes", "concurrency_limit": 2})
	p.create("/work_pools/", map[string]any{"name": wide, "type": "kubernetes"})
	high := p.create("/work_pools/"+wide+"/queues", map[string]any{"name": "high", "priority": 1})
	flow := p.create("/flows/", map[string]any{"name": "flow-" + unique})
	deploy := func(name, pool, queue string, more map[string]any) string {
		body := map[string]any{"name": name + unique, "flow_id": flow, "work_pool_name": pool, "work_queue_name": queue, "enforce_parameter_schema": false, "job_variables": map[string]any{"image": "one"}}
		maps.Copy(body, more)
		return p.create("/deployments/", body)
	}
	narrow := deploy("narrow", pool, "default", nil)
	plain, urgent := deploy("plain", wide, "default", nil), deploy("urgent", wide, "high", nil)
	due := time.Now().Add(-time.Minute)
	var limited []string
	for n := range 3 {
		limited = append(limited, p.run(narrow, due.Add(time.Duration(n)*time.Second)))
	}
	first, fast := p.run(plain, due), p.run(urgent, due.Add(30*time.Second))
	told("runs were created")

	// What is due, in the server's order, within its limits.
	scope := model.Scope{Pools: []string{pool, wide}}
	offered := func(q model.DueQuery) []string {
		t.Helper()
		found, err := c.Due(ctx, q)
		must(t, err)
		var ids []string
		for _, r := range found.Runs {
			ids = append(ids, r.ID)
		}
		return ids
	}
	want := []string{fast, first}
	if diff := cmp.Diff(want, offered(model.DueQuery{Scope: model.Scope{Pools: []string{wide}}, Until: time.Now(), Limit: 10})); diff != "" {
		t.Errorf("due (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(limited[:2], offered(model.DueQuery{Scope: model.Scope{Pools: []string{pool}}, Until: time.Now(), Limit: 10})); diff != "" {
		t.Errorf("within the limit (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{fast}, offered(model.DueQuery{Scope: model.Scope{Pools: []string{wide}, Queues: []string{"high"}}, Until: time.Now(), Limit: 10})); diff != "" || high == "" {
		t.Errorf("of a queue (-want +got):\n%s", diff)
	}
	look := func() model.Observation {
		t.Helper()
		o, err := c.Observe(ctx, time.Now().Add(time.Minute))
		must(t, err)
		return o
	}
	if o := look(); !slices.ContainsFunc(o.Held, func(h model.HeldRun) bool { return h.ID == limited[2] }) || o.Truncated {
		t.Errorf("held: %+v, truncated %v", o.Held, o.Truncated)
	}

	// A claim, its Job, and what is told of both.
	read := func(id string) model.FlowRun {
		t.Helper()
		run, err := c.FlowRun(ctx, id)
		must(t, err)
		return run
	}
	claim := func(id string, answer model.Answer) (model.FlowRun, model.Claim) {
		t.Helper()
		run := read(id)
		note := model.Claim{Launcher: "l-1", Namespace: "flows", NamespaceUID: "8a2c7c4e-3d5f-4a37-9a51-0d8f6c1f0a10", Job: "job-" + id, Attempt: run.Attempt}
		r, err := c.Claim(ctx, run, note)
		must(t, err)
		if r.Answer != answer {
			t.Fatalf("the claim is answered %+v, want %s", r, answer)
		}
		return run, note
	}
	if !read(first).Fresh {
		t.Errorf("a new run is not fresh: %+v", read(first))
	}
	run, note := claim(first, model.Won)
	if r, err := c.Claim(ctx, run, note); err != nil || r.Answer != model.Won {
		t.Errorf("claimed again: %+v, %v", r, err)
	}
	if rows, err := c.Claimed(ctx, scope); err != nil || len(rows) != 1 || *rows[0].Claim != note {
		t.Errorf("claims: %+v, %v", rows, err)
	}
	in, err := c.Inputs(ctx, run)
	if err != nil || len(in.Flow)*len(in.Deployment)*len(in.WorkPool) == 0 || in.ServerVersion == "" {
		t.Errorf("inputs: %+v, %v", in, err)
	}
	must(t, c.Launched(ctx, run, note))
	must(t, c.Pending(ctx, read(first), "no node has room"))
	must(t, c.Pending(ctx, read(first), "the image cannot be pulled"))
	if now := read(first); now.Claim == nil || *now.Claim != note || since("3.6.22") && now.State.Name != "InfrastructurePending" {
		t.Errorf("while its pod waits: %+v", now)
	}
	must(t, c.Log(ctx, []model.LogEntry{{FlowRunID: first, Name: "launcher", Level: model.Info, Message: "Submitted\x00 for execution"}}))
	silent := func(active ...string) []model.JobRun {
		t.Helper()
		s, err := c.Supervise(ctx, []string{first}, active)
		must(t, err)
		if len(s.Troubled) != 1 {
			t.Errorf("troubled: %+v", s.Troubled)
		}
		return slices.DeleteFunc(s.Silent, func(r model.JobRun) bool { return r.ID != first })
	}
	if s := silent(); len(s) != 1 || s[0].Claim != note {
		t.Errorf("without its Job: %+v", s)
	}
	if s := silent(first); len(s) > 0 {
		t.Errorf("with its Job: %+v", s)
	}
	p.set(first, "RUNNING")
	if s := silent(); len(s) != 1 || s[0].Claim != note {
		t.Errorf("running without its Job: %+v", s)
	}
	must(t, c.Fail(ctx, read(first), model.Failure{Kind: model.ByInfrastructure, Message: "Kubernetes job was deleted"}))
	if h, err := c.History(ctx, first, note.Attempt); err != nil || h.Reached.Name != "Crashed" || len(h.Claims) != 1 {
		t.Errorf("its history: %+v, %v", h, err)
	}

	// A late claim revives it, and is undone.
	if r, err := c.Claim(ctx, run, note); err != nil || r.Answer != model.Lost || read(first).State.Name != "Crashed" || read(first).State.Message != "Kubernetes job was deleted" {
		t.Errorf("claimed late: %+v, %v; it is %+v", r, err, read(first).State)
	}

	// A claim that is handed back, and one whose run is cancelled before its pod begins.
	claim(fast, model.Won)
	back := read(fast)
	back.HandedBack = 1
	must(t, c.HandBack(ctx, back, time.Now(), "no pod began"))
	if now := read(fast); now.State.Phase != model.Waiting || now.State.Message != "no pod began" || now.Fresh {
		t.Errorf("handed back: %+v", now)
	}
	run, note = claim(fast, model.Won)
	if read(fast).HandedBack != 1 {
		t.Errorf("its hand-backs are not counted: %+v", read(fast))
	}
	must(t, c.Launched(ctx, run, note))
	p.set(fast, "CANCELLING")
	if s, err := c.Supervise(ctx, nil, []string{fast}); err != nil || len(s.Ending) != 1 || !s.Ending[0].NeverBegan {
		t.Errorf("being cancelled: %+v, %v", s, err)
	}
	must(t, c.Cancelled(ctx, read(fast), "no pod had begun"))

	must(t, c.Announce(ctx, scope))
	for _, name := range []string{pool, wide} {
		pools, err := c.WorkPools(ctx, name)
		if err != nil || len(pools) != 1 {
			t.Errorf("%+v, %v", pools, err)
		}
	}
	if _, ok, err := c.Variable(ctx, "none"); ok || err != nil {
		t.Errorf("a variable that is not there: %v, %v", ok, err)
	}
	if err := c.TryEvents(ctx); (err == nil) != is3 {
		t.Errorf("events: %v", err)
	}
	if !is3 {
		return
	}

	// A deployment's slot, its lease, and who waits for it.
	slot := deploy("slot", wide, "default", map[string]any{"concurrency_limit": 1})
	a, b := p.run(slot, due), p.run(slot, due)
	run, note = claim(a, model.Won)
	must(t, c.Launched(ctx, run, note))
	if by := time.Until(read(a).KeepBy); since("3.4.11") && by < time.Hour {
		t.Errorf("its lease must be renewed in %s", by)
	}
	claim(b, model.NotNow)
	if o := look(); !slices.ContainsFunc(o.Held, func(h model.HeldRun) bool { return h.ID == b }) {
		t.Errorf("held: %+v", o.Held)
	}
	p.set(a, "COMPLETED")
	if o := look(); !slices.ContainsFunc(o.Due, func(d model.DueRun) bool { return d.ID == b }) {
		t.Errorf("once the slot is free %+v are due", o.Due)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
