package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/job"
)

// shelf is a web server within a bubble: pages by path, with their texts as tags.
type shelf struct {
	mu    sync.Mutex
	pages map[string]string
	took  time.Duration
	asked []string
}

func (s *shelf) put(path, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path] = text
}

// log is what was asked since it was last called.
func (s *shelf) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.asked, " ")
	s.asked = nil
	return all
}

// RoundTrip is that of http.RoundTripper.
func (s *shelf) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(s.took)
	s.mu.Lock()
	defer s.mu.Unlock()
	text, found := s.pages[r.URL.Path]
	code := http.StatusOK
	switch {
	case !found:
		code = http.StatusBadGateway
	case r.Header.Get("If-None-Match") == fmt.Sprintf("%q", text):
		code, text = http.StatusNotModified, ""
	}
	s.asked = append(s.asked, fmt.Sprint(r.URL.Path, code))
	header := http.Header{}
	if code == http.StatusOK {
		header.Set("ETag", fmt.Sprintf("%q", text))
	}
	return &http.Response{StatusCode: code, Status: fmt.Sprint(code), Header: header, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{pages: map[string]string{"/a": "1", "/b": "1"}, took: time.Second}
		r := New(&http.Client{Transport: s})
		read := func(path string) string {
			t.Helper()
			text, err := r.Read(t.Context(), "http://shelf"+path)
			if err != nil {
				return "error"
			}
			return string(text)
		}
		for _, step := range []struct {
			name      string
			do        func()
			want, log string
		}{
			{"a burst asks once", func() {
				var all sync.WaitGroup
				for range 200 {
					all.Go(func() {
						if got := read("/a"); got != "1" {
							t.Errorf("read %q", got)
						}
					})
				}
				all.Wait()
			}, "1", "/a200"},
			{"fresh", func() { time.Sleep(freshFor - 2*time.Second) }, "1", ""},
			{"confirmed", func() { time.Sleep(2 * time.Second) }, "1", "/a304"},
			{"confirmed is fresh again", func() {}, "1", ""},
			{"changed", func() { s.put("/a", "2"); time.Sleep(freshFor) }, "2", "/a200"},
			{"not there, and nothing old in its place", func() { delete(s.pages, "/a"); time.Sleep(freshFor) }, "error", "/a502"},
			{"left alone for a while", func() { s.put("/a", "2"); time.Sleep(firstBackoff - 2*time.Second) }, "error", ""},
			{"and then asked again", func() { time.Sleep(2 * time.Second) }, "2", "/a304"},
			{"others are others", func() { read("/b") }, "2", "/b200"},
			{"only so many are kept", func() {
				for i := range maxTexts {
					s.put(fmt.Sprint("/", i), "x")
					read(fmt.Sprint("/", i))
				}
				s.log()
			}, "2", "/a200"},
		} {
			step.do()
			if got := read("/a"); got != step.want {
				t.Errorf("%s: read %q, want %q", step.name, got, step.want)
			}
			if log := s.log(); log != step.log {
				t.Errorf("%s: asked %q, want %q", step.name, log, step.log)
			}
		}
		if len(r.cache.texts) != maxTexts {
			t.Errorf("%d texts are kept", len(r.cache.texts))
		}
	})
}

// Since when a server has been away, whoever asked.
func TestAwaySince(t *testing.T) {
	const location = "http://me:secret@shelf/a?signature=secret"
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{pages: map[string]string{}}
		r, began := New(&http.Client{Transport: s}), time.Time{}
		for _, step := range []struct {
			name string
			do   func()
			anew bool
		}{
			{"the first failure", func() {}, true},
			{"the same one, repeated", func() { time.Sleep(time.Second) }, false},
			{"another one after it", func() { time.Sleep(firstBackoff) }, false},
			{"as seldom as anybody asks", func() { time.Sleep(2*firstBackoff + staleAfter) }, false},
			{"nobody has asked for long", func() { time.Sleep(4*firstBackoff + staleAfter + 1) }, true},
			{"it was there meanwhile", func() {
				time.Sleep(maxBackoff)
				s.put("/a", "text")
				if _, err := r.Read(t.Context(), location); err != nil {
					t.Error(err)
				}
				delete(s.pages, "/a")
				time.Sleep(freshFor)
			}, true},
		} {
			step.do()
			if step.anew {
				began = time.Now()
			}
			_, err := r.Read(t.Context(), location)
			away, ok := errors.AsType[*job.AwayError](err)
			if !ok || !away.Since.Equal(began) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v since %+v, want away since %s, and no secret", step.name, err, away, began)
			}
		}
	})
}

// Of more locations that fail than are kept, those that have failed for the longest
// time are, unless nobody asks for them any more.
func TestFailingLocationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(&http.Client{Transport: &shelf{pages: map[string]string{}}})
		fail := func(from, to int) {
			for i := from; i < to; i++ {
				_, _ = r.Read(t.Context(), fmt.Sprint("http://shelf/", i))
				time.Sleep(time.Millisecond)
			}
		}
		kept := func(i int) bool { _, ok := r.cache.failing[fmt.Sprint("http://shelf/", i)]; return ok }
		fail(0, maxFailing+10)
		if n := len(r.cache.failing); n != maxFailing || !kept(0) || !kept(maxFailing-1) || kept(maxFailing) {
			t.Errorf("%d are kept; the first %v, the last that fits %v, one more %v", n, kept(0), kept(maxFailing-1), kept(maxFailing))
		}
		time.Sleep(firstBackoff + staleAfter)
		fail(maxFailing, maxFailing+1)
		if len(r.cache.failing) != 1 {
			t.Errorf("%d are kept of those that nobody asks for", len(r.cache.failing))
		}
	})
}

