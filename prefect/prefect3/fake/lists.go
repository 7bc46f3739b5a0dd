package fake

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// search is the body of a list of flow runs.
type search struct {
	page
	Sort   string      `json:"sort"`
	Runs   runFilter   `json:"flow_runs"`
	Pools  poolFilter  `json:"work_pools"`
	Queues queueFilter `json:"work_pool_queues"`
	Of     struct {
		ID   *anyOf `json:"id"`
		Name *anyOf `json:"name"`
	} `json:"deployments"`
	Flows struct {
		ID   *anyOf `json:"id"`
		Name *anyOf `json:"name"`
	} `json:"flows"`
}

// kinds narrows a search by state, so that finished runs cost nothing.
func (in search) kinds() []string {
	st := in.Runs.State
	if in.Runs.Operator == "or_" || st == nil || st.Operator == "or_" || st.Type == nil || st.Type.Any == nil {
		return Types()
	}
	return *st.Type.Any
}

func (s *store) find(in search) []*run {
	if st := in.Runs.State; st != nil && st.Type != nil && st.Type.Any != nil && st.Type.Not != nil && !s.version.since(withBothStateLists) {
		st.Type = nil // older servers drop such a filter without a word
	}
	var found []*run
	takes := in.Runs.test()
	seen := map[string]bool{}
	for _, kind := range in.kinds() {
		for _, r := range s.byState[kind] {
			if seen[kind] || !takes(r) || !in.Pools.takes(r.queue.inPool()) || !in.Queues.takes(r.queue) {
				continue
			}
			name := ""
			if r.deployment != nil {
				name = r.deployment.Name
			}
			if in.Of.ID.takes(deref(r.DeploymentID)) && in.Of.Name.takes(name) && in.Flows.ID.takes(r.FlowID) && in.Flows.Name.takes(s.flowName(r)) {
				found = append(found, r)
			}
		}
		seen[kind] = true
	}
	return found
}

func (s *store) flowName(r *run) string {
	if f := s.flows[r.FlowID]; f != nil {
		return f.Name
	}
	return ""
}

// sorts are the orders there are. Runs without a time come first, as on SQLite.
func sorts() map[string]func(a, b *run) int {
	return map[string]func(a, b *run) int{
		"":                              func(a, b *run) int { return strings.Compare(b.ID, a.ID) },
		"ID_DESC":                       func(a, b *run) int { return strings.Compare(b.ID, a.ID) },
		"START_TIME_ASC":                func(a, b *run) int { return a.began().Compare(b.began().Time) },
		"START_TIME_DESC":               func(a, b *run) int { return b.began().Compare(a.began().Time) },
		"EXPECTED_START_TIME_ASC":       func(a, b *run) int { return a.Expected.Compare(b.Expected.Time) },
		"EXPECTED_START_TIME_DESC":      func(a, b *run) int { return b.Expected.Compare(a.Expected.Time) },
		"NAME_ASC":                      func(a, b *run) int { return strings.Compare(a.Name, b.Name) },
		"NAME_DESC":                     func(a, b *run) int { return strings.Compare(b.Name, a.Name) },
		"NEXT_SCHEDULED_START_TIME_ASC": func(a, b *run) int { return a.Next.Compare(b.Next.Time) },
		"END_TIME_DESC":                 func(a, b *run) int { return b.EndTime.Compare(a.EndTime.Time) },
	}
}

// began is the time that the server sorts runs by: a run that has not begun has the one it
// is expected at.
func (r *run) began() stamp {
	if r.StartTime.IsZero() {
		return r.Expected
	}
	return r.StartTime
}

// decodeSearch also refuses what is no type of states.
func (q *ask) decodeSearch(in *search) (int, any) {
	if status, out := q.decodePage(in, &in.page); status != 0 {
		return status, out
	}
	if st := in.Runs.State; st != nil && st.Type != nil {
		for _, list := range []*[]string{st.Type.Any, st.Type.Not} {
			for i := range len(orNone(list)) {
				if kind := (*list)[i]; !slices.Contains(Types(), kind) {
					return q.invalid(problem{
						Type: "enum", Loc: []any{"flow_runs", "state", "type", "any_", i}, Msg: "Input should be " + spellTypes(), Input: kind,
						Context: map[string]any{"expected": spellTypes()},
					})
				}
			}
		}
	}
	return 0, nil
}

func orNone(list *[]string) []string {
	if list == nil {
		return nil
	}
	return *list
}

func (a *API) listRuns(q *ask) (int, any) {
	rows, _, status, out := a.searchRuns(q)
	if status != 0 {
		return status, out
	}
	return http.StatusOK, rows
}

func (a *API) searchRuns(q *ask) (rows []run, found int, status int, out any) {
	var in search
	if status, out = q.decodeSearch(&in); status != 0 {
		return nil, 0, status, out
	}
	by := sorts()[in.Sort]
	if by == nil {
		status, out = q.invalid(problem{Type: "enum", Loc: []any{"sort"}, Msg: "Input should be one of the orders", Input: in.Sort})
		return nil, 0, status, out
	}
	all := a.store.find(in)
	slices.SortFunc(all, func(a, b *run) int { return cmp.Or(by(a, b), cmp.Compare(a.made, b.made)) })
	rows = []run{}
	for _, r := range paged(all, in.page) {
		rows = append(rows, a.store.show(r))
	}
	return rows, len(all), 0, nil
}

// pageOfRuns is the UI's list.
func (a *API) pageOfRuns(q *ask) (int, any) {
	rows, found, status, out := a.searchRuns(q)
	if status != 0 {
		return status, out
	}
	var in page
	q.decode(&in)
	most := pageLimit
	if in.Limit != nil && *in.Limit > 0 {
		most = *in.Limit
	}
	return http.StatusOK, map[string]any{"results": rows, "count": found, "limit": most, "pages": (found + most - 1) / most, "page": 1}
}

func (a *API) countRuns(q *ask) (int, any) {
	var in search
	if status, out := q.decodeSearch(&in); status != 0 {
		return status, out
	}
	return http.StatusOK, len(a.store.find(in))
}
