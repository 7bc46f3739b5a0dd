package job

import "sync"

// Kept are texts of one kind as they were decoded for earlier runs: templates, and objects of the
// API. Decoding them is much of what a Job costs, and the runs of a burst share a few. Who gets
// one must not change it. The zero value is ready.
type Kept[T any] struct {
	mu    sync.Mutex
	known map[string]T // by the text
	bytes int          // of those texts
}

const (
	// maxKept bounds the texts of a kind, in bytes. A usual work pool has 8 KiB, and takes some
	// ten times as much decoded.
	maxKept = 512 << 10
	// maxKeptText is the largest text that is kept: the values of a strange one may take a
	// hundred times as much.
	maxKeptText = 64 << 10
)

// Open decodes a text, unless it is known.
func (k *Kept[T]) Open(raw []byte, decode func([]byte) (T, error)) (T, error) {
	if len(raw) > maxKeptText {
		return decode(raw)
	}
	k.mu.Lock()
	opened, ok := k.known[string(raw)]
	k.mu.Unlock()
	if ok {
		return opened, nil
	}
	opened, err := decode(raw)
	if err != nil {
		return opened, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil {
		k.known = map[string]T{}
	}
	if _, ok := k.known[string(raw)]; ok {
		return opened, nil // another run was as quick
	}
	for text := range k.known { // any: those that are used come back
		if k.bytes+len(raw) <= maxKept {
			break
		}
		k.bytes -= len(text)
		delete(k.known, text)
	}
	k.known[string(raw)] = opened
	k.bytes += len(raw)
	return opened, nil
}
