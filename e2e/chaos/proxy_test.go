package chaos

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const someRun = "0f9a6a1c-3e0a-4b53-9d3e-0a1b2c3d4e5f"

// upstream is a server that notes when it carried something out, and what.
type upstream struct {
	mu         sync.Mutex
	carriedOut []string
}

func (u *upstream) soFar() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.carriedOut)
}

// RoundTrip implements http.RoundTripper. A watch gets two pieces, the second after a minute.
func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	u.carriedOut = append(u.carriedOut, string(body))
	u.mu.Unlock()
	answer := io.NopCloser(strings.NewReader("done"))
	if r.URL.Query().Has("watch") {
		from, to := io.Pipe()
		answer = from
		stop := context.AfterFunc(r.Context(), func() { to.CloseWithError(r.Context().Err()) })
		go func() {
			defer stop()
			for _, piece := range []string{"one ", "two "} {
				io.WriteString(to, piece) //nolint:errcheck // the reader may have gone
				time.Sleep(time.Minute)
			}
			to.Close()
		}()
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: answer}, nil
}

// Each fault is what its name says, for the client and for the server: what the client gets
// and when, and how often and when the request was carried out.
func TestFaults(t *testing.T) {
	const lasts = 7 * time.Second
	for kind, want := range map[Kind]string{
		"":          "200 done after 0s; carried out 1 times",
		Refused:     "cut after 0s; carried out 0 times",
		Throttled:   "429 after 0s; carried out 0 times",
		Failed:      "503 after 0s; carried out 0 times",
		FailedNow:   "500 after 0s; carried out 1 times",
		Lost:        "cut after 0s; carried out 1 times",
		Twice:       "200 done after 0s; carried out 2 times",
		Slow:        "200 done after 7s; carried out 1 times",
		Late:        "cut after 0s; carried out 0 times, 1 in the end",
		WatchLags:   "200 one@7s two@1m0s after 2m0s; carried out 1 times",
		WatchBreaks: "200 one@0s after 7s; carried out 1 times",
		WatchGone:   "410 after 0s; carried out 0 times",
	} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var u upstream
				var concerned []string
				p := &proxy{upstream: &url.URL{Scheme: "http", Host: "server"}, transport: &u, strike: func(r request) (Fault, bool) {
					concerned = r.runs
					return Fault{Kind: kind, Lasts: lasts}, kind != ""
				}}
				path := "/jobs"
				if strings.HasPrefix(string(kind), "watch") {
					path += "?watch=1"
				}
				began := time.Now()
				got := outcome(p, httptest.NewRequest(http.MethodPost, path, strings.NewReader("claim "+someRun)))
				got += fmt.Sprintf(" after %s; carried out %d times", time.Since(began), len(u.soFar()))
				before := len(u.soFar())
				if p.late.Wait(); len(u.soFar()) != before {
					got += fmt.Sprintf(", %d in the end", len(u.soFar()))
				}
				if got != want {
					t.Errorf("%s\nwant %s", got, want)
				}
				if !slices.Equal(concerned, []string{someRun}) {
					t.Errorf("it concerns the runs %q", concerned)
				}
				for _, body := range u.soFar() {
					if body != "claim "+someRun {
						t.Errorf("carried out: %q", body)
					}
				}
				time.Sleep(5 * time.Minute) // the server writes on to a watch that has ended
			})
		})
	}
}

// outcome is what a client gets: a status with the text of a good answer, or a cut connection.
func outcome(p *proxy, r *http.Request) (got string) {
	defer func() {
		if recover() != nil {
			got = "cut"
		}
	}()
	w := httptest.NewRecorder()
	if r.URL.Query().Has("watch") {
		p.ServeHTTP(timed{w, time.Now()}, r)
	} else {
		p.ServeHTTP(w, r)
	}
	if w.Code != http.StatusOK {
		return fmt.Sprint(w.Code)
	}
	return strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body.String()))
}

// What a request is, for the plan: writes are struck more often, and Prefect 1 names its
// requests in their bodies.
func TestLook(t *testing.T) {
	p := &proxy{name: "launcher-0:"}
	for _, tc := range []struct{ method, path, body, want string }{
		{"POST", "/", `{"operationName": "SetStates", "query": "mutation SetStates { … }"}`, "launcher-0: SetStates write"},
		{"POST", "/", `{"operationName": "Due", "query": "query Due { … }"}`, "launcher-0: Due"},
		{"POST", "/api/flow_runs/filter", `{}`, "launcher-0: POST /api/flow_runs/filter"},
		{"POST", "/api/flow_runs/" + someRun + "/set_state", `{}`, "launcher-0: POST /api/flow_runs/ID/set_state write"},
		{"POST", "/apis/batch/v1/namespaces/flows/jobs", `{}`, "launcher-0: POST /apis/batch/v1/namespaces/flows/jobs write"},
		{"DELETE", "/apis/batch/v1/namespaces/flows/jobs/a", ``, "launcher-0: DELETE one Job write"},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{}`, "launcher-0: POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"},
		{"GET", "/apis/batch/v1/namespaces/flows/jobs?watch=true", ``, "launcher-0: watch /apis/batch/v1/namespaces/flows/jobs watch"},
	} {
		in := p.look(httptest.NewRequest(tc.method, tc.path, nil), []byte(tc.body))
		got := in.where
		if in.write {
			got += " write"
		}
		if in.watch {
			got += " watch"
		}
		if got != tc.want {
			t.Errorf("%s %s is %q, want %q", tc.method, tc.path, got, tc.want)
		}
	}
}

// The same seed has the same request struck by the same fault, in whatever order requests of
// other kinds come; another seed does not.
func TestPlanIsItsSeed(t *testing.T) {
	fates := func(seed uint64, between int) (all []Fault) {
		plan := NewPlan(seed)
		for range 300 {
			for range between {
				plan.strike(request{where: "others"})
			}
			if f, struck := plan.strike(request{where: "here", write: true}); struck {
				f.At = time.Time{}
				all = append(all, f)
			}
		}
		plan.End()
		if _, struck := plan.strike(request{where: "here", watch: true}); struck {
			t.Error("a fault after the end")
		}
		return all
	}
	equal := func(a, b []Fault) bool { return fmt.Sprint(a) == fmt.Sprint(b) }
	if one := fates(1, 0); !equal(one, fates(1, 3)) || equal(one, fates(2, 0)) || len(one) == 0 {
		t.Errorf("seed 1: %v", one)
	}
}

// A fault is survived unless it touched a broken run; one that names no run needs that none
// is broken.
func TestTable(t *testing.T) {
	plan := NewPlan(7)
	for _, f := range []Fault{{Kind: Lost, Runs: []string{"a"}}, {Kind: Lost, Runs: []string{"b"}}, {Kind: LauncherKilled}} {
		plan.note(f)
	}
	for broken, want := range map[string]string{"": "3 3", "b": "3 1", "other": "3 2"} {
		ids := []string{broken}
		if broken == "" {
			ids = nil
		}
		table := plan.Table(ids)
		lines := strings.Split(strings.TrimSpace(table), "\n")
		if got := strings.Join(strings.Fields(lines[len(lines)-1])[3:], " "); got != want {
			t.Errorf("with broken %q: %s, want %s\n%s", broken, got, want, table)
		}
	}
}

// timed says of each piece of an answer when it came.
type timed struct {
	*httptest.ResponseRecorder
	since time.Time
}

// Write is that of http.ResponseWriter.
func (w timed) Write(piece []byte) (int, error) {
	fmt.Fprintf(w.Body, "%s@%s ", strings.TrimSpace(string(piece)), time.Since(w.since))
	return len(piece), nil
}
