// Package prefect says what a flow run is: its state, its labels, when it is
// due, what makes one attempt at it distinct from the next, and what can come
// of claiming it.
//
// It is the vocabulary the scaler, the launcher, the Job renderer and the
// backends share. It knows no wire format, does no I/O and reads no clock;
// a backend (prefect/prefect1 today, Prefect 3 work pools next) translates its
// protocol into these values and keeps everything else to itself.
package prefect
