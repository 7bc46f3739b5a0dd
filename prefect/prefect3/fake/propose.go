package fake

import (
	"net/http"
	"slices"
	"strings"
)

// setState is the route by which everybody proposes states.
func (a *API) setState(q *ask) (int, any) {
	in := struct {
		State *proposal `json:"state"`
		Force bool      `json:"force"`
	}{}
	if status, out := q.decode(&in); status != 0 {
		return status, out
	}
	if status, out := q.strict(&in); status != 0 {
		return status, out
	}
	id := q.PathValue("id")
	if status, out := q.validState(in.State); status != 0 {
		return status, out
	}
	r := a.store.runs[id]
	switch {
	case !uuidForm.MatchString(id):
		return missing("Not Found")
	case r == nil:
		return http.StatusNotFound, refusal{Exception: "Flow run with id " + id + " not found"}
	}
	answer := a.store.propose(r, *in.State, in.Force, q.UserAgent())
	return newer(q, answer), answer
}

// newer is the status of an answer: 201 for a state that is no older than the request.
func newer(q *ask, answer outcome) int {
	if answer.State != nil && !answer.State.Timestamp.Before(q.at) {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (q *ask) validState(p *proposal) (int, any) {
	switch {
	case p == nil:
		return q.invalid(problem{Type: "missing", Loc: []any{"state"}, Msg: "Field required"})
	case !slices.Contains(Types(), p.Type):
		return q.invalid(problem{Type: "enum", Loc: []any{"state", "type"}, Msg: "Input should be " + spellTypes(), Input: p.Type, Context: map[string]any{"expected": spellTypes()}})
	}
	if id := p.Details.TransitionID; id != nil && !uuidForm.MatchString(*id) {
		reason := "invalid character: found `" + (*id)[:min(1, len(*id))] + "` at 0"
		return q.invalid(problem{
			Type: "uuid_parsing", Loc: []any{"state", "state_details", "transition_id"}, Msg: "Input should be a valid UUID, " + reason,
			Input: *id, Context: map[string]any{"error": reason},
		})
	}
	return 0, nil
}

func spellTypes() string {
	all := Types()
	return "'" + strings.Join(all[:len(all)-1], "', '") + "' or '" + all[len(all)-1] + "'"
}

// resume ends a pause.
func (a *API) resume(q *ask) (int, any) {
	r, status, out := a.run(q)
	if status != 0 {
		return status, out
	}
	if r.state.Type != paused {
		return http.StatusOK, outcome{Status: abort, Details: map[string]any{"type": "abort_details", "reason": "Cannot resume a flow run that is not paused."}}
	}
	r.Policy.Resuming = true
	p := proposal{Type: running}
	if r.state.Details.PauseReschedul {
		p = proposal{Type: scheduled, Name: "Resuming"}
	}
	answer := a.store.propose(r, p, false, q.UserAgent())
	return newer(q, answer), answer
}
