package backendtest

// contract holds at every Prefect.
func contract() []struct {
	name string
	test func(*suite)
} {
	return []struct {
		name string
		test func(*suite)
	}{
		{"due runs come in due order, within limit, time and scope", dueRuns},
		{"all readers see the same attempt and revision", readersAgree},
		{"the scaler sees what launchers see", observerAgrees},
		{"runs that are kept back are shown and not due", held},
		{"everybody sees a claim", claimed},
		{"a run keeps its claim when its Job exists", launched},
		{"a run keeps its claim while its pod waits", pending},
		{"a second claim does not go unnoticed", claimedTwice},
		{"of claims made at once those that win are there", claimedAtOnce},
		{"a claim of a run that moved on does not go unnoticed", claimedLate},
		{"a claim whose answer is lost is read back", answerLost},
		{"a claim that did not arrive changes nothing", requestLost},
		{"a write that is too late is not sent", tooLate},
		{"a wish to be left alone is passed on", leftAlone},
		{"a refused key is an error of its own", keyRefused},
		{"a run that is gone is an error of its own", runGone},
		{"a run that is handed back is due again, as another attempt", handedBack},
		{"hand-backs because pods never began are counted", handBacksCounted},
		{"a run is failed and cancelled with a message", ended},
		{"history tells of rivals and late claims, and restoring undoes them", history},
		{"a run that needs a Job first is another attempt each time", jobFirst},
		{"runs that retry elsewhere are left out", jobFirstElsewhere},
		{"a claimed run says by when it needs a sign of life", kept},
		{"supervision tells who should end and who is silent", supervision},
		{"log lines come to their runs", logged},
		{"a launcher announces itself as often as it likes", announced},
	}
}
