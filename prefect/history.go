package prefect

// History is what was written of a claimed run since the attempt of its claim was
// scheduled.
type History struct {
	// Run is the run as it is now.
	Run FlowRun
	// Claims of launchers of ours, the first ones first. The server may take several
	// of one attempt.
	Claims []Claim
	// Reached is the newest state that is not Submitted: how far the run has come. Its
	// type is empty when it was only submitted.
	Reached State
}

// IsLate reports whether the claim the run shows was applied after the run had
// begun, or ended, with another claim of the attempt, or had been scheduled anew
// since, which makes another attempt. A slow server does so.
func (h History) IsLate() bool {
	reached := h.Reached.Type
	return h.Run.State.Type == Submitted && (reached.IsRunning() || reached.IsFinished() || reached.IsScheduled())
}
