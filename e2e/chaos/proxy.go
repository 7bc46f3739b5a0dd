package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxBody bounds a request's body.
const maxBody = 16 << 20

// proxy is between one process and one server, and plays the faults that strike.
type proxy struct {
	// name is the process and the server, for the plan and the evidence.
	name string
	// upstream is where requests go, by transport.
	upstream  *url.URL
	transport http.RoundTripper
	strike    func(request) (Fault, bool)

	server *httptest.Server
	// late are the requests that are carried out after their client has gone.
	late sync.WaitGroup
}

// start serves until close, and returns the proxy's URL without a path.
func (p *proxy) start() string {
	p.server = httptest.NewServer(p)
	return p.server.URL
}

// close cuts all connections and waits for what is still under way.
func (p *proxy) close() {
	p.server.CloseClientConnections()
	p.late.Wait()
	p.server.CloseClientConnections()
	p.server.Close()
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" { // a stream of events; the server itself breaks those
		(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(p.upstream) }, Transport: p.transport}).ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return
	}
	in := p.look(r, body)
	f, struck := p.strike(in)
	if !struck {
		p.pass(w, r, body, in.watch, 0)
		return
	}
	switch f.Kind {
	case Refused:
		hangUp()
	case Throttled:
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests)
	case Failed:
		refuse(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)
	case FailedNow:
		p.carryOut(r, body)
		refuse(w, http.StatusInternalServerError, metav1.StatusReasonInternalError)
	case Lost:
		p.carryOut(r, body)
		hangUp()
	case Late:
		p.late.Go(func() {
			time.Sleep(f.Lasts)
			p.carryOut(r, body)
		})
		hangUp()
	case Twice:
		p.carryOut(r, body)
		p.pass(w, r, body, false, 0)
	case Slow:
		// It is carried out though its client may have gone.
		time.Sleep(f.Lasts)
		p.pass(w, r.WithContext(context.WithoutCancel(r.Context())), body, false, 0)
	case WatchLags:
		p.pass(w, r, body, true, f.Lasts)
	case WatchBreaks:
		ctx, cancel := context.WithTimeout(r.Context(), f.Lasts)
		defer cancel()
		p.pass(w, r.WithContext(ctx), body, true, 0)
	case WatchGone:
		refuse(w, http.StatusGone, metav1.StatusReasonExpired)
	}
}

// look says what a request is about. Prefect 1 has one URL for everything, so its name is
// in the body.
func (p *proxy) look(r *http.Request, body []byte) request {
	path := uuid.ReplaceAllString(r.URL.Path, "ID")
	operation := r.Method + " " + path
	var graphql struct {
		OperationName string `json:"operationName"`
		Query         string `json:"query"`
	}
	write := r.Method != http.MethodGet && !strings.HasSuffix(path, "/filter") && !strings.HasSuffix(path, "reviews")
	if json.Unmarshal(body, &graphql) == nil && graphql.Query != "" {
		operation = graphql.OperationName
		write = strings.HasPrefix(strings.TrimSpace(graphql.Query), "mutation")
	}
	if strings.Contains(path, "/jobs/") { // a Job's name is another one each time
		operation = r.Method + " one Job"
	}
	watch := r.URL.Query().Has("watch")
	if watch {
		operation = "watch " + path
	}
	runs := uuid.FindAllString(r.URL.Path, -1)
	for _, id := range uuid.FindAll(body, 200) {
		runs = append(runs, string(id))
	}
	slices.Sort(runs)
	return request{where: p.name + " " + operation, write: write, watch: watch, runs: slices.Compact(runs)}
}

// lagFor is for how many lags a watch lags: a burst of events would else come over minutes.
const lagFor = 5

// pass carries a request out and passes the answer on, for a while each piece after lag.
func (p *proxy) pass(w http.ResponseWriter, r *http.Request, body []byte, watch bool, lag time.Duration) {
	resp, err := p.send(r.Context(), r, body)
	if err != nil {
		hangUp()
	}
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	if !watch {
		_, _ = io.Copy(w, resp.Body) // either side may be gone
		return
	}
	piece, flush, until := make([]byte, 64<<10), http.NewResponseController(w), time.Now().Add(lagFor*lag)
	for {
		if flush.Flush() != nil {
			return
		}
		n, err := resp.Body.Read(piece)
		if n > 0 {
			if time.Now().Before(until) {
				time.Sleep(lag)
			}
			if _, err := w.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// carryOut sends a request whatever becomes of its client, and forgets the answer.
func (p *proxy) carryOut(r *http.Request, body []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
	defer cancel()
	if resp, err := p.send(ctx, r, body); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

func (p *proxy) send(ctx context.Context, r *http.Request, body []byte) (*http.Response, error) {
	out := r.Clone(ctx)
	out.RequestURI, out.Host = "", p.upstream.Host
	out.URL.Scheme, out.URL.Host = p.upstream.Scheme, p.upstream.Host
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return p.transport.RoundTrip(out)
}

// hangUp ends the connection without an answer.
func hangUp() { panic(http.ErrAbortHandler) }

// refuse answers as both Kubernetes and a proxy before Prefect could.
func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{ // the client may be gone
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Message: fmt.Sprintf("chaos: %s", http.StatusText(code)), Reason: reason, Code: int32(code),
	})
}
