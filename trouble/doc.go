// Package trouble judges Jobs: what is wrong with one, given its pods; since
// when; what its flow run is to be told; and which Jobs have been dealt with.
//
// The scaler asks it to know when a launcher is needed, the launcher to know
// what to do. It is pure: no I/O, no clock, nothing remembered. What must be
// remembered (what was told, who is at it, when to try again) is a Note on the
// Job itself, so every launcher and every restart judges alike.
//
// What counts as trouble and the words for it follow the agent's job management
// (prefect1-spec §6) and add what that could not see: pods that are never
// scheduled, Jobs whose pods are never created, Jobs that outlive their run.
package trouble
