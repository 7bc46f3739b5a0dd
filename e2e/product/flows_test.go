package product

import (
	"maps"
	"testing"
)

func TestRegisteredIDsAreFoundAmongWarnings(t *testing.T) {
	const ids, warning = `{"hello": "cd3cd948", "slow": "94e5b343"}` + "\n", "flow.py:1726: UserWarning: No result handler was specified\n  registered_flow = client.register(\n"
	for name, log := range map[string]string{"ids last": warning + ids, "ids first": ids + warning, "ids between": warning + ids + warning} {
		got, err := registeredIDs(log)
		if want := map[string]string{"hello": "cd3cd948", "slow": "94e5b343"}; err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: registeredIDs = %v, %v, want %v", name, got, err, want)
		}
	}
	if got, err := registeredIDs(warning + "{}\nnull\n"); err == nil {
		t.Errorf("registeredIDs = %v from a log without ids, want an error", got)
	}
}
