// Command bare creates a Job for each of many flow runs, sixteen at once, and does no more than
// it must: it knows the Jobs beforehand, reads nothing and watches nothing. With --claim it
// sends the least request that claims each run first.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// atOnce is as many as a launcher's.
const atOnce = 16

// order is what to do, as it comes on standard input.
type order struct {
	// Job is the same for all runs but for its name and the run's label.
	Job   batchv1.Job `json:"job"`
	Label string      `json:"label"`
	Runs  []string    `json:"runs"`
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the cluster")
	claim := flag.String("claim", "", "prefect1 or prefect3; empty claims nothing")
	api := flag.String("api", "", "Prefect's API, with --claim")
	flag.Parse()
	if err := run(context.Background(), *kubeconfig, *claim, *api, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, claim, api string, in io.Reader) error {
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("read the order on standard input: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // as fast as it can
	// As launchers do; JSON would cost more.
	config.ContentType, config.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	prefect := claimer{url: api, client: &http.Client{
		Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce},
	}}
	claimRun := map[string]func(context.Context, string) error{
		"": func(context.Context, string) error { return nil }, "prefect1": prefect.claim1, "prefect3": prefect.claim3,
	}[claim]
	if claimRun == nil {
		return fmt.Errorf("--claim is %q, want prefect1, prefect3 or nothing", claim)
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(atOnce)
	for _, id := range o.Runs {
		all.Go(func() error {
			if err := claimRun(ctx, id); err != nil {
				return fmt.Errorf("claim flow run %s: %w", id, err)
			}
			j := o.Job.DeepCopy()
			j.Name, j.Labels[o.Label], j.Spec.Template.Labels[o.Label] = "bare-"+id, id, id
			_, err := client.BatchV1().Jobs(j.Namespace).Create(ctx, j, metav1.CreateOptions{})
			return err
		})
	}
	return all.Wait()
}

type claimer struct {
	url    string
	client *http.Client
}

// claim1 sets a run of Prefect 1 Submitted, whatever it was.
func (c claimer) claim1(ctx context.Context, id string) error {
	var answer struct {
		Data struct {
			Set struct{ States []struct{ Status string } } `json:"set_flow_run_states"`
		}
	}
	err := c.post(ctx, c.url, map[string]any{
		"query": `mutation claim($input: set_flow_run_states_input!) { set_flow_run_states(input: $input) { states { status } } }`,
		"variables": map[string]any{"input": map[string]any{"states": []any{
			map[string]any{"flow_run_id": id, "state": map[string]any{"type": "Submitted", "message": "Submitted for execution"}},
		}}},
	}, &answer)
	if err != nil {
		return err
	}
	if states := answer.Data.Set.States; len(states) != 1 || states[0].Status != "SUCCESS" {
		return fmt.Errorf("the answer is %v", answer)
	}
	return nil
}

// claim3 proposes the state Pending for a run of Prefect 3.
func (c claimer) claim3(ctx context.Context, id string) error {
	var answer struct{ Status string }
	err := c.post(ctx, c.url+"/flow_runs/"+id+"/set_state", map[string]any{"state": map[string]any{"type": "PENDING"}}, &answer)
	if err == nil && answer.Status != "ACCEPT" {
		err = fmt.Errorf("the answer is %v", answer)
	}
	return err
}

func (c claimer) post(ctx context.Context, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusMultipleChoices:
		return errors.New(resp.Status)
	}
	return json.Unmarshal(answer, out)
}
