package prefect1_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// moving is a run that changes during a poll: after the first part of an answer it goes
// from one state to another.
type moving struct {
	*prefecttest.API
	*prefect1.Client
	t  *testing.T
	id string
}

func newMoving(t *testing.T, from, to string, first ...string) moving {
	t.Helper()
	api, c := serve(t)
	m := moving{api, c, t, api.CreateRuns(prefecttest.Order{FlowID: api.CreateFlow(prefecttest.FlowSpec{Tasks: []string{"task"}})})[0]}
	m.become(from)
	api.Split(func(next string) {
		if next != "tenant" && to != "" {
			m.become(to)
			to = ""
		}
	}, first...)
	return m
}

// become puts the run where a part of a poll finds it.
func (m moving) become(part string) {
	m.t.Helper()
	task := map[string]any{"type": "Pending"}
	switch part {
	case "due":
		set(m.t, m.API, m.id, "Scheduled")
	case "retrying":
		set(m.t, m.API, m.id, "Running")
		task = map[string]any{"type": "Retrying", "start_time": time.Now().Add(-time.Minute).Format(time.RFC3339)}
	case "claimed":
		m.API.RestartAPI()
		r, err := m.Claim(m.t.Context(), prefect.FlowRun{ID: m.id, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}, claim)
		if err != nil || r.Answer != prefect.Won {
			m.t.Fatal(r, err)
		}
	default:
		set(m.t, m.API, m.id, part)
	}
	if err := m.SetTaskState(m.Runs(m.id)[0].TaskRuns[0].ID, task); err != nil {
		m.t.Fatal(err)
	}
}

// The parts of a poll are of different moments. A run that two of them show counts once,
// and the next poll finds a run that none of them showed.
func TestARunThatMovesCountsOnce(t *testing.T) {
	type counts struct{ Due, Claimed int }
	parts := []string{"due", "retrying", "claimed"}
	for _, from := range parts {
		for _, to := range parts {
			for _, first := range []string{from, to} {
				if from == to {
					continue
				}
				t.Run(from+" to "+to+", seen first: "+first, func(t *testing.T) {
					m := newMoving(t, from, to, first)
					look := func() counts {
						o, err := m.Observe(t.Context(), time.Now())
						if err != nil {
							t.Fatal(err)
						}
						return counts{len(o.Due), len(o.Claimed)}
					}
					in := map[string]counts{"due": {1, 0}, "retrying": {1, 0}, "claimed": {0, 1}}
					want := counts{} // seen nowhere
					if first == from {
						want = in[from]
						if to == "claimed" {
							want = in[to]
						}
					}
					if got := look(); got != want {
						t.Errorf("counted %+v, want %+v", got, want)
					}
					if got := look(); got != in[to] {
						t.Errorf("the next look counts %+v, want %+v", got, in[to])
					}
				})
			}
		}
	}
}

// Nobody knows the state of a run that was seen in two. A claim upon the wrong one would
// set a running run back.
func TestARunThatMovesIsNotDueInThatLook(t *testing.T) {
	for _, tc := range [][3]string{
		{"due", "retrying", "due"}, {"due", "retrying", "retrying"}, {"retrying", "due", "due"}, {"retrying", "due", "retrying"},
	} {
		from, to, first := tc[0], tc[1], tc[2]
		t.Run(from+" to "+to+", seen first: "+first, func(t *testing.T) {
			m := newMoving(t, from, to, first)
			steady := m.CreateRuns(prefecttest.Order{})
			want := map[string][]string{}
			due := func() map[string][]string {
				found, err := m.Due(t.Context(), prefect.DueQuery{Until: time.Now().Add(time.Minute), Limit: 10})
				if err != nil {
					t.Fatal(err)
				}
				states := map[string][]string{}
				for _, r := range found.Runs {
					states[r.ID] = append(states[r.ID], r.State.Name)
				}
				return states
			}
			want[steady[0]] = []string{"Scheduled"}
			if diff := cmp.Diff(want, due()); diff != "" {
				t.Errorf("due (-want +got):\n%s", diff)
			}
			want[m.id] = []string{map[string]string{"due": "Scheduled", "retrying": "Running"}[to]}
			if diff := cmp.Diff(want, due()); diff != "" {
				t.Errorf("due in the next look (-want +got):\n%s", diff)
			}
		})
	}
}

