package prefect3_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

const runID = "3877ef1b-729e-4959-9c44-d641d0f74e56"

// answering is an API that gives one answer.
type answering struct {
	status     int
	body       string
	retryAfter string
	asked      []*http.Request
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked = append(a.asked, r)
	w := httptest.NewRecorder()
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	w.WriteHeader(a.status)
	w.WriteString(a.body)
	return w.Result(), nil
}

func (a *answering) client(t testing.TB, o prefect3.Options) *prefect3.Client {
	t.Helper()
	if o.API == "" {
		o.API = "http://prefect.example/api/"
	}
	o.HTTPTransport = a
	c, err := prefect3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOptionsAreChecked(t *testing.T) {
	for name, tc := range map[string]struct {
		o    prefect3.Options
		want string
	}{
		"no URL":                   {prefect3.Options{}, "the API URL must look like"},
		"no scheme":                {prefect3.Options{API: "prefect:4200/api"}, "the API URL must look like"},
		"a password in it":         {prefect3.Options{API: "http://u:hush@prefect/api"}, "PREFECT_API_AUTH_STRING"},
		"Cloud without a key":      {prefect3.Options{API: "https://api.prefect.cloud/api/accounts/a/workspaces/b"}, "needs an API key"},
		"a key with a line break":  {prefect3.Options{API: "http://prefect/api", Key: "a\nb"}, "API key has white space"},
		"an umlaut":                {prefect3.Options{API: "http://prefect/api", AuthString: "user:päss"}, "auth string has characters other than ASCII"},
		"a Prefect client's name":  {prefect3.Options{API: "http://prefect/api", UserAgent: "prefect/3.0.0"}, "User-Agent"},
		"a negative time":          {prefect3.Options{API: "http://prefect/api", RequestTimeout: -1}, "must not be negative"},
		"certificates not there":   {prefect3.Options{API: "https://prefect/api", CAFile: "/does/not/exist"}, "read the certificates"},
		"certificates that are no": {prefect3.Options{API: "https://prefect/api", CAFile: "wire_test.go"}, "holds no certificate"},
	} {
		_, err := prefect3.New(tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "päss") {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	o := prefect3.Options{API: "http://prefect/api", Key: "secret-key", AuthString: "user:secret-word", Headers: http.Header{"X-Token": {"secret-token"}}}
	if shown := o.String() + o.GoString() + o.LogValue().String(); strings.Contains(shown, "secret") {
		t.Errorf("the options show secrets: %s", shown)
	}
}

func TestCredentials(t *testing.T) {
	for name, tc := range map[string]struct {
		o    prefect3.Options
		want string
	}{
		"none":        {prefect3.Options{}, ""},
		"a key":       {prefect3.Options{Key: "pnu_1"}, "Bearer pnu_1"},
		"a password":  {prefect3.Options{AuthString: "user:pa:ss"}, "Basic dXNlcjpwYTpzcw=="},
		"both":        {prefect3.Options{Key: "pnu_1", AuthString: "user:pa:ss"}, "Basic dXNlcjpwYTpzcw=="},
		"one's own":   {prefect3.Options{Key: "pnu_1", Headers: http.Header{"Authorization": {"Other"}}}, "Other"},
		"one's other": {prefect3.Options{Headers: http.Header{"X-Proxy": {"yes"}}}, ""},
	} {
		api := &answering{status: 404, body: `{"detail":"Flow run not found"}`}
		c := api.client(t, tc.o)
		if _, err := c.FlowRun(t.Context(), runID); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		h := api.asked[0].Header
		if got := h.Get("Authorization"); got != tc.want {
			t.Errorf("%s: Authorization %q, want %q", name, got, tc.want)
		}
		if h.Get("User-Agent") != "prefect-keda" || h.Get("X-Prefect-Worker-Name") != "prefect-keda" || h.Get("X-Proxy") != tc.o.Headers.Get("X-Proxy") {
			t.Errorf("%s: headers %v", name, h)
		}
		if url := api.asked[0].URL.String(); url != "http://prefect.example/api/flow_runs/"+runID {
			t.Errorf("%s: asked %s", name, url)
		}
	}
}

// What an answer means, whatever its words.
func TestErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		status                      int
		body, retryAfter            string
		auth, notFound, isTemporary bool
		after                       time.Duration
		says                        string
	}{
		"a refused key":           {status: 401, body: `{"exception_message":"Unauthorized"}`, auth: true, says: "refused the key or auth string"},
		"a forbidden one":         {status: 403, body: `{"detail":"Forbidden"}`, auth: true, says: "HTTP 403"},
		"a run that is gone":      {status: 404, body: `{"exception_message":"Flow run with id x not found"}`, notFound: true},
		"another API":             {status: 404, body: `{"detail":"Not Found"}`, says: "nothing answers at this path"},
		"another URL":             {status: 307, says: "redirects elsewhere"},
		"too much":                {status: 429, retryAfter: "90.5", isTemporary: true, after: 90500 * time.Millisecond},
		"too much, by a date":     {status: 429, retryAfter: "Sat, 01 Jan 2000 00:02:00 GMT", isTemporary: true, after: 2 * time.Minute},
		"too much, for ever":      {status: 429, retryAfter: "1e300", isTemporary: true, after: 5 * time.Minute},
		"too much, who knows":     {status: 503, retryAfter: "NaN", isTemporary: true},
		"a busy database":         {status: 503, body: `{"exception_message":"Service Unavailable"}`, isTemporary: true},
		"a broken server":         {status: 500, body: `Internal Server Error`, isTemporary: true, says: "Internal Server Error"},
		"a fault of ours":         {status: 422, body: `{"exception_message":"Invalid request received.","exception_detail":[{"msg":"Field required"}]}`, says: "Field required"},
		"a page of a proxy":       {status: 200, body: "<html>hello</html>", isTemporary: true, says: "<html>hello"},
		"a row without an id":     {status: 200, body: `{}`, says: "no id"},
		"a row of another kind":   {status: 200, body: `[]`},
		"an answer with a secret": {status: 400, body: `{"detail":"secret-key dXNlcjpzZWNyZXQtd29yZA== secret-word"}`, says: "[hidden] [hidden] [hidden]"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				api := &answering{status: tc.status, body: tc.body, retryAfter: tc.retryAfter}
				c := api.client(t, prefect3.Options{Key: "secret-key", AuthString: "user:secret-word"})
				_, err := c.FlowRun(t.Context(), runID)
				if err == nil || errors.Is(err, prefect.ErrAuth) != tc.auth || errors.Is(err, prefect.ErrNotFound) != tc.notFound || prefect.Temporary(err) != tc.isTemporary {
					t.Fatalf("%v", err)
				}
				if got := prefect.RetryAfter(err); got != tc.after || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%v, after %s", err, got)
				}
				if many := len(api.asked) > 1; many != (tc.isTemporary && tc.after == 0) {
					t.Errorf("asked %d times", len(api.asked))
				}
			})
		})
	}
}

func TestLargeAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{MaxAnswer: 100_000})
		large := api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now(), Count: 60, Parameters: map[string]any{"x": strings.Repeat("x", 5000)}})
		found, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 100})
		if err != nil || len(found.Runs) != len(large) {
			t.Errorf("%d runs, %v", len(found.Runs), err)
		}
		api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now().Add(-time.Minute), Parameters: map[string]any{"x": strings.Repeat("x", 100_001)}})
		if _, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 100}); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("one run is larger than an answer may be: %v", err)
		}
	})
}

// A whole list of rows that nobody can act on brings nothing, and nothing breaks.
func TestRowsWithoutIDs(t *testing.T) {
	rows := "[" + strings.Repeat("{}, ", 199) + "{}]" // a page
	c := (&answering{status: http.StatusOK, body: rows}).client(t, prefect3.Options{NoCSRF: true})
	found, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: 100})
	if err != nil || len(found.Runs) != 0 {
		t.Errorf("Due = %+v, %v", found, err)
	}
	if o, _ := c.Observe(t.Context(), time.Now()); len(o.Due) != 0 { // it then counts, and gets rows for a number
		t.Errorf("Observe = %+v", o)
	}
}

// A client that is asked for many things at once fetches one token, and another one when
// that is no longer valid.
func TestCSRF(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{CSRF: true})
		reg := prometheus.NewPedanticRegistry()
		c := clientOf(t, api, prefect3.Options{Registerer: reg})
		ask := func() {
			t.Helper()
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					if _, err := c.Claimed(t.Context(), prefect.Scope{}); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		for n, between := range []func(){func() {}, func() {}, api.Restart, func() { time.Sleep(time.Hour) }} {
			between()
			ask()
			if tokens, want := api.Counts()["GET /csrf-token"], []int{1, 1, 2, 3}[n]; tokens != want {
				t.Errorf("after %d rounds %d tokens were fetched, want %d", n+1, tokens, want)
			}
		}
		n, err := testutil.GatherAndCount(reg, "prefect_keda_prefect_requests_total")
		if err != nil || n == 0 {
			t.Errorf("%d series, %v", n, err)
		}
	})
	inBubble(t, func(t *testing.T) {
		c := clientOf(t, fake.New(fake.Options{CSRF: true}), prefect3.Options{NoCSRF: true})
		if _, err := c.Claimed(t.Context(), prefect.Scope{}); !errors.Is(err, prefect.ErrAuth) || !strings.Contains(err.Error(), "CSRF") {
			t.Errorf("without a token: %v", err)
		}
	})
}

func TestTLS(t *testing.T) {
	api := httptest.NewTLSServer(fake.New(fake.Options{}))
	defer api.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		o     prefect3.Options
		fails bool
	}{
		"a stranger's":   {prefect3.Options{}, true},
		"a known CA's":   {prefect3.Options{CAFile: ca}, false},
		"whoever it is":  {prefect3.Options{SkipVerify: true}, false},
		"of another one": {prefect3.Options{API: strings.Replace(api.URL, "127.0.0.1", "localhost", 1) + "/api", CAFile: ca}, true},
	} {
		if tc.o.API == "" {
			tc.o.API = api.URL + "/api"
		}
		c, err := prefect3.New(tc.o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_, err = c.Claimed(ctx, prefect.Scope{})
		cancel()
		if (err != nil) != tc.fails {
			t.Errorf("%s: %v", name, err)
		}
	}
}
