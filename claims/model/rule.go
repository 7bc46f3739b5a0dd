package model

// Rule is a guard that launchers keep, or an assumption about everybody else. A World may
// be without one, to see what goes wrong then.
type Rule int8

// The guards.
const (
	SendsSoon Rule = iota + 1
	AwaitsNotLong
	CreatesSoon
	SharesTheName
	KnowsItsCluster
	ListsBeforeClaim
	ReadsAfterList
	ListsBeforeRepair
	Repairs
	ChecksBeforeHandBack
	HandsBackForLater
	UndoesLate
	PutsBackRevived
	ListsBeforeRunning
	RestartIsAlone
	ReadsNamesBack
	WaitsForRivals
	ListsRivals
)

// The assumptions.
const (
	PodsLive Rule = iota + 101
	JobsStay
	PersonsPace
	NobodyCancelsMeanwhile
	LaunchersCome
	LazarusMeetsNobody
	HandsBackAlone
	OneLock
)

// Stated is a rule in words.
type Stated struct {
	Rule
	Name, What string
	// Code is where a guard is kept, from the root of the module.
	Code string
}

// Guards are what launchers keep to.
func Guards() []Stated {
	return []Stated{
		{SendsSoon, "sends soon", "A claim is sent, and a state restored, within `SendWithin` of the read that it rests on, or not at all.", "claims/claims.go"},
		{AwaitsNotLong, "awaits not long", "A claim whose answer took longer than `SendWithin` counts only after a read of the run's history.", "launcher/claim.go"},
		{CreatesSoon, "creates soon", "A Job is created within `CreateWithin` of the claim, or of the read that confirmed it, or not at all.", "launcher/finish.go"},
		{SharesTheName, "shares the name", "All launchers of a cluster make the same name of run and attempt; one that exists is not created again.", "job/name.go"},
		{KnowsItsCluster, "knows its cluster", "Of a claim from another cluster's namespace nobody makes a Job.", "claims/claims.go"},
		{ListsBeforeClaim, "lists before a claim", "A run that was scheduled before is claimed only after a list of its Jobs: one that can take it is adopted.", "launcher/launch.go"},
		{ReadsAfterList, "reads after the list", "If that list shows a Job that has ended, the run is read again: the Job may have brought it to its end meanwhile.", "launcher/launch.go"},
		{ListsBeforeRepair, "lists before a repair", "The Job of another's claim is created only after a list without a Job that can take the run, or is the attempt's.", "launcher/finish.go"},
		{Repairs, "repairs", "A claim without its Job gets it from any launcher of the cluster.", "launcher/plan.go"},
		{ChecksBeforeHandBack, "checks before it hands back", "A run is handed back within `SendWithin` of a read of its history that confirmed the claim, or not at all.", "launcher/handback.go"},
		{HandsBackForLater, "hands back for later", "A run that is handed back, or a restart that is restored, is not due before `HandBackDelay` is over.", "launcher/handback.go"},
		{UndoesLate, "undoes a late claim", "Of a claim that came over anything but its own schedule nobody makes a Job; what it came over is restored.", "claims/late.go"},
		{PutsBackRevived, "puts a revived run back", "A claim is not won, though Prefect 3 accepts it, if the run had ended.", "prefect/prefect3/claim.go"},
		{ListsBeforeRunning, "lists before Running is restored", "Running is restored only if a list shows no Job that goes on, and a read after it shows the same late claim: a pod may have ended the run since.", "claims/late.go"},
		{RestartIsAlone, "a restart is alone", "A restart is restored only if no Job can take the run: then the late claim is as good as a new one.", "claims/late.go"},
		{ReadsNamesBack, "reads names back", "Where templates may name Jobs differently, the claims are read back before the Job is created.", "launcher/claim.go"},
		{WaitsForRivals, "waits for rivals", "Where claims name the Job differently, nobody creates it before `RivalsSettle` is over.", "launcher/finish.go"},
		{ListsRivals, "lists rivals", "And then only after a list without a Job of the attempt.", "launcher/finish.go"},
	}
}

// Assumptions are what launchers cannot see to (claim-protocol §5).
func Assumptions() []Stated {
	return []Stated{
		{PodsLive, "pods live", "A pod takes longer from its begin to its end than `SendWithin`.", ""},
		{JobsStay, "Jobs stay", "A finished Job stays for longer than `CreateWithin` (`job.MinTTLSeconds`), and nobody deletes it before.", ""},
		{PersonsPace, "a person's pace", "Nobody starts a run again within `CreateWithin` of its end; with several clusters, not before its cancelled Job was stopped.", ""},
		{NobodyCancelsMeanwhile, "nobody cancels meanwhile", "Nobody cancels a run in the seconds between a launcher's read and its write. With Prefect 1, nor while a claim is late and a Job waits.", ""},
		{LaunchersCome, "launchers come", "Prefect 1's Lazarus does not strike before a launcher was up to see to a late claim, or to send the heartbeats of a Job that waits in another cluster.", ""},
		{LazarusMeetsNobody, "Lazarus meets nobody", "Nor in the moment in which a launcher has confirmed a claim and creates its Job.", ""},
		{HandsBackAlone, "hands back alone", "With several clusters, no launcher hands a run back, or restores a restart, while another of its cluster has confirmed the claim and creates the Job, or one elsewhere has just read the run.", ""},
		{OneLock, "one lock", "Several clusters share one process of Prefect 1's API, whose lock outlasts a late claim.", ""},
	}
}
