package framework

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestNamespaceName(t *testing.T) {
	for test, want := range map[string]string{
		"TestFootprint":                                   "e2e-footprint-",
		"TestScalerRestartsMidway/SIGKILL":                "e2e-scalerrestartsmidway-sigkill-",
		"TestPrefectIsAwayForAMinute/refuses_connections": "e2e-prefectisawayforaminute-refuses-conn-",
		"TestTwentyEightLettersOfTheName/x":               "e2e-twentyeightlettersofthename-x-",
	} {
		got := namespaceName(test)
		if !strings.HasPrefix(got, want) || len(got) != len(want)+5 || len(validation.IsDNS1123Label(got)) > 0 {
			t.Errorf("namespaceName(%q) = %q, want %q and five letters", test, got, want)
		}
	}
}
