package prefect

import "slices"

// LabelsMatch is Prefect's rule for which launcher may take which run: every
// label of the run must be among the launcher's, and a run without labels is
// only for launchers without labels ("no labels" is a label of its own;
// prefect1-spec §3.1). Labels are case-sensitive.
func LabelsMatch(launcher, run []string) bool {
	if len(run) == 0 {
		return len(launcher) == 0
	}
	for _, l := range run {
		if !slices.Contains(launcher, l) {
			return false
		}
	}
	return true
}
