package prefecttest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// flowRow is a flow with its relations, as it was at the query.
type flowRow struct {
	f flow
	p *projectRow
}

func (s *store) flowRow(f *flow) *flowRow {
	row := &flowRow{f: *f}
	row.f.Settings = maps.Clone(f.Settings)
	if p := s.projects[f.ProjectID]; p != nil {
		row.p = new(newProjectRow(p))
	}
	return row
}

func (r *flowRow) ID() UUID                { return r.f.ID }
func (r *flowRow) Name() *string           { return &r.f.Name }
func (r *flowRow) Version() *int32         { return new(int32(r.f.Version)) }
func (r *flowRow) Archived() *bool         { return new(false) }
func (r *flowRow) CoreVersion() *string    { return optionalString(r.f.CoreVersion) }
func (r *flowRow) Environment() *JSON      { return optionalJSON(r.f.Environment) }
func (r *flowRow) Storage() *JSON          { return optionalJSON(r.f.Storage) }
func (r *flowRow) RunConfig() *JSON        { return optionalJSON(r.f.RunConfig) }
func (r *flowRow) FlowGroupID() *UUID      { return &r.f.GroupID }
func (r *flowRow) VersionGroupID() *string { return &r.f.VersionGroup }
func (r *flowRow) ProjectID() *UUID        { return optionalID(r.f.ProjectID) }
func (r *flowRow) TenantID() *UUID         { return &r.f.TenantID }
func (r *flowRow) Project() *projectRow    { return r.p }
func (r *flowRow) Settings() *JSON {
	settings := map[string]any{}
	maps.Copy(settings, r.f.Settings)
	return &JSON{settings}
}

func (q resolver) Flow(args struct {
	Where         *flowExp
	OrderBy       *[]struct{ Version, Name, ID *string }
	Limit, Offset *int32
},
) []*flowRow {
	defer q.lock()()
	s := q.api.store
	rows := []*flowRow{}
	for _, f := range inOrder(s.flows, func(f *flow) int { return f.made }) {
		if args.Where.match(s, f) {
			rows = append(rows, s.flowRow(f))
		}
	}
	var by []ordering[*flowRow]
	for _, o := range deref(args.OrderBy) {
		by = append(
			by, byKey(o.Version, func(a, b *flowRow) int { return cmp.Compare(a.f.Version, b.f.Version) }),
			byKey(o.Name, func(a, b *flowRow) int { return cmp.Compare(a.f.Name, b.f.Name) }),
			byKey(o.ID, func(a, b *flowRow) int { return cmp.Compare(a.f.ID, b.f.ID) }),
		)
	}
	sortBy(rows, by)
	return page(rows, args.Limit, args.Offset)
}

func (q resolver) FlowByPk(args pk) *flowRow {
	defer q.lock()()
	if f := q.api.store.flows[args.ID]; f != nil {
		return q.api.store.flowRow(f)
	}
	return nil
}

// CreateFlowFromCompressedString registers a client's flow: JSON, gzip, base64.
func (q resolver) CreateFlowFromCompressedString(args struct {
	Input struct {
		SerializedFlow                              string
		ProjectID                                   *UUID
		VersionGroupID, Description, IdempotencyKey *string
		SetScheduleActive                           *bool
	}
},
) (*idPayload, error) {
	text, err := decompress(args.Input.SerializedFlow)
	if err != nil {
		return nil, fmt.Errorf("serialized_flow: %w", err)
	}
	var serialized struct {
		Name        string           `json:"name"`
		Version     string           `json:"__version__"`
		Storage     any              `json:"storage"`
		RunConfig   any              `json:"run_config"`
		Environment any              `json:"environment"`
		Tasks       []serializedTask `json:"tasks"`
	}
	if err := json.Unmarshal(text, &serialized); err != nil {
		return nil, fmt.Errorf("serialized_flow: %w", err)
	}
	defer q.lock()()
	s := q.api.store
	p := s.projects[deref(args.Input.ProjectID)]
	if p == nil {
		return nil, say("Invalid project.")
	}
	f, created := s.addFlow(flow{
		Name: serialized.Name, ProjectID: p.ID, TenantID: p.TenantID, VersionGroup: deref(args.Input.VersionGroupID), Key: deref(args.Input.IdempotencyKey),
		CoreVersion: serialized.Version, Storage: serialized.Storage, RunConfig: serialized.RunConfig, Environment: serialized.Environment,
	})
	if created {
		for _, t := range serialized.Tasks {
			s.addTask(f, t)
		}
	}
	return &idPayload{new(f.ID)}, nil
}

