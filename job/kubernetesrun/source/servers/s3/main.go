// Command s3 is an S3 server in memory for tests. It takes requests that are
// signed with a key of its own, and anonymous ones for the bucket "public". Its
// first line of output is its URL.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

func main() {
	backend := s3mem.New()
	for _, bucket := range []string{"templates", "public"} {
		if err := backend.CreateBucket(context.Background(), bucket); err != nil {
			fail(err)
		}
	}
	signed := gofakes3.New(backend, gofakes3.WithV4Auth(map[string]string{os.Args[1]: os.Args[2]})).Server()
	open := gofakes3.New(backend).Server()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	fmt.Println("http://" + l.Addr().String())
	fail(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/public/") {
			open.ServeHTTP(w, r)
			return
		}
		signed.ServeHTTP(w, r)
	})))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
