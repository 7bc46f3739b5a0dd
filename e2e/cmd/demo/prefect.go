package main

import (
	"context"
	"time"
)

// flowRun is what the show wants to know of a flow run.
type flowRun struct {
	state string
	// waits: nobody has taken it; due is since when, or when that will be.
	waits bool
	due   time.Time
	// ended: it will not go on; well: it ended as it should.
	ended, well bool
}

// prefect is the Prefect that the show is about.
type prefect interface {
	// client names what runs in the flows' pods, and place says where runs wait.
	client() string
	place() string
	// runLabel is the label of a Job that names its flow run.
	runLabel() string
	// install installs it and prefect-keda for it, at zero, with a flow to run.
	install(ctx context.Context, s *stage) error
	// create creates flow runs that are due after a while.
	create(ctx context.Context, n int, in time.Duration) error
	runs(ctx context.Context) ([]flowRun, error)
	// next says what a person can do then.
	next(s *stage) string
}
