package prefecttest

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// resolver answers the root fields. It copies rows under the lock, because their fields
// are resolved after the unlock.
type resolver struct{ api *API }

func (q resolver) lock() func() {
	q.api.store.mu.Lock()
	return q.api.store.mu.Unlock
}

// refused is an error in the server's own words, with another code than usual.
type refused struct{ message, code string }

func (r refused) Error() string { return r.message }

// Extensions are GraphQL's details beside the message.
func (r refused) Extensions() map[string]any { return map[string]any{"code": r.code} }

// say is an error in the server's own words, capitals and full stops included.
func say(message string) error { return refused{message, codeInternal} }

func (q resolver) Hello() *string { return new("👋") }

type apiRow struct{ Backend, Mode *string }

func (q resolver) Api() *apiRow { //nolint:revive,staticcheck // named by the field
	return &apiRow{new("SERVER"), new("normal")}
}

type authInfo struct{ TenantID *UUID }

// AuthInfo is Cloud's; a key belongs to the first tenant.
func (q resolver) AuthInfo() *authInfo {
	defer q.lock()()
	return &authInfo{&q.api.store.tenants[0].ID}
}

// SecretValue is Cloud's. We know of no recorded answer for a missing secret, but the
// client takes these words for one.
func (q resolver) SecretValue(args struct{ Name string }) (*JSON, error) {
	value, ok := q.api.options.Secrets[args.Name]
	if !ok {
		return nil, say("No value found for the requested key")
	}
	return &JSON{asJSON(value)}, nil
}

type pk struct{ ID UUID }

type tenantRow struct {
	ID         UUID
	Name, Slug *string
	Created    *Time
}

func newTenantRow(t *tenant) tenantRow {
	return tenantRow{t.ID, new(t.Name), new(t.Slug), optionalTime(t.Created)}
}

// Tenant answers in no order unless asked, so not in that of creation.
func (q resolver) Tenant(args struct {
	Where *struct {
		ID         *uuidExp
		Slug, Name *stringExp
	}
	OrderBy       *[]struct{ Slug, Name, ID, Created *string }
	Limit, Offset *int32
},
) []tenantRow {
	defer q.lock()()
	rows := []tenantRow{}
	for _, t := range slices.Backward(q.api.store.tenants) {
		if w := args.Where; w == nil || (matchUUID(w.ID, t.ID) && matchString(w.Slug, t.Slug) && matchString(w.Name, t.Name)) {
			rows = append(rows, newTenantRow(t))
		}
	}
	var by []ordering[tenantRow]
	for _, o := range deref(args.OrderBy) {
		by = append(
			by, byKey(o.Slug, func(a, b tenantRow) int { return cmp.Compare(*a.Slug, *b.Slug) }),
			byKey(o.Name, func(a, b tenantRow) int { return cmp.Compare(*a.Name, *b.Name) }),
			byKey(o.ID, func(a, b tenantRow) int { return cmp.Compare(a.ID, b.ID) }),
			byTime(o.Created, func(t tenantRow) time.Time { return t.Created.Time }),
		)
	}
	sortBy(rows, by)
	return page(rows, args.Limit, args.Offset)
}

func (q resolver) TenantByPk(args pk) *tenantRow {
	defer q.lock()()
	if t := q.api.store.tenant(args.ID); t != nil {
		return new(newTenantRow(t))
	}
	return nil
}

type idPayload struct{ ID *UUID }

type successPayload struct {
	Success *bool
	Error   *string
}

func ok() *successPayload { return &successPayload{Success: new(true)} }

func (q resolver) CreateTenant(args struct{ Input struct{ Name, Slug string } }) (*idPayload, error) {
	defer q.lock()()
	for _, t := range q.api.store.tenants {
		if t.Slug == args.Input.Slug {
			return nil, say("Uniqueness violation.")
		}
	}
	t := &tenant{ID: newID(), Name: args.Input.Name, Slug: args.Input.Slug, Created: q.api.store.clock()}
	q.api.store.tenants = append(q.api.store.tenants, t)
	return &idPayload{&t.ID}, nil
}

// tenantOf is the tenant that a request names, by input or header, or the first one.
func (q resolver) tenantOf(ctx context.Context, id *UUID) (*tenant, error) {
	named := string(deref(id))
	if named == "" {
		named = header(ctx, headerTenant)
	}
	if named == "" {
		return q.api.store.tenants[0], nil
	}
	if t := q.api.store.tenant(UUID(named)); t != nil {
		return t, nil
	}
	return nil, say("No tenant found.")
}
