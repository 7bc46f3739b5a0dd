package jobs

import (
	"sync"
	"testing"
)

func TestPresencesAreLookedForOnceUntilTheyChange(t *testing.T) {
	p := newPresences()
	looks := 0
	is := Presence{Jobs: []Job{{Name: "a", CanTake: true}}}
	look := func() Presence { looks++; return is }
	for range 3 {
		if found := p.of("run", look); len(found.Jobs) != 1 || !found.Jobs[0].CanTake {
			t.Fatalf("found %+v, want the Job", found)
		}
	}
	if looks != 1 {
		t.Errorf("looked %d times while nothing changed, want once", looks)
	}
	is.Jobs = []Job{{Name: "a"}}
	p.forget("run")
	if found := p.of("run", look); found.Jobs[0].CanTake {
		t.Errorf("found %+v after the change, want that the Job cannot take the run", found)
	}
	is.Jobs = nil
	p.forget("run")
	p.of("run", look)
	is.Jobs = []Job{{Name: "b"}}
	if found := p.of("run", look); len(found.Jobs) != 1 {
		t.Error("that there was nothing is kept, though most runs have no Job yet")
	}
}

func TestPresencesAreBounded(t *testing.T) {
	p := newPresences()
	for i := range 3 * maxPresences {
		p.of(string(rune(i)), func() Presence { return Presence{Alive: true} })
	}
	if len(p.found) > maxPresences {
		t.Errorf("%d are kept, want %d at most", len(p.found), maxPresences)
	}
}

// A look that began before a change must not be what is found after it.
func TestChangeDuringALookIsNotLost(t *testing.T) {
	p := newPresences()
	var state sync.Mutex
	alive, looking, goOn := false, make(chan struct{}), make(chan struct{})
	read := func() bool { state.Lock(); defer state.Unlock(); return alive }
	var asked, told sync.WaitGroup
	asked.Go(func() {
		p.of("run", func() Presence {
			found := Presence{Jobs: []Job{{}}, Alive: read()}
			close(looking)
			<-goOn
			return found
		})
	})
	<-looking
	state.Lock()
	alive = true
	state.Unlock()
	told.Go(func() { p.forget("run") })
	close(goOn)
	asked.Wait()
	told.Wait()
	if found := p.of("run", func() Presence { return Presence{Jobs: []Job{{}}, Alive: read()} }); !found.Alive {
		t.Error("found what was before the change")
	}
}
