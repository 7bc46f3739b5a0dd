// Package soak judges processes that lived through hours of mixed load, rollouts, restarts of
// KEDA and an upgrade: whether they have grown, and whether their logs tell of anything that
// nobody explained. It also finds and builds the release before this one.
//
// It reads no clock and no cluster: samples and lines are brought to it.
package soak
