package fake

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// store is the server's database and memory.
type store struct {
	options Options
	version version

	mu          sync.Mutex
	started     time.Time
	pools       map[string]*pool // by name
	queues      map[string]*queue
	flows       map[string]*flow
	deployments map[string]*deployment
	runs        map[string]*run
	byState     map[string]map[string]*run
	limits      map[string]*limit
	leases      map[string]*lease // gone after a restart
	blocks      map[string]*block
	variables   map[string]*variable
	tokens      map[string]token
	logs        map[string][]LogLine // by flow run
	events      []*event             // the newest ones
	streams     map[*stream]bool
	drops       map[*websocket.Conn]context.CancelFunc // of all connections for events
	made        int
	timers      timers
}

func newStore(o Options, v version) *store {
	s := &store{
		options: o, version: v, pools: map[string]*pool{}, queues: map[string]*queue{}, flows: map[string]*flow{},
		deployments: map[string]*deployment{}, runs: map[string]*run{}, byState: map[string]map[string]*run{}, limits: map[string]*limit{},
		leases: map[string]*lease{}, blocks: map[string]*block{}, variables: map[string]*variable{}, tokens: map[string]token{},
		logs: map[string][]LogLine{}, streams: map[*stream]bool{}, drops: map[*websocket.Conn]context.CancelFunc{},
	}
	s.started = s.clock()
	return s
}

// newID is random even in repeatable tests: runs of two stand-ins meet in one cluster,
// and their Jobs must not.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return spelled(b)
}

// newID7 is an id that begins with the time, as states have them.
func (s *store) newID7() string {
	var b [16]byte
	rand.Read(b[:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(s.clock().UnixMilli())) //nolint:gosec // a clock before 1970 is no use
	copy(b[:6], ms[2:])
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	return spelled(b)
}

func spelled(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *store) next() int {
	s.made++
	return s.made
}

// row is what every table has.
type row struct {
	ID      string `json:"id"`
	Created stamp  `json:"created"`
	Updated stamp  `json:"updated"`
	made    int
}

func (s *store) row() row {
	now := stamp{s.clock()}
	return row{ID: newID(), Created: now, Updated: now, made: s.next()}
}

func (r *row) touch(s *store) { r.Updated = stamp{s.clock()} }

func (r *row) order() int { return r.made }

// inOrder are a table's rows in the order they were made.
func inOrder[K comparable, T interface{ order() int }](table map[K]T) []T {
	return slices.SortedFunc(maps.Values(table), func(a, b T) int { return cmp.Compare(a.order(), b.order()) })
}

// name is one of the server's own for a run.
func (s *store) name() string {
	first := []string{"noisy", "acrid", "lilac", "papaya", "sturdy", "nebulous", "rampant", "unique", "beige", "terrific", "sly", "intrepid"}
	second := []string{"finch", "ape", "fox", "viper", "rottweiler", "kingfisher", "mammoth", "tuna", "turaco", "silkworm", "teal"}
	return first[s.made%len(first)] + "-" + second[s.made%len(second)]
}
