// Package chaos breaks everything around launchers and scalers while flow runs come due,
// and then counts: every scheduling of a run has exactly one Job, no run is stuck, none is
// lost.
//
// Launchers and scalers are the real binary, as processes of this machine that can be killed,
// stopped and rolled out. The Kubernetes API is real; Prefect is a stand-in. Between each
// process and both of them is a proxy, which loses, delays, repeats and refuses. The pods of
// Jobs are played, so that thousands cost no node. What strikes and when follows from a seed.
//
// It knows no Prefect: a World does.
package chaos
