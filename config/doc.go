// Package config turns environment variables and flags into one typed value per
// process. It finds every mistake before anything starts, and names the variable, the
// flag and the change to make.
//
// The variables of the Prefect 1.x Kubernetes agent keep their names and
// meanings (prefect1 §5, §7.1), so an agent's environment block can be
// pasted over; our own begin with PREFECT_KEDA_. An empty variable counts as not set,
// because the agent's own manifests write empty strings for settings they leave open.
//
// It knows neither Kubernetes nor the Prefect client. A bound that a process obeys
// whatever its settings is asked of that process's package.
package config
