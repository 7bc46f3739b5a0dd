package prefect1_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect1"
)

func TestOptionsAreCheckedAllAtOnce(t *testing.T) {
	_, err := prefect1.New(prefect1.Options{
		API: "localhost:4200", Backend: "clowd", Key: "k\n", TenantID: "t", AgentConfigID: "c", RequestTimeout: -1,
	})
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`the backend must be "server" or "cloud", not "clowd"`,
		`the API URL must look like http://host:4200 or https://api.prefect.io`,
		`the API key has white space around or control characters in it`,
		`the tenant id must be a UUID, not "t"`,
		`the agent config id must be a UUID, not "c"`,
		`the request time-out must not be negative`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
	for _, o := range []prefect1.Options{
		{Backend: prefect1.Cloud},
	} {
		if _, err := prefect1.New(o); err == nil {
			t.Errorf("accepted %v", o)
		}
	}
	if _, err := prefect1.New(prefect1.Options{Backend: prefect1.Server}); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

// Several connections of one process count on the same registry.
func TestClientsShareMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	for range 2 {
		if _, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, Registerer: reg}); err != nil {
			t.Fatal(err)
		}
	}
}

// transport works in memory, so that time can be synctest's.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// script is a transport that answers call by call.
type script struct {
	answers []func() (*http.Response, error)
	at      []time.Duration
	started time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	i := len(s.at)
	s.at = append(s.at, time.Since(s.started))
	if i >= len(s.answers) {
		return nil, errors.New("asked once too often")
	}
	return s.answers[i]()
}

func says(code int, body string, header ...string) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		h := http.Header{}
		for i := 0; i+1 < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

const nothing = `{"data":{"due":[],"retrying":[],"claimed":[]}}`

func TestReadsAreRepeated(t *testing.T) {
	for _, tc := range []struct {
		name     string
		timeout  time.Duration // of the caller; zero means no limit
		answers  []func() (*http.Response, error)
		requests int
		fails    error
		took     [2]time.Duration
	}{
		{"at once", 0, []func() (*http.Response, error){says(200, nothing)}, 1, nil, [2]time.Duration{0, 0}},
		{
			"after trouble", 0,
			[]func() (*http.Response, error){says(502, ""), says(200, "<html>"), says(200, nothing)},
			3, nil,
			[2]time.Duration{100 * time.Millisecond, time.Second},
		},
		{
			"not for ever", 0,
			[]func() (*http.Response, error){says(502, ""), says(502, ""), says(502, ""), says(502, ""), says(200, nothing)},
			4, errAny,
			[2]time.Duration{100 * time.Millisecond, 3 * time.Second},
		},
		{
			"when it is asked to wait", 0,
			[]func() (*http.Response, error){says(429, "", "Retry-After", "3"), says(200, nothing)},
			2, nil,
			[2]time.Duration{3 * time.Second, 3 * time.Second},
		},
		{
			"not when it is asked to wait long", 0,
			[]func() (*http.Response, error){says(429, "", "Retry-After", "30"), says(200, nothing)},
			1, errAny,
			[2]time.Duration{0, 0},
		},
		{
			"not when the key is refused", 0,
			[]func() (*http.Response, error){says(401, ""), says(200, nothing)},
			1, prefect.ErrAuth,
			[2]time.Duration{0, 0},
		},
		{
			"not when the query is wrong", 0,
			[]func() (*http.Response, error){says(400, ""), says(200, nothing)},
			1, errAny,
			[2]time.Duration{0, 0},
		},
		{
			"not past the caller's deadline", 2 * time.Second,
			[]func() (*http.Response, error){says(429, "", "Retry-After", "4"), says(200, nothing)},
			1, context.DeadlineExceeded,
			[2]time.Duration{2 * time.Second, 2 * time.Second},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answers: tc.answers, started: time.Now()}
				c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, TenantID: tenantID, HTTPTransport: s})
				if err != nil {
					t.Fatal(err)
				}
				ctx := t.Context()
				if tc.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.timeout)
					defer cancel()
				}
				_, err = c.Supervise(ctx, nil, nil)
				if (err != nil) != (tc.fails != nil) || tc.fails != nil && !errors.Is(tc.fails, errAny) && !errors.Is(err, tc.fails) {
					t.Errorf("error %v, want %v", err, tc.fails)
				}
				// The error repeats the API's words, whatever ended the tries.
				var e *prefect1.Error
				if err != nil && !errors.As(err, &e) {
					t.Errorf("%v hides what the API said", err)
				}
				if len(s.at) != tc.requests {
					t.Errorf("%d requests, want %d", len(s.at), tc.requests)
				}
				if took := time.Since(s.started); took < tc.took[0]/2 || took > tc.took[1] {
					t.Errorf("took %v, want %v to %v", took, tc.took[0], tc.took[1])
				}
			})
		})
	}
}

var errAny = errors.New("any error")

// A longer wait than we sit out goes back to the caller as a value.
func TestRetryAfterIsAValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for header, want := range map[string]time.Duration{
			"180": 3 * time.Minute, "-5": 0, "soon": 0, "": 0, "86400": 5 * time.Minute, "99999999999": 5 * time.Minute,
			time.Now().Add(time.Minute).UTC().Format(http.TimeFormat):  time.Minute,
			time.Now().Add(time.Hour).UTC().Format(http.TimeFormat):    5 * time.Minute,
			time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat): 0,
		} {
			s := &script{answers: []func() (*http.Response, error){says(429, "", "Retry-After", header)}, started: time.Now()}
			c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, TenantID: tenantID, HTTPTransport: s})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Keep(t.Context(), prefect.FlowRun{ID: runID})
			if got := prefect.RetryAfter(err); got != want {
				t.Errorf("%q: %v after %v, want %v", header, err, got, want)
			}
		}
	})
}

func TestEveryRequestHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		c, err := prefect1.New(prefect1.Options{Backend: prefect1.Server, TenantID: tenantID, HTTPTransport: hanging{}})
		if err != nil {
			t.Fatal(err)
		}
		result, err := c.Claim(t.Context(), prefect.FlowRun{ID: runID, State: prefect.State{Phase: prefect.Waiting, Name: "Scheduled"}}, prefect.Claim{})
		if err != nil || result.Answer != prefect.Unknown {
			t.Errorf("%v, %v", result, err)
		}
		if took := time.Since(started); took != 15*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}

type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}
