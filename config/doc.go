// Package config turns environment variables and flags into one typed value per
// process. It finds everything that is wrong before anything starts, and says
// it in the words of the one who set it: the variable, the flag, and what to
// change.
//
// The variables of the Prefect 1.x Kubernetes agent keep their names and
// meanings (prefect1-spec §5, §7.1), so an agent's environment block can be
// pasted over; what is ours begins with PREFECT_KEDA_. A variable that is set to
// nothing counts as not set, because the agent's own manifests write empty
// strings for what they leave open.
//
// It knows neither Kubernetes nor the Prefect client.
package config
