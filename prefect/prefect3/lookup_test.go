package prefect3_test

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/prefect-keda/prefect-keda/prefect"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3"
	"github.com/prefect-keda/prefect-keda/prefect/prefect3/fake"
)

func dueRuns(t testing.TB, c *prefect3.Client, limit int) []prefect.FlowRun {
	t.Helper()
	found, err := c.Due(t.Context(), prefect.DueQuery{Until: time.Now(), Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	return found.Runs
}

// A burst of one deployment's runs costs four reads at most, though all Jobs are made at
// once.
func TestInputsOfABurst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s", JobVariables: map[string]any{"image": "one"}})
		api.CreateRuns(fake.Order{Deployment: deployment, Count: 500, At: time.Now().Add(-time.Minute)})
		time.Sleep(5 * time.Second)
		runs := dueRuns(t, c, 1000)
		before := api.Counts()["requests"]
		var all sync.WaitGroup
		for _, run := range runs {
			all.Go(func() {
				in, err := c.Inputs(t.Context(), run)
				if err != nil || in.ServerVersion != "3.9.1" || len(in.FlowRun)*len(in.Flow)*len(in.Deployment)*len(in.WorkPool) == 0 {
					t.Errorf("%+v, %v", in, err)
				}
			})
		}
		all.Wait()
		if n := api.Counts()["requests"] - before; len(runs) != 500 || n > 4 {
			t.Errorf("%d requests for %d runs", n, len(runs))
		}
	})
}

// A run gets its deployment and work pool as they were when it was made, or newer.
func TestInputsAreNewEnough(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s"})
		inputs := func() (template, name string) {
			t.Helper()
			api.CreateRuns(fake.Order{Deployment: deployment, At: time.Now()})
			time.Sleep(time.Second)
			runs := dueRuns(t, c, 1000)
			in, err := c.Inputs(t.Context(), runs[len(runs)-1])
			if err != nil {
				t.Fatal(err)
			}
			var pool struct {
				Template json.RawMessage `json:"base_job_template"`
			}
			if err := json.Unmarshal(in.WorkPool, &pool); err != nil {
				t.Fatal(err)
			}
			return string(pool.Template), string(in.Deployment)
		}
		first, before := inputs()
		time.Sleep(3 * time.Second)
		api.CreatePool(fake.Pool{Name: "k8s", Template: map[string]any{"variables": map[string]any{}}})
		api.LimitDeployment(deployment, new(7))
		second, after := inputs()
		if first == second || before == after {
			t.Errorf("the template was %s, is %s; the deployment was %s, is %s", first, second, before, after)
		}
	})
}

// What no Job can be made of is told to the author.
func TestInputsThatAreMissing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		id := api.CreateRuns(fake.Order{State: "SCHEDULED", At: time.Now()})[0]
		_, err := c.Inputs(t.Context(), readRun(t, c, id))
		if _, wrong := errors.AsType[*prefect.AuthorError](err); !wrong {
			t.Errorf("without a work pool: %v", err)
		}
		deployment := api.CreateDeployment(fake.Deployment{Pool: "k8s"})
		run := readRun(t, c, api.CreateRuns(fake.Order{Deployment: deployment, At: time.Now()})[0])
		api.DeleteDeployment(deployment)
		_, err = c.Inputs(t.Context(), run)
		if _, wrong := errors.AsType[*prefect.AuthorError](err); !wrong {
			t.Errorf("without its deployment: %v", err)
		}
		alone := readRun(t, c, api.CreateRuns(fake.Order{Pool: "k8s", At: time.Now()})[0])
		alone.Recipe = nil
		if in, err := c.Inputs(t.Context(), alone); err != nil || len(in.Deployment) > 0 || len(in.FlowRun) == 0 {
			t.Errorf("a run that never had one: %+v, %v", in, err)
		}
	})
}

func TestBlocksAndVariables(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		api := fake.New(fake.Options{})
		c := clientOf(t, api, prefect3.Options{})
		id := api.CreateBlock("secret", "reg token", map[string]any{"value": "hush"}, "value")
		api.SetVariable("region", "eu-1")
		api.SetVariable("big", json.Number("12345678901234567890"))
		for name, read := range map[string]func() (any, error){
			"by name": func() (any, error) { return c.Block(t.Context(), "secret", "reg token") },
			"by id":   func() (any, error) { return c.BlockByID(t.Context(), id) },
		} {
			got, err := read()
			if diff := cmp.Diff(any(json.RawMessage(`{"value":"hush"}`)), got); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
			}
		}
		if _, err := c.Block(t.Context(), "secret", "none"); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("a block that is not there: %v", err)
		}
		if _, err := c.BlockByID(t.Context(), "../flows"); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("an id that is none: %v", err)
		}
		for name, want := range map[string]string{"region": `"eu-1"`, "big": "12345678901234567890", "none": ""} {
			got, ok, err := c.Variable(t.Context(), name)
			text, _ := got.(json.RawMessage)
			if err != nil || ok != (want != "") || string(text) != want {
				t.Errorf("%s is %v, %v, %v", name, got, ok, err)
			}
		}
		// A change is seen seconds later.
		api.SetVariable("region", "us-2")
		time.Sleep(3 * time.Second)
		if got, _, err := c.Variable(t.Context(), "region"); err != nil || !cmp.Equal(got, any(json.RawMessage(`"us-2"`))) {
			t.Errorf("it is still %v, %v", got, err)
		}
	})
}
