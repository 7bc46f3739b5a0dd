// Package scaler tells KEDA how many launchers are wanted.
//
// It is KEDA's external scaler: a gRPC server whose answers are views of one
// snapshot in memory. One poller per connection takes the snapshot with one
// request or two per interval, and now and then one about the runs of Jobs, for any number
// of ScaledObjects; no RPC ever waits for Prefect. Demand is the number of runs that are
// due, or will be within the warm-up lead, plus the claims whose Job is missing, the
// heartbeats that are overdue and the Jobs in trouble. Runs that Prefect itself holds back
// are no demand.
//
// It claims nothing and creates nothing; all it writes to Prefect, if its Source can, is
// that launchers are ready. It knows no backend, because its
// Source is given to it, and package prefect knows which launchers may take a run. Its
// answers follow KEDA's rules (keda §1–§3).
package scaler