// A template server that accepts and never answers, named by many runs: the first
// of them wait for the time-out, together; after that one at a time finds out
// whether it still hangs, and less and less often.
func TestServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked []time.Duration
		began := time.Now()
		r := New(&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			asked = append(asked, time.Since(began))
			mu.Unlock()
			<-r.Context().Done()
			return nil, r.Context().Err()
		})})
		burst := func() (waited []time.Duration) {
			results := make(chan time.Duration, 40)
			for range 40 {
				go func() {
					from := time.Now()
					if _, err := r.Read(t.Context(), "http://hangs/job.yaml"); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("error %v, want one of a deadline", err)
					}
					results <- time.Since(from)
				}()
			}
			for range 40 {
				waited = append(waited, <-results)
			}
			slices.Sort(waited)
			return slices.Compact(waited)
		}
		for _, step := range []struct {
			after time.Duration
			want  []time.Duration // how long the 40 waited
		}{
			{0, []time.Duration{timeout}},
			{0, []time.Duration{0}},
			{firstBackoff, []time.Duration{0, timeout}},
			{firstBackoff, []time.Duration{0}},
			{firstBackoff, []time.Duration{0, timeout}},
			{2 * firstBackoff, []time.Duration{0}},
			{2 * firstBackoff, []time.Duration{0, timeout}},
			{maxBackoff, []time.Duration{0, timeout}},
		} {
			time.Sleep(step.after)
			if diff := cmp.Diff(step.want, burst()); diff != "" {
				t.Errorf("%s after it began, they waited (-want +got):\n%s", time.Since(began), diff)
			}
		}
		want := []time.Duration{0, 15 * time.Second, 35 * time.Second, 65 * time.Second, 105 * time.Second}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Errorf("asked at (-want +got):\n%s", diff)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip is that of http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What Python's urlparse, and the agent with it, reads of each.
func TestSplit(t *testing.T) {
	for location, want := range map[string]string{
		"/d/job.yaml":                 " /d/job.yaml",
		"job.yaml":                    " job.yaml",
		"/d/a%20b.yaml":               " /d/a%20b.yaml",
		"/d/100%.yaml":                " /d/100%.yaml",
		"/d/a b.yaml":                 " /d/a b.yaml",
		" /d/a\n.yaml":                " /d/a.yaml",
		"/d/a?x=1":                    " /d/a",
		"/d/a#x?y":                    " /d/a",
		"/d;e/a;b":                    " /d;e/a",
		"file:///d/a;b":               "file /d/a;b",
		"file://host/d/100%.yaml?x#y": "file /d/100%.yaml",
		"FILE:/d/a":                   "file /d/a",
		"agent://a/b":                 "agent /b",
		"agent://a":                   "agent /",
		"local:a":                     "local a",
		"//host/d/a":                  " /d/a",
		"https://h/p?q":               "https /p",
		"s3://b/k":                    "s3 /k",
		"C:\\job.yaml":                `c \job.yaml`,
		"1:a":                         " 1:a",
		":a":                          " :a",
		"a/b:c":                       " a/b:c",
		"":                            " ",
	} {
		scheme, path := split(location)
		if got := scheme + " " + path; got != want {
			t.Errorf("split(%q) = %q, want %q", location, got, want)
		}
	}
}

// No location, however odd, leads to a file that it does not name.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"/d/a;b", "file://host/a%20b?c#d", "agent:a", " /x\ty", "//", "a:b:c", "s3://b/k"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, location string) {
		scheme, path := split(location)
		stripped := strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(location)
		if path != "/" && !strings.Contains(stripped, path) || scheme != "" && !strings.Contains(strings.ToLower(location), scheme) {
			t.Errorf("split(%q) = %q, %q", location, scheme, path)
		}
	})
}

func TestObject(t *testing.T) {
	for location, want := range map[string]string{
		"s3://b/k.yaml":      "b k.yaml",
		"s3://b/dir/k?x=1#y": "b dir/k",
		"gs://b/100%25/a b":  "b 100%25/a b",
		"s3://b":             "",
		"s3://b/":            "",
		"s3:///k":            "",
		"gs:b/k":             "",
	} {
		bucket, key, err := object(location)
		if got := strings.TrimSpace(bucket + " " + key); got != want || (err != nil) != (want == "") {
			t.Errorf("object(%q) = %q, %q, %v; want %q", location, bucket, key, err, want)
		}
	}
}

// No location, however odd, is read from another place than it names, or panics.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{"s3://b/k", "gs://b/a/b?c#d", "s3://", "://", "s3://b//k", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, location string) {
		bucket, key, err := object(location)
		if err != nil {
			return
		}
		if bucket == "" || key == "" || strings.Contains(bucket, "/") || !strings.HasPrefix(location, location[:strings.Index(location, "://")]+"://"+bucket+"/"+key) {
			t.Errorf("object(%q) = %q, %q", location, bucket, key)
		}
	})
}

func TestLimit(t *testing.T) {
	if _, err := limited(bytes.NewReader(make([]byte, maxBytes)), "x"); err != nil {
		t.Error(err)
	}
}
