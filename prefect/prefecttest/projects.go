package prefecttest

import (
	"cmp"
	"context"
)

type projectRow struct {
	ID       UUID
	Name     *string
	TenantID *UUID
}

func newProjectRow(p *project) projectRow { return projectRow{p.ID, new(p.Name), new(p.TenantID)} }

func (q resolver) Project(args struct {
	Where         *projectExp
	OrderBy       *[]struct{ Name, ID *string }
	Limit, Offset *int32
},
) []projectRow {
	defer q.lock()()
	rows := []projectRow{}
	for _, p := range inOrder(q.api.store.projects, func(p *project) int { return p.made }) {
		if args.Where.match(p) {
			rows = append(rows, newProjectRow(p))
		}
	}
	var by []ordering[projectRow]
	for _, o := range deref(args.OrderBy) {
		by = append(
			by, byKey(o.Name, func(a, b projectRow) int { return cmp.Compare(*a.Name, *b.Name) }),
			byKey(o.ID, func(a, b projectRow) int { return cmp.Compare(a.ID, b.ID) }),
		)
	}
	sortBy(rows, by)
	return page(rows, args.Limit, args.Offset)
}

func (q resolver) ProjectByPk(args pk) *projectRow {
	defer q.lock()()
	if p := q.api.store.projects[args.ID]; p != nil {
		return new(newProjectRow(p))
	}
	return nil
}

func (q resolver) CreateProject(ctx context.Context, args struct {
	Input struct {
		Name        string
		Description *string
		TenantID    *UUID
	}
},
) (*idPayload, error) {
	defer q.lock()()
	t, err := q.tenantOf(ctx, args.Input.TenantID)
	if err != nil {
		return nil, err
	}
	for _, p := range q.api.store.projects {
		if p.Name == args.Input.Name && p.TenantID == t.ID {
			return nil, say("Uniqueness violation.")
		}
	}
	p := &project{ID: newID(), TenantID: t.ID, Name: args.Input.Name, made: q.api.store.next()}
	q.api.store.projects[p.ID] = p
	return &idPayload{&p.ID}, nil
}