func decompress(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxFlow+1))
	if err == nil && len(text) > maxFlow {
		err = errors.New("flow is too large")
	}
	return text, err
}

// maxFlow bounds the unpacked flow.
const maxFlow = 64 << 20

// addFlow makes a new version of a flow, unless the newest has the same idempotency key.
// Versions go together by version group, or by name and project.
func (s *store) addFlow(f flow) (added *flow, created bool) {
	f.ID, f.GroupID, f.Version, f.made = newID(), newID(), 1, s.next()
	var newest *flow
	for _, other := range s.flows {
		same := other.Name == f.Name && other.ProjectID == f.ProjectID && other.TenantID == f.TenantID
		if f.VersionGroup != "" {
			same = other.VersionGroup == f.VersionGroup && other.TenantID == f.TenantID
		}
		if same && (newest == nil || other.Version > newest.Version) {
			newest = other
		}
	}
	if newest != nil {
		if f.Key != "" && newest.Key == f.Key {
			return newest, false
		}
		f.GroupID, f.VersionGroup, f.Version, f.Settings = newest.GroupID, newest.VersionGroup, newest.Version+1, maps.Clone(newest.Settings)
	}
	if f.VersionGroup == "" {
		f.VersionGroup = string(newID())
	}
	s.flows[f.ID] = &f
	return &f, true
}

type serializedTask struct {
	Name       string `json:"name"`
	Slug       string `json:"slug"`
	MaxRetries int    `json:"max_retries"`
}

func (s *store) addTask(f *flow, serialized serializedTask) {
	i := slices.IndexFunc(f.tasks, func(t *task) bool { return t.Slug == serialized.Slug })
	if i >= 0 { // the flow named it, register_tasks knows the rest
		f.tasks[i].MaxRetries = serialized.MaxRetries
		return
	}
	t := &task{ID: newID(), FlowID: f.ID, Name: serialized.Name, Slug: serialized.Slug, MaxRetries: serialized.MaxRetries}
	f.tasks = append(f.tasks, t)
	s.tasks[t.ID] = t
}

func (q resolver) RegisterTasks(args struct {
	Input struct {
		FlowID          UUID
		SerializedTasks []JSON
	}
},
) (*successPayload, error) {
	defer q.lock()()
	f := q.api.store.flows[args.Input.FlowID]
	if f == nil {
		return nil, say("Invalid flow ID.")
	}
	for _, t := range args.Input.SerializedTasks {
		text, err := json.Marshal(t.Value)
		if err != nil {
			return nil, err
		}
		var serialized serializedTask
		if err := json.Unmarshal(text, &serialized); err != nil {
			return nil, fmt.Errorf("serialized_tasks: %w", err)
		}
		q.api.store.addTask(f, serialized)
	}
	return ok(), nil
}

// RegisterEdges takes edges and drops them: nothing asks for them.
func (q resolver) RegisterEdges(struct {
	Input struct {
		FlowID          UUID
		SerializedEdges []JSON
	}
},
) *successPayload {
	return ok()
}

type flowInput struct{ Input struct{ FlowID UUID } }

// SetScheduleActive ends a registration; nothing schedules runs here.
func (q resolver) SetScheduleActive(flowInput) *successPayload { return ok() }

// SetScheduleInactive is its counterpart.
func (q resolver) SetScheduleInactive(flowInput) *successPayload { return ok() }
