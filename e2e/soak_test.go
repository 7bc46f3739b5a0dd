//go:build e2e && soak

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/e2e/chaos"
	"github.com/prefect-keda/prefect-keda/e2e/framework"
	"github.com/prefect-keda/prefect-keda/e2e/product"
	"github.com/prefect-keda/prefect-keda/e2e/soak"
)

//nolint:gochecknoglobals // flags
var (
	soakFor     = flag.Duration("for", 10*time.Minute, "how long to soak; it ends with the round that is under way, and after enough rounds to judge growth")
	soakBefore  = flag.String("before", "", "the release before this one, as git knows it; the newest tag if empty")
	soakPrefect = flag.Int("prefect", 1, "the Prefect, 1 or 3, at which the release before is upgraded; launchers that stay serve the other one")
	soakLoad    = flag.Uint64("load", 0, "seed of the load; 0 for another one each time")
)

// busy is how long runs come in each round, before the quiet that is measured.
const busy = 25 * time.Second

// TestSoak lets flow runs come and go while scalers and launchers are rolled out, KEDA restarts
// and changes its leader, and the release before becomes this one, and goes back once. Each
// scheduling has exactly one Job, nothing is stuck or lost, and nothing grows.
//
// The flow runs of one Prefect are served by the release before and this one at once, each in
// a namespace of its own with the same Jobs; both go to zero between rounds. Those of the other
// Prefect are served by a scaler and a launcher that stay all the time: what they use in the
// quiet moments is compared.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	began := time.Now()
	for round := 1; ; round++ {
		gone := time.Since(began)
		if gone >= *soakFor && len(s.upgrade) == 0 && round > soak.Enough {
			break
		}
		var turns []turn
		// The last turns come in any case.
		if next := s.upgrade; len(next) > 0 && gone >= time.Duration(next[0].after*float64(*soakFor)) {
			turns, s.upgrade = append(turns, next[0].turn), next[1:]
		}
		for range 2 {
			turns, s.events = append(turns, s.events[0]), append(s.events[1:], s.events[0])
		}
		s.round(round, turns)
		fmt.Printf("    %s: round %d is over; %s\n", time.Since(began).Round(time.Second), round, s.progress())
	}
	s.judge(time.Since(began))
}

// turn is something that happens while runs come.
type turn struct {
	what string
	do   func()
}

// soaked is one Prefect with its flow runs.
type soaked struct {
	prefect int
	url     string
	ledger  *chaos.Ledger
	env     *framework.Env
}

type soaking struct {
	t      *testing.T
	seed   uint64
	before soak.Release
	image  string // of the release before
	tree   string

	upgraded, staying *soaked
	beside            *framework.Env
	followed          *framework.Followed
	logs              string

	events  []turn
	upgrade []struct {
		after float64 // share of the whole time
		turn  turn
	}
	happened map[string]int
	lives    map[string]*soak.Life
}

func newSoak(t *testing.T) *soaking {
	s := &soaking{t: t, seed: *soakLoad, happened: map[string]int{}, lives: map[string]*soak.Life{}}
	if s.seed == 0 {
		s.seed = rand.Uint64() % 1_000_000
	}
	if *soakPrefect != 1 && *soakPrefect != 3 {
		t.Fatalf("-prefect %d: want 1 or 3", *soakPrefect)
	}
	s.fetch()
	fmt.Printf("    at Prefect %d, %s becomes this release; load again with: -load %d\n", *soakPrefect, s.before.Name, s.seed)
	ctx, cancel := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	s.upgraded = s.soaked(*soakPrefect)
	s.staying = s.soaked(4 - *soakPrefect)
	for _, p := range s.prefects() {
		group.Go(func() error { return p.ledger.Play(ctx) })
	}
	s.beside = s.env(*soakPrefect)
	s.logs = filepath.Join(suite.Root, "e2e/out/soak")
	var err error
	s.followed, err = suite.FollowPods(s.logs, s.upgraded.env.Namespace, s.beside.Namespace, s.staying.env.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	s.install()
	s.plan()
	return s
}

// round is one of load, turns that happen meanwhile, and a quiet moment.
func (s *soaking) round(n int, turns []turn) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	var load sync.WaitGroup
	for i, p := range s.prefects() {
		dice := rand.New(rand.NewPCG(s.seed, uint64(10*n+i))) //nolint:gosec // small
		load.Go(func() { p.load(ctx, dice) })
	}
	began := time.Now()
	for _, turn := range turns {
		at := time.Now()
		turn.do()
		fmt.Printf("      %s: %s\n", turn.what, time.Since(at).Round(time.Second))
		s.happened[turn.what]++
	}
	select {
	case <-time.After(busy - time.Since(began)):
	case <-s.t.Context().Done():
	}
	cancel()
	load.Wait()
	s.settle()
	s.look()
}

