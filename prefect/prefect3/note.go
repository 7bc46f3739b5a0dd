package prefect3

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/prefect-keda/prefect-keda/prefect"
)

// marker begins each line of ours in a state's message.
const marker = "prefect-keda "

// noteOf is a claim as the server keeps it: the last line of a Pending state's message, and
// a label of the run. Launchers of other releases read it: add members, never change one.
//
//	prefect-keda launcher=NAME job=NAMESPACE/NAME cluster=NAMESPACE-UID attempt=ID
//
// returned, unless it is zero, is how often the run was handed back because its pods never
// began.
func noteOf(c prefect.Claim, returned int) string {
	esc := url.QueryEscape
	note := marker + "launcher=" + esc(c.Launcher) + " job=" + esc(c.Namespace) + "/" + esc(c.Job) +
		" cluster=" + esc(c.NamespaceUID) + " attempt=" + esc(string(c.Attempt))
	if returned > 0 {
		note += " returned=" + strconv.Itoa(returned)
	}
	return note
}

// claimIn is the claim in a Pending state's message, nil if there is none of ours.
func claimIn(message string) (c *prefect.Claim, returned int) {
	_, note := cutNote(message)
	m, ok := members(note)
	if !ok {
		return nil, 0
	}
	namespace, job, both := strings.Cut(m["job"], "/")
	if !both || strings.Contains(job, "/") || m["attempt"] == "" {
		return nil, 0
	}
	texts := []string{m["launcher"], namespace, job, m["cluster"], m["attempt"]}
	for i, escaped := range texts {
		plain, err := url.QueryUnescape(escaped)
		if err != nil {
			return nil, 0
		}
		texts[i] = plain
	}
	return &prefect.Claim{
		Launcher: texts[0], Namespace: texts[1], Job: texts[2], NamespaceUID: texts[3], Attempt: prefect.Attempt(texts[4]),
	}, count(m["returned"])
}

// members reads a line of ours. A member that comes twice makes it somebody else's.
func members(line string) (map[string]string, bool) {
	rest, ours := strings.CutPrefix(line, marker)
	if !ours {
		return nil, false
	}
	all := map[string]string{}
	for member := range strings.SplitSeq(rest, " ") {
		key, value, ok := strings.Cut(member, "=")
		if _, twice := all[key]; twice || !ok || key == "" {
			return nil, false
		}
		all[key] = value
	}
	return all, true
}

// cutNote parts a message into the words for people and our line at its end, if any.
func cutNote(message string) (words, note string) {
	at := strings.LastIndex(message, "\n") + 1
	if !strings.HasPrefix(message[at:], marker) {
		return message, ""
	}
	return strings.TrimSuffix(message[:at], "\n"), message[at:]
}

// withReturned adds to a Scheduled state's message how often the run was handed back
// because its pods never began.
func withReturned(message string, returned int) string {
	if returned <= 0 {
		return message
	}
	return message + "\n" + marker + "returned=" + strconv.Itoa(returned)
}

// returnedIn is that number, and the message without it; zero if it has none, or nonsense.
func returnedIn(message string) (words string, returned int) {
	words, note := cutNote(message)
	m, ok := members(note)
	if !ok || len(m) != 1 || m["returned"] == "" {
		return message, 0
	}
	return words, count(m["returned"])
}

func count(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return max(n, 0)
}
