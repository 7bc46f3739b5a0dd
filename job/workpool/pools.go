package workpool

import (
	"encoding/json"
	"sync"
)

// pools are work pools as they were decoded for earlier runs. Decoding the template is much of
// what a Job costs, and the runs of a burst share a few of them.
//
// A nil one keeps nothing.
type pools struct {
	mu    sync.Mutex
	known map[string]pool // by the text of the pool's row
	bytes int             // of those texts
}

const (
	// maxKept bounds the texts of the pools that are kept, in bytes. A usual one has 8 KiB, and
	// takes some ten times as much decoded.
	maxKept = 512 << 10
	// maxKeptPool is the largest that is kept: of a strange one the values may take a hundred
	// times as much as the text.
	maxKeptPool = 64 << 10
)

func (p *pools) open(raw json.RawMessage) (pool, error) {
	if p == nil || len(raw) > maxKeptPool {
		return openPool(raw)
	}
	p.mu.Lock()
	opened, ok := p.known[string(raw)]
	p.mu.Unlock()
	if ok {
		return opened, nil
	}
	opened, err := openPool(raw)
	if err != nil {
		return opened, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[string]pool{}
	}
	if _, ok := p.known[string(raw)]; ok {
		return opened, nil // another run was as quick
	}
	for text := range p.known { // any: those that are used come back
		if p.bytes+len(raw) <= maxKept {
			break
		}
		p.bytes -= len(text)
		delete(p.known, text)
	}
	p.known[string(raw)] = opened
	p.bytes += len(raw)
	return opened, nil
}