// load makes runs until ctx ends: some alone, some in crowds, and none for a while.
func (p *soaked) load(ctx context.Context, dice *rand.Rand) {
	var cancels sync.WaitGroup
	defer cancels.Wait()
	for ctx.Err() == nil {
		crowd := 1
		if dice.IntN(4) == 0 {
			crowd = 2 + dice.IntN(10)
		}
		for range crowd {
			cancels.Go(p.ledger.Any(context.WithoutCancel(ctx), dice))
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(300+dice.IntN(3500)) * time.Millisecond):
		}
	}
}

// settle waits until everything is in order and all that can go has gone.
func (s *soaking) settle() {
	s.t.Helper()
	began := time.Now()
	for {
		open := map[string]string{}
		for _, p := range s.prefects() {
			maps.Copy(open, p.ledger.Open())
		}
		left := s.left()
		if len(open) == 0 && left == "" {
			return
		}
		if time.Since(began) > 5*time.Minute {
			for _, id := range slices.Sorted(maps.Keys(open))[:min(len(open), 10)] {
				s.t.Errorf("%s\n      %s", open[id], strings.Join(s.history(id), "\n      "))
			}
			s.t.Fatalf("five minutes after the last run %d runs are not in order; left are: %s", len(open), left)
		}
		time.Sleep(time.Second)
	}
}

func (s *soaking) history(id string) (lines []string) {
	for _, p := range s.prefects() {
		lines = append(lines, p.ledger.History(id)...)
	}
	slices.Sort(lines)
	return lines
}

// left says which Jobs have not ended, and which launchers are still there that have to go.
func (s *soaking) left() string {
	var left []string
	for _, p := range s.prefects() {
		jobs, err := suite.Client.BatchV1().Jobs(p.env.Flows).List(s.t.Context(), metav1.ListOptions{})
		if err != nil {
			left = append(left, err.Error())
			continue
		}
		for i := range jobs.Items {
			if !ended(&jobs.Items[i]) {
				left = append(left, "Job "+jobs.Items[i].Name)
			}
		}
	}
	for _, e := range []*framework.Env{s.upgraded.env, s.beside} {
		if pods := e.Pods(product.Launcher); len(pods) > 0 {
			left = append(left, fmt.Sprintf("%d launchers of %s", len(pods), e.Namespace))
		}
	}
	return strings.Join(left, ", ")
}

func ended(j *batchv1.Job) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed)
	})
}

// look measures all processes in a quiet moment: a few times, of which the least counts, because
// probes and requests come in between.
func (s *soaking) look() {
	s.t.Helper()
	moment := map[string]soak.Sample{}
	for range 5 {
		for _, e := range s.envs() {
			for _, of := range []string{product.Scaler, product.Launcher} {
				for _, pod := range e.Pods(of) {
					sample, err := s.sample(e, &pod)
					if err != nil || pod.DeletionTimestamp != nil {
						continue // it is leaving
					}
					name := s.called(e, &pod)
					for what, value := range sample {
						if moment[name] == nil {
							moment[name] = soak.Sample{}
						}
						if least, ok := moment[name][what]; !ok || value < least {
							moment[name][what] = value
						}
					}
				}
			}
		}
		time.Sleep(time.Second)
	}
	for name, sample := range moment {
		if s.lives[name] == nil {
			s.lives[name] = &soak.Life{Process: name}
		}
		s.lives[name].Quiet = append(s.lives[name].Quiet, sample)
	}
}