// A run that one part of the answer shows as ended is not silent by another.
func TestARunThatEndsIsNotSilent(t *testing.T) {
	for _, tc := range []struct {
		as, becomes string // the run's part in the question, and its next state
		silent      int
	}{
		{"troubled", "Cancelling", 1},
		{"troubled", "Cancelled", 0},
		{"troubled", "Success", 0},
		{"active", "Cancelling", 1},
		{"active", "Cancelled", 0},
		{"active", "Success", 0},
	} {
		t.Run(tc.as+" "+tc.becomes, func(t *testing.T) {
			m := newMoving(t, "claimed", "")
			m.become("Running")
			m.SetHeartbeat(m.id, time.Now().Add(-time.Hour))
			m.Split(func(next string) {
				if next == "troubled" {
					m.become(tc.becomes)
				}
			}, "silent", "troubled")
			ids := map[string][]string{tc.as: {m.id}}
			s, err := m.Supervise(t.Context(), ids["troubled"], ids["active"])
			if err != nil || len(s.Silent) != tc.silent {
				t.Errorf("silent: %+v, %v; want %d", s.Silent, err, tc.silent)
			}
		})
	}
}

// A claim may be sent right away only upon a question asked right before, however long
// the answer took and however much had to be asked again.
func TestARunIsAsOldAsTheQuestion(t *testing.T) {
	for name, read := range map[string]func(ctx context.Context, c *prefect1.Client, id string) ([]prefect.FlowRun, error){
		"due": func(ctx context.Context, c *prefect1.Client, _ string) ([]prefect.FlowRun, error) {
			found, err := c.Due(ctx, prefect.DueQuery{Until: time.Now(), Limit: 10})
			return found.Runs, err
		},
		"claimed": func(ctx context.Context, c *prefect1.Client, _ string) ([]prefect.FlowRun, error) {
			return c.Claimed(ctx, prefect.Scope{})
		},
		"one": func(ctx context.Context, c *prefect1.Client, id string) ([]prefect.FlowRun, error) {
			run, err := c.FlowRun(ctx, id)
			return []prefect.FlowRun{run}, err
		},
	} {
		for flow, storage := range map[string]any{"small": nil, "too large": large(1100)} {
			t.Run(name+" "+flow, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					api := prefecttest.New(prefecttest.Options{})
					id := api.CreateRuns(prefecttest.Order{FlowID: api.CreateFlow(prefecttest.FlowSpec{Storage: storage})})[0]
					op, asked := map[string]string{"due": "dueRuns", "claimed": "claimedRuns", "one": "flowRun"}[name], time.Time{}
					if storage != nil && name != "claimed" {
						op = "largeRun"
					}
					c, err := prefect1.New(prefect1.Options{
						Backend: prefect1.Server, TenantID: api.Tenant(), MaxAnswer: maxAnswer, HTTPTransport: transport(func(r *http.Request) (*http.Response, error) {
							body, err := io.ReadAll(r.Body)
							if err != nil {
								return nil, err
							}
							if r.Body = io.NopCloser(bytes.NewReader(body)); bytes.Contains(body, []byte("query "+op+" (")) {
								asked = time.Now()
							}
							time.Sleep(time.Second)
							defer time.Sleep(time.Second)
							return api.Transport().RoundTrip(r)
						}),
					})
					if err != nil {
						t.Fatal(err)
					}
					if name == "claimed" {
						if r, err := c.Claim(t.Context(), prefect.FlowRun{ID: id, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}, claim); err != nil || r.Answer != prefect.Won {
							t.Fatal(r, err)
						}
					}
					api.Break(prefecttest.Fault{Operation: "flow_run", Times: 1, Status: http.StatusBadGateway})
					runs, err := read(t.Context(), c, id)
					if err != nil || len(runs) != 1 {
						t.Fatal(runs, err)
					}
					if !runs[0].ReadAt.Equal(asked) {
						t.Errorf("read at %s, which was asked at %s", runs[0].ReadAt, asked)
					}
				})
			})
		}
	}
}
