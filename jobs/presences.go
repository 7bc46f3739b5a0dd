package jobs

import "sync"

// maxPresences bounds how many runs' presences are kept. A backend answers with fewer claims.
const maxPresences = 8192

// presences keep what was found of runs' Jobs and pods in one namespace, until these change.
// Every plan asks for all claimed runs again, thousands in a burst, and few have changed.
type presences struct {
	mu    sync.Mutex
	found map[string]Presence // by run; only of runs with something
}

func newPresences() *presences { return &presences{found: map[string]Presence{}} }

// of is the presence of a run. It looks while nobody can forget, so that a change right after
// the look is not lost.
func (p *presences) of(run string, look func() Presence) Presence {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.found[run]
	if ok {
		return found
	}
	found = look()
	if len(found.Jobs) == 0 && !found.Alive {
		return found
	}
	if len(p.found) >= maxPresences {
		clear(p.found) // those that are asked for come back
	}
	p.found[run] = found
	return found
}

// forget is called after something of a run has changed.
func (p *presences) forget(run string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.found, run)
}
