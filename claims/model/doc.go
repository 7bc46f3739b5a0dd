// Package model is the protocol by which launchers bring a flow run to one Job, written
// down apart from the code that follows it, small enough to be checked in all states it
// can reach.
//
// A State is one flow run, the launchers that act on it, and its Jobs in each cluster. An
// Action is one thing that a launcher, the server, a pod, a person or the clock may do;
// its guards are named, and so are the assumptions about everybody else. A State keeps
// every Invariant, or Explore tells the shortest way to one that does not.
//
// A launcher here is what it knows: what it read, and how long ago. What it may do follows
// from that alone, so that it may die, be stopped, or go on at any moment without an
// action of its own for each. The real launchers do less than they may here, never more:
// a test in package launcher replays what they do, step by step.
//
// The page claim-protocol of docs/spec is printed from here: what is modelled and how
// (claim-protocol §1), and the invariants (claim-protocol §3).
//
// The package must not know the code. Only its tests compare the bounds of time with those
// of package claims.
package model
