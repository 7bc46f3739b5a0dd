package scaler

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prefect-keda/prefect-keda/jobs/informer"
	"github.com/prefect-keda/prefect-keda/prefect"
)

// A task's retry that is due wants a launcher where the run was last submitted; one
// in another cluster would find nothing to do.
func TestRetriesAreDemandWhereTheRunWasSubmitted(t *testing.T) {
	retry := func(namespace, uid string) prefect.DueRun {
		r := run("r", time.Time{}, "etl")
		r.LastClaim = &prefect.Claim{Namespace: namespace, NamespaceUID: uid}
		return r
	}
	for name, tc := range map[string]struct {
		run  prefect.DueRun
		want bool
	}{
		"here":                                {retry("flows", "here"), true},
		"in another cluster":                  {retry("flows", "there"), false},
		"in a namespace that is not our care": {retry("other", "there"), true},
		"by an older release":                 {retry("flows", ""), true},
		"by none of ours":                     {run("r", time.Time{}, "etl"), true},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeSource{due: []prefect.DueRun{tc.run}}
			inBubble(t, withJobs(f, fakeKube()), func(t *testing.T, s *Server) {
				pass(3 * time.Second) // until the namespace is known
				wantActive(t, s, tc.want, "labels=etl")
			})
			blind := withJobs(f, fakeKube())
			blind.Kubernetes = func(ns string) informer.Client {
				c := clients(fakeKube())(ns)
				c.UID = func(context.Context) (string, error) { return "", errors.New("namespaces is forbidden") }
				return c
			}
			inBubble(t, blind, func(t *testing.T, s *Server) {
				pass(3 * time.Second)
				wantActive(t, s, true, "labels=etl") // nor can this one, yet
			})
			inBubble(t, bubbleOptions(f), func(t *testing.T, s *Server) {
				pass(3 * time.Second)
				wantActive(t, s, true, "labels=etl") // it cannot know what is elsewhere
			})
		})
	}
}
