package prefecttest

import (
	"cmp"
	"context"
	"slices"
	"time"
)

type agentConfig struct {
	ID       UUID
	Settings *JSON
}

func (q resolver) AgentConfig(args struct{ Where *struct{ ID *uuidExp } }) []agentConfig {
	defer q.lock()()
	rows := []agentConfig{}
	for id, settings := range q.api.store.configs {
		if args.Where == nil || matchUUID(args.Where.ID, id) {
			rows = append(rows, agentConfig{id, optionalJSON(settings)})
		}
	}
	slices.SortFunc(rows, func(a, b agentConfig) int { return cmp.Compare(a.ID, b.ID) })
	return rows
}

type agentRow struct{ a agent }

func (r agentRow) ID() UUID             { return r.a.ID }
func (r agentRow) TenantID() *UUID      { return &r.a.TenantID }
func (r agentRow) Name() *string        { return r.a.Name }
func (r agentRow) Type() *string        { return &r.a.Type }
func (r agentRow) CoreVersion() *string { return optionalString(r.a.CoreVersion) }
func (r agentRow) Labels() *JSON        { return &JSON{anyList(r.a.Labels)} }
func (r agentRow) LastQueried() *Time   { return optionalTime(r.a.LastQueried) }

func (q resolver) Agent(args struct {
	Where *struct {
		ID, TenantID *uuidExp
		Name, Type   *stringExp
		Labels       *jsonExp
		LastQueried  *timeExp
	}
	OrderBy       *[]struct{ ID, Name, LastQueried *string }
	Limit, Offset *int32
},
) []agentRow {
	defer q.lock()()
	rows := []agentRow{}
	for _, a := range inOrder(q.api.store.agents, func(a *agent) int { return a.made }) {
		w := args.Where
		if w == nil || (matchUUID(w.ID, a.ID) && matchUUID(w.TenantID, a.TenantID) && matchString(w.Name, deref(a.Name)) &&
			matchString(w.Type, a.Type) && w.Labels.match(anyList(a.Labels)) && matchTime(w.LastQueried, a.LastQueried)) {
			rows = append(rows, agentRow{*a})
		}
	}
	var by []ordering[agentRow]
	for _, o := range deref(args.OrderBy) {
		by = append(
			by, byKey(o.ID, func(a, b agentRow) int { return cmp.Compare(a.a.ID, b.a.ID) }),
			byKey(o.Name, func(a, b agentRow) int { return cmp.Compare(deref(a.a.Name), deref(b.a.Name)) }),
			byTime(o.LastQueried, func(r agentRow) time.Time { return r.a.LastQueried }),
		)
	}
	sortBy(rows, by)
	return page(rows, args.Limit, args.Offset)
}

func (q resolver) AgentByPk(args pk) *agentRow {
	defer q.lock()()
	if a := q.api.store.agents[args.ID]; a != nil {
		return &agentRow{*a}
	}
	return nil
}

// RegisterAgent gets or creates: one id for the same values, in whatever order the labels
// come. No name matches an agent of any name (prefect1-server §d).
func (q resolver) RegisterAgent(ctx context.Context, args struct {
	Input struct {
		Type          string
		Name          *string
		Labels        *[]string
		TenantID      *UUID
		AgentConfigID *UUID
	}
},
) (*idPayload, error) {
	defer q.lock()()
	s, in := q.api.store, args.Input
	if in.TenantID == nil && q.api.options.Key == "" || in.TenantID != nil && s.tenant(*in.TenantID) == nil {
		return nil, say("No tenant found.")
	}
	t, err := q.tenantOf(ctx, in.TenantID)
	if err != nil {
		return nil, err
	}
	a := &agent{
		ID: newID(), TenantID: t.ID, Name: in.Name, Type: in.Type, CoreVersion: header(ctx, headerCore),
		Labels: slices.Sorted(slices.Values(deref(in.Labels))),
	}
	for _, other := range inOrder(s.agents, func(a *agent) int { return a.made }) {
		if other.TenantID == a.TenantID && other.Type == a.Type && other.CoreVersion == a.CoreVersion && slices.Equal(other.Labels, a.Labels) &&
			(a.Name == nil || deref(other.Name) == *a.Name) {
			return &idPayload{new(other.ID)}, nil
		}
	}
	a.made = s.next()
	s.agents[a.ID] = a
	return &idPayload{&a.ID}, nil
}
