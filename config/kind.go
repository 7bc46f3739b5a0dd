package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

// Kind says which Prefect the settings are for.
type Kind string

// The two kinds.
const (
	Prefect1 Kind = "prefect1"
	Prefect3 Kind = "prefect3"
)

// UnmarshalText accepts the kinds, also as bare numbers.
func (k *Kind) UnmarshalText(text []byte) error {
	if string(text) == "1" || string(text) == "3" {
		text = append([]byte("prefect"), text...)
	}
	return oneOf(k, text, "a Prefect that we know: give prefect1, or prefect3 for Prefect 3 and 2", Prefect1, Prefect3)
}

// String is the name that people use.
func (k Kind) String() string {
	if k == Prefect3 {
		return "Prefect 3"
	}
	return "Prefect 1"
}

const (
	kindVariable = "PREFECT_KEDA_BACKEND"
	apiURL       = "PREFECT_API_URL"
)

// KindOf says which Prefect the flags and variables are for. PREFECT_KEDA_BACKEND decides;
// else the variables do that only one of the two has. If both are there, nothing is
// guessed: the error names one of each.
func KindOf(env envconfig.Lookuper) (Kind, error) {
	var said Kind
	if text, _ := env.Lookup(kindVariable); said.UnmarshalText([]byte(text)) == nil { // load tells of a wrong one
		return said, nil
	}
	if text, _ := env.Lookup("PREFECT__BACKEND"); text == string(Prefect3) {
		return Prefect3, nil
	}
	one, three := marks(env)
	_, url := env.Lookup(apiURL)
	switch {
	case one != "" && url:
		return Prefect3, Problem{
			Setting: apiURL + " and " + one,
			Text:    fmt.Sprintf("are for two kinds of Prefect: remove one of them (%s is Prefect 3's, %s is Prefect 1's), or say by %s=prefect3 or prefect1 which of them counts", apiURL, one, kindVariable),
		}
	case one == "" && three != "":
		return Prefect3, nil
	}
	return Prefect1, nil
}

// marks finds a setting that only Prefect 1 has, and one that only Prefect 3 has. A flag
// that both have is neither.
func marks(env envconfig.Lookuper) (one, three string) {
	has := func(name string) bool { text, _ := env.Lookup(name); return text != "" }
	for _, s := range slices.Concat(Settings(Launcher{}), Settings(Scaler{})) {
		byFlag := s.Flag != "" && has("--"+s.Flag)
		name := s.Variable
		if byFlag {
			name = "--" + s.Flag
		}
		ofAgent := s.Variable == "PREFECT__BACKEND" || strings.HasPrefix(s.Variable, "PREFECT__CLOUD__")
		switch {
		// Alone -l may as well be a worker's limit.
		case one == "" && ofAgent && s.Variable3 == "" && has(s.Variable) && name != "--label":
			one = name
		case one == "" && ofAgent && s.Variable3 != "" && !byFlag && has(s.Variable):
			one = name
		case three == "" && s.Only == Prefect3 && (byFlag || has(s.Variable)):
			three = name
		case three == "" && s.isWorkers() && has(s.Variable3):
			three = s.Variable3
		}
	}
	return one, three
}

// isWorkers is true of the settings by which a worker finds its API.
func (s Setting) isWorkers() bool { return s.Variable3 == apiURL || s.Variable3 == "PREFECT_API_KEY" }
