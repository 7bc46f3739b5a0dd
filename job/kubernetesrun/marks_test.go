package kubernetesrun

import "testing"

// A dash within a word makes no value, and names are full of them; too many counted
// would refuse templates that are all right.
func TestDashesOfWordsMakeNoValues(t *testing.T) {
	for text, want := range map[string]int{
		"prefect-job": 0, "a--b": 0, "--": 1, "-0": 0, "-9": 0, "-A": 0, "-Z": 0, "-a": 0, "-z": 0,
		"-": 1, "- a": 1, "-\n": 1, "-\t": 1, "-/": 1, "-:": 2, "-@": 1, "-[": 2, "-`": 1, "-{": 2, "-_": 1, "-\u00e9": 1,
		"a: [b, c]": 3, "? {a}": 2,
	} {
		if got := yamlMarks([]byte(text)); got != want {
			t.Errorf("%q has %d marks, want %d", text, got, want)
		}
	}
}
