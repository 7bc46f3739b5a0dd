// Package jobs watches, lists and writes the Jobs and pods of some namespaces.
//
// Package trouble judges them, and callers decide about flow runs. It does not know
// Prefect's API or how a Job is rendered.
package jobs
