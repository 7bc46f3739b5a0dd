// Command gcs is a Google Cloud Storage server in memory for tests, with a bucket
// "templates". Its first line of output is its URL.
package main

import (
	"fmt"
	"os"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{Scheme: "http", Host: "127.0.0.1", Port: 0})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: "templates"})
	fmt.Println(server.URL())
	select {}
}
