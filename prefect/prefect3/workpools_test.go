package prefect3_test

import (
	"slices"
	"testing"

	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

func TestWorkPools(t *testing.T) {
	api := fake.New(fake.Options{})
	c := clientOf(t, api, prefect3.Options{})
	api.CreatePool(fake.Pool{Name: "a", Paused: true, Limit: new(3), Template: map[string]any{"variables": map[string]any{}}})
	api.CreatePool(fake.Pool{Name: "b", Type: "docker"})
	for _, tc := range []struct{ ask, want []string }{
		{nil, []string{"a kubernetes"}}, {[]string{"b", "none"}, []string{"b docker"}}, {[]string{"a", "b"}, []string{"a kubernetes", "b docker"}},
	} {
		pools, err := c.WorkPools(t.Context(), tc.ask...)
		var got []string
		for _, p := range pools {
			got = append(got, p.Name+" "+p.Type)
			if p.Name == "a" && (!p.Paused || p.Limit == nil || *p.Limit != 3 || len(p.Row) == 0) {
				t.Errorf("%+v", p)
			}
		}
		if slices.Sort(got); err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%q: %q, %v; want %q", tc.ask, got, err, tc.want)
		}
	}
}