// called names a process; one that stays has the name of what it does.
func (s *soaking) called(e *framework.Env, pod *corev1.Pod) string {
	where := map[*framework.Env]string{s.upgraded.env: "upgraded: ", s.beside: "beside: ", s.staying.env: "staying: "}[e]
	restarts := int32(0)
	if len(pod.Status.ContainerStatuses) > 0 {
		restarts = pod.Status.ContainerStatuses[0].RestartCount
	}
	return fmt.Sprintf("%s%s/%d", where, strings.TrimPrefix(pod.Name, "prefect-keda-"), restarts)
}

func (s *soaking) sample(e *framework.Env, pod *corev1.Pod) (soak.Sample, error) {
	ctx := s.t.Context()
	m, err := e.MetricsOf(ctx, pod.Name)
	if err != nil {
		return nil, err
	}
	in, out, err := suite.Cluster.Connections(ctx, string(pod.UID), 9090)
	if err != nil {
		return nil, err
	}
	sample := soak.Sample{
		soak.Goroutines: m["go_goroutines"],
		soak.Heap:       m["go_memstats_next_gc_bytes"] / 2, // with Go's usual GOGC
		soak.Resident:   m["process_resident_memory_bytes"],
		soak.Files:      m["process_open_fds"],
		soak.Outbound:   float64(out),
	}
	if pod.Labels["app.kubernetes.io/name"] == product.Scaler {
		sample[soak.Inbound] = float64(in)
	}
	return sample, nil
}

func (s *soaking) progress() string {
	var said []string
	for _, p := range s.prefects() {
		c := p.ledger.Count()
		said = append(said, fmt.Sprintf("Prefect %d: %d runs, %d Jobs", p.prefect, c.Runs, c.Jobs))
	}
	return strings.Join(said, "; ")
}

// judge ends it, and prints the tables.
func (s *soaking) judge(lasted time.Duration) {
	s.t.Helper()
	logs, unread, ends := s.followed.End()
	for _, end := range ends {
		s.t.Error(end)
	}
	of := map[bool]int{} // Jobs by the release before, and by this one
	for _, log := range logs {
		text, err := os.ReadFile(log.Path)
		if err != nil {
			s.t.Log(err) // it is among the unread
			continue
		}
		for _, line := range soak.Unexplained(string(text)) {
			s.t.Errorf("%s: %s", filepath.Base(log.Path), line)
		}
		if strings.Contains(log.Path, s.staying.env.Namespace) {
			continue
		}
		of[log.Image == s.image] += soak.Created(string(text))
	}
	if of[true] == 0 || of[false] == 0 {
		s.t.Errorf("launchers of the release before created %d Jobs, and those of this one %d: they did not work side by side", of[true], of[false])
	}
	s.table(lasted, logs, unread, of)
	var rows []soak.Row
	stayed := 0
	for _, life := range s.lives {
		rows = append(rows, life.Rows()...)
		if life.Judged() && strings.HasPrefix(life.Process, "staying: ") {
			stayed++
		}
	}
	if err := soak.Table(os.Stdout, rows); err != nil {
		s.t.Error(err)
	}
	for _, leak := range soak.Grown(rows) {
		s.t.Error(leak)
	}
	if stayed != 2 {
		s.t.Errorf("%d processes stayed long enough to judge whether they grow, want a scaler and a launcher: soak for longer", stayed)
	}
}

func (s *soaking) table(lasted time.Duration, logs []framework.Log, unread []string, of map[bool]int) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(what string, value any) { fmt.Fprintf(w, "%s\t%v\n", what, value) }
	row("lasted", lasted.Round(time.Second))
	row("the release before", s.before.Name)
	for _, p := range s.prefects() {
		c := p.ledger.Count()
		row(fmt.Sprintf("runs of Prefect %d", p.prefect), c.Runs)
		row("their schedulings, each with one Job", c.Jobs)
	}
	for _, what := range slices.Sorted(maps.Keys(s.happened)) {
		row(what, s.happened[what])
	}
	row("Jobs by launchers of "+s.before.Name, of[true])
	row("Jobs by launchers of this release, beside them and after", of[false])
	row("processes of ours whose logs were read", len(logs))
	row("logs that were not read to their end", len(unread))
	if err := w.Flush(); err != nil {
		s.t.Error(err)
	}
	for _, u := range unread {
		s.t.Log(u)
	}
}
