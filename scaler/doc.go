// Package scaler tells KEDA how many launchers are wanted.
//
// It is KEDA's external scaler: a gRPC server whose answers are views of one
// snapshot in memory. One poller per connection takes the snapshot with one
// request per interval, and one about the runs of Jobs now and then, however many
// ScaledObjects ask; no RPC ever waits for Prefect. Demand is the number of runs that are due, or will be within the
// warm-up lead, plus the claims whose Job is missing, the heartbeats that are
// overdue and the Jobs in trouble.
//
// It only reads. It knows no backend (a Source is given to it), claims nothing
// and creates nothing, and what it says about Prefect's label rule it asks of
// package prefect. The rules it answers by are KEDA's (keda-spec §0–§2).
package scaler
