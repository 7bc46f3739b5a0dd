// Package monitoring holds no code: its tests hold what manifests/components has for
// Prometheus and Grafana against their own engine and types. It is a module of its own, so
// that theirs stay out of the product's.
package monitoring
