package exchange_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/prefect/exchange"
)

// Answers share buffers one after the other, whatever their sizes, and never at once.
func TestAnswersDoNotMix(t *testing.T) {
	const most = 4 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var size int
		var letter string
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/%s", &size, &letter)
		_, _ = w.Write([]byte(strings.Repeat(letter, size)))
	}))
	defer server.Close()
	carrier, err := exchange.New(exchange.Options{Through: exchange.Connections(), Timeout: time.Minute, MaxAnswer: most})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 64 {
		size, letter := []int{0, 1, 1000, most / 16, most/16 + 1, 2 << 20, most}[i%7], string(rune('a'+i%26))
		all.Go(func() {
			failed := carrier.Do(t.Context(), exchange.Request{Method: http.MethodGet, URL: fmt.Sprintf("%s/%d/%s", server.URL, size, letter), Head: func(http.Header) {}},
				func(_ *http.Response, text []byte) {
					if len(text) != size || strings.Count(string(text), letter) != size {
						t.Errorf("an answer of %d times %s is %d bytes with %d of them", size, letter, len(text), strings.Count(string(text), letter))
					}
				})
			if failed != nil {
				t.Errorf("%d times %s: %v", size, letter, failed)
			}
		})
	}
	all.Wait()
	failed := carrier.Do(t.Context(), exchange.Request{Method: http.MethodGet, URL: fmt.Sprintf("%s/%d/x", server.URL, most+1), Head: func(http.Header) {}},
		func(*http.Response, []byte) { t.Error("an answer above the limit was read") })
	if failed == nil || failed.Kind != exchange.TooLarge {
		t.Errorf("an answer above the limit: %v, want that it is too large", failed)
	}
}
