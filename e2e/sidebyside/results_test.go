package sidebyside

import (
	"bytes"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

//nolint:gochecknoglobals // a flag
var update = flag.Bool("update", false, "write the page and the picture of docs/side-by-side.json anew")

const begin, end = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"

// The page, the picture and the README say what the committed measurements say.
func TestPage(t *testing.T) {
	docs := filepath.Join("..", "..", "docs")
	r, err := Read(filepath.Join(docs, "side-by-side.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Goals()) == 0 {
		t.Fatal("docs/side-by-side.json holds nothing that goals could be judged by")
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(strings.Fields(string(readme)), " "), r.Headline()) {
		t.Errorf("README.md does not say what docs/side-by-side.json says; write there:\n%s", r.Headline())
	}
	page, err := os.ReadFile(filepath.Join(docs, "side-by-side.md"))
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("docs/side-by-side.md lacks %q and %q", begin, end)
	}
	for path, want := range map[string]string{
		"side-by-side.md": before + begin + "\n" + r.Tables() + "\n" + end + after, "side-by-side.svg": string(r.Picture()),
	} {
		path = filepath.Join(docs, path)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // everybody may read it
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s does not say what docs/side-by-side.json says; run: make generate\n(-want +got):\n%s", path, diff)
		}
	}
}

func TestGoals(t *testing.T) {
	burst := func(of Contender, rate, cpu float64) Burst {
		return Burst{Contender: of, Runs: LargeBurst, Jobs: LargeBurst, Rate: rate, CPUMS: cpu}
	}
	r := Results{
		Bursts:  []Burst{burst(Ours1, 85, 0.9), burst(Fair1, 100, 1), burst(Bare, 200, 0.5), burst(Agent, 40, 13), burst(Ours3, 84, 0.91), burst(Fair3, 100, 1)},
		Drains:  []Drain{{Contender: Ours1, PeakMiB: 95, BehindPercent: 9}, {Contender: Ours3, PeakMiB: 97, BehindPercent: 11}},
		Idle:    []Idle{{Contender: Ours1, MemoryMiB: 10}, {Contender: Ours3, MemoryMiB: 11}, {Contender: Agent, MemoryMiB: 100}},
		Answers: Answers{ScaledObjects: 1000, P99MS: 5, RequestsPerMin: 13, RequestsForOne: 10},
	}
	met := map[string]bool{}
	for _, g := range r.Goals() {
		met[g.What] = g.Met
	}
	want := map[string]bool{
		"Jobs a second of those of the fair loop: prefect-keda, Prefect 1, 5000 runs, 0 ms":             true,
		"Jobs a second of those of the fair loop: prefect-keda, Prefect 3, 5000 runs, 0 ms":             false,
		"CPU a run: prefect-keda, Prefect 1, 5000 runs":                                                 true,
		"CPU a run: prefect-keda, Prefect 3, 5000 runs":                                                 false,
		"CPU a run beside the agent's: prefect-keda, Prefect 1":                                         false,
		"CPU a run beside the agent's: prefect-keda, Prefect 3":                                         false,
		"memory while nothing is due, beside the agent's: prefect-keda, Prefect 1":                      true,
		"memory while nothing is due, beside the agent's: prefect-keda, Prefect 3":                      false,
		"memory at the peak of a drain of 0 runs: prefect-keda, Prefect 1":                              true,
		"memory at the peak of a drain of 0 runs: prefect-keda, Prefect 3":                              false,
		"nobody starves in it: how far behind its turn a run may come, of all: prefect-keda, Prefect 1": true,
		"nobody starves in it: how far behind its turn a run may come, of all: prefect-keda, Prefect 3": false,
		"the scaler's answers to 0 calls a second for 1000 ScaledObjects, p99":                          false,
		"its requests to Prefect, beside those for one ScaledObject":                                    false,
	}
	if diff := cmp.Diff(want, met); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddReplacesTheSame(t *testing.T) {
	r := Results{Bursts: []Burst{{Contender: Agent, Runs: 600, Rate: 1}, {Contender: Agent, Runs: 5000, Rate: 2}}, Answers: Answers{ScaledObjects: 7}}
	r.Add(Results{Bursts: []Burst{{Contender: Agent, Runs: 5000, Rate: 3}, {Contender: Worker, Runs: 600, Rate: 4}}})
	want := Results{
		Bursts:  []Burst{{Contender: Agent, Runs: 600, Rate: 1}, {Contender: Agent, Runs: 5000, Rate: 3}, {Contender: Worker, Runs: 600, Rate: 4}},
		Answers: Answers{ScaledObjects: 7},
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMiddle(t *testing.T) {
	of := []Burst{{Rate: 3, CPUMS: 1}, {Rate: 1, CPUMS: 2}, {Rate: 2, CPUMS: 3}}
	if got := Middle(of); got.Rate != 2 || got.CPUMS != 3 {
		t.Errorf("Middle(%+v) = %+v", of, got)
	}
	if of[0].Rate != 3 {
		t.Error("Middle has changed what was measured")
	}
	if got := Middle(of[:1]); got.Rate != 3 {
		t.Errorf("the middle of one is %+v", got)
	}
}

func TestDelayOf(t *testing.T) {
	var all []time.Duration
	for i := range 20 {
		all = append(all, time.Duration(20-i)*time.Second)
	}
	got := DelayOf(time.Time{}, Agent, "ad hoc", "warm", all)
	if got.P50 != 11 || got.P95 != 19 || got.Worst != 20 || got.Runs != 20 {
		t.Errorf("%+v", got)
	}
}

func TestReadUse(t *testing.T) {
	stat := "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 1 2 3"
	status := "Name:\ta\nVmHWM:\t  9000 kB\nRssAnon:\t    1000 kB\nRssFile:\t    3000 kB\nThreads:\t9\n"
	got, err := readUse(stat, status)
	if want := (Use{CPU: 2 * time.Second, Own: 1000 << 10, Peak: 6000 << 10}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, bad := range [][2]string{{"42", status}, {strings.Replace(stat, " 150 ", " x ", 1), status}, {stat, "Name:\ta\n"}, {stat, "VmHWM:\tx kB\n"}} {
		if got, err := readUse(bad[0], bad[1]); err == nil {
			t.Errorf("%q: %+v, want an error", bad, got)
		}
	}
}

// A server that is far away answers the same, and not before the round trip is over.
func TestFar(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789"), 100_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))
	defer server.Close()
	const trip = 50 * time.Millisecond
	address, err := Far(t.Context(), server.Listener.Addr().String(), trip)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		sent := time.Now()
		resp, err := http.Post("http://"+address, "text/plain", bytes.NewReader(large)) //nolint:noctx // a test's
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(answer, large) {
			t.Errorf("%d bytes, %v, want the %d that were sent", len(answer), err, len(large))
		}
		if took := time.Since(sent); took < trip {
			t.Errorf("the answer came after %s, before a round trip of %s", took, trip)
		}
	}
}

// Where nobody listens, the connection ends.
func TestFarFromNowhere(t *testing.T) {
	address, err := Far(t.Context(), "127.0.0.1:1", time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("something answers")
	}
}
