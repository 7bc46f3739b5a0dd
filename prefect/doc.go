// Package prefect is the vocabulary that the scaler, the launcher, the renderers and the
// backends share: flow runs, their phases, places, attempts and claims.
//
// It knows no wire format, does no I/O and reads no clock. A backend (prefect/prefect1
// or prefect/prefect3) translates its protocol into these values and keeps
// everything else to itself.
package prefect
