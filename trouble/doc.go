// Package trouble judges Jobs by their pods: it finds the kind of trouble, its beginning
// and the words for the flow run, and leaves out Jobs that are done with.
//
// The scaler asks it whether a launcher is needed, a launcher what to do. It is pure: no
// I/O, no clock, no memory. A Note on the Job itself remembers what was told, which
// launcher has the case and when to try again, so every launcher judges alike.
//
// The kinds and the words follow the agent's job management (prefect1 §6) and add trouble
// that it could not see: pods that no node takes, Jobs without pods, Jobs that outlive
// their run.
package trouble
