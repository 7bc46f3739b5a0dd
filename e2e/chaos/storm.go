package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/prefect-keda/prefect-keda/e2e/reach"
)

const launchers, scalers = 3, 2

// Storm is one world, its processes, and what happens to them.
type Storm struct {
	World World
	Plan  *Plan
	// Runs come due in the course of Over. Then nothing breaks any more, and within Settle
	// everything has to be in order.
	Runs         int
	Over, Settle time.Duration
	// Binary is prefect-keda; Skewed is the same with a clock that CHAOS_CLOCK_OFFSET puts
	// off, or empty.
	Binary, Skewed string
	// Namespace of the Jobs; Kubernetes is the API server, reached by AsLauncher and
	// AsScaler, and by Client without faults.
	Namespace            string
	Kubernetes           *url.URL
	AsLauncher, AsScaler http.RoundTripper
	Client               kubernetes.Interface
	// RestartAPI ends the API server at once and returns when it serves again.
	RestartAPI func(context.Context) error
	// Dir is for logs.
	Dir string
	// Say tells of progress.
	Say func(string)

	runs  *Ledger
	keda  *keda
	procs struct{ launchers, scalers []*Process }
	// env is the environment of each process with the nth template.
	env map[*Process]func(template int) []string
}

// Run lets the storm pass over, and returns what is wrong afterwards: by flow run, with
// evidence.
func (s *Storm) Run(ctx context.Context) (broken map[string]string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.env = map[*Process]func(int) []string{}
	closing, err := s.prepare()
	defer closing()
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range slices.Concat(s.procs.launchers, s.procs.scalers) {
		group.Go(func() error { return p.Keep(ctx) })
	}
	for _, p := range s.procs.scalers {
		p.Want(true)
	}
	group.Go(func() error { return s.runs.Play(ctx) })
	group.Go(func() error { return s.keda.run(ctx) })
	group.Go(func() error {
		defer cancel()
		if err := s.rage(ctx); err != nil {
			return err
		}
		broken = s.settle(ctx)
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	return broken, nil
}

// prepare makes the processes and the proxies before them.
func (s *Storm) prepare() (closing func(), err error) {
	var proxies []*proxy
	closing = func() {
		for _, p := range proxies {
			p.close()
		}
	}
	api, err := url.Parse(s.World.Start())
	if err != nil {
		return closing, err
	}
	between := func(name string, upstream *url.URL, transport http.RoundTripper) string {
		p := &proxy{name: name, upstream: upstream, transport: transport, strike: s.Plan.strike}
		proxies = append(proxies, p)
		return p.start()
	}
	process := func(role string, i int, to http.RoundTripper, settings ...string) (*Process, error) {
		name := fmt.Sprintf("%s-%d", role, i)
		kubeconfig := filepath.Join(s.Dir, name+".kubeconfig")
		if err := reach.WriteKubeconfig(kubeconfig, between(name+" → Kubernetes:", s.Kubernetes, to)); err != nil {
			return nil, err
		}
		settings = append(settings, "KUBECONFIG="+kubeconfig, "NAMESPACE="+s.Namespace, "PREFECT_KEDA_OPS_LISTEN=127.0.0.1:0", "HOME="+s.Dir, "PREFECT_KEDA_LOG_FORMAT=json")
		binary := s.Binary
		if s.Skewed != "" && i == 0 {
			binary = s.Skewed
			settings = append(settings, clockOffset+"=60")
		}
		prefect := between(name+" → Prefect:", api, http.DefaultTransport) + api.Path
		env := func(template int) []string { return slices.Concat(s.World.Settings(prefect, template), settings) }
		p := NewProcess(name, filepath.Join(s.Dir, name+".log"), env(1), binary, role)
		s.env[p] = env
		return p, nil
	}
	var addresses []string
	for i := range scalers {
		address, err := reach.FreeAddress()
		if err != nil {
			return closing, err
		}
		p, err := process("scaler", i, s.AsScaler, "PREFECT_KEDA_LISTEN="+address)
		if err != nil {
			return closing, err
		}
		addresses, s.procs.scalers = append(addresses, address), append(s.procs.scalers, p)
	}
	for i := range launchers {
		p, err := process("launcher", i, s.AsLauncher)
		if err != nil {
			return closing, err
		}
		s.procs.launchers = append(s.procs.launchers, p)
	}
	s.keda = &keda{
		scalers: addresses, target: runsPerLauncher, launchers: s.procs.launchers, cooldown: 5 * time.Second,
		ref: &externalscaler.ScaledObjectRef{Name: "chaos", Namespace: "chaos", ScalerMetadata: s.World.Metadata()},
	}
	s.runs = NewLedger(s.Client, s.Namespace, s.World, s.Plan)
	return closing, nil
}

// rage creates the runs and breaks things meanwhile.
func (s *Storm) rage(ctx context.Context) error {
	defer s.Plan.End()
	whole := ctx // the API server is waited for beyond the storm
	ctx, cancel := context.WithTimeout(ctx, s.Over)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.load(ctx); return nil })
	group.Go(func() error { s.breakProcesses(ctx); return nil })
	group.Go(func() error { return s.breakServers(ctx, whole) })
	group.Go(func() error {
		for pause(ctx, 10*time.Second) {
			s.Say(s.progress())
		}
		return nil
	})
	return group.Wait()
}

func (s *Storm) progress() string {
	c := s.runs.Count()
	return fmt.Sprintf("%d runs made, %d Jobs, %d pods begun, %d faults", c.Runs, c.Jobs, c.Begun, len(s.Plan.Struck()))
}

// load creates the runs, most of them in crowds.
func (s *Storm) load(ctx context.Context) {
	dice := s.Plan.Dice("load")
	var cancels sync.WaitGroup
	defer cancels.Wait()
	for made, crowd := 0, 0; made < s.Runs && ctx.Err() == nil; made++ {
		if crowd--; crowd <= 0 {
			crowd = 1 + dice.IntN(40)
			pause(ctx, time.Duration(float64(crowd)/float64(s.Runs)*float64(s.Over)*0.85))
		}
		cancels.Go(s.runs.Any(context.WithoutCancel(ctx), dice))
	}
}

// breakProcesses kills and stops launchers and scalers at random moments.
func (s *Storm) breakProcesses(ctx context.Context) {
	dice := s.Plan.Dice("processes")
	var stopped sync.WaitGroup
	defer stopped.Wait()
	for pause(ctx, time.Duration(500+dice.IntN(1500))*time.Millisecond) {
		l, sc := s.procs.launchers[dice.IntN(launchers)], s.procs.scalers[dice.IntN(scalers)]
		short := time.Duration(500+dice.IntN(5000)) * time.Millisecond
		if dice.IntN(5) == 0 { // beyond every bound of the protocol
			short += time.Duration(dice.IntN(40)) * time.Second
		}
		switch dice.IntN(8) {
		case 0, 1, 2:
			if l.Kill() {
				s.Plan.note(Fault{Kind: LauncherKilled, Where: l.Name})
			}
		case 3, 4, 5:
			s.Plan.note(Fault{Kind: LauncherStopped, Where: l.Name, Lasts: short})
			stopped.Go(func() { l.Stop(ctx, short) })
		case 6:
			if sc.Kill() {
				s.Plan.note(Fault{Kind: ScalerKilled, Where: sc.Name})
			}
		case 7:
			s.Plan.note(Fault{Kind: ScalerStopped, Where: sc.Name, Lasts: short})
			stopped.Go(func() { sc.Stop(ctx, short) })
		}
	}
}

// breakServers moves Prefect's clock, restarts the API server, and rolls another template
// out in the middle.
func (s *Storm) breakServers(ctx, whole context.Context) (err error) {
	dice := s.Plan.Dice("servers")
	off := time.Minute
	if dice.IntN(2) == 0 {
		off = -off
	}
	part := s.Over / 10
	for tenth := 1; pause(ctx, part); tenth++ {
		switch tenth {
		case 1:
			s.World.Move(off)
			s.Plan.note(Fault{Kind: ClockMoved, Where: fmt.Sprint("Prefect by ", off)})
		case 3:
			s.Plan.note(Fault{Kind: APIRestarted, Where: "kube-apiserver"})
			var restarted errgroup.Group
			restarted.Go(func() error { return s.RestartAPI(whole) })
			defer func() { err = errors.Join(err, restarted.Wait()) }()
		case 5:
			s.World.Change(2)
			for _, l := range s.procs.launchers {
				l.Configure(s.env[l](2))
				s.Plan.note(Fault{Kind: Rollout, Where: l.Name})
				l.Roll()
				pause(ctx, part/4)
			}
		case 7:
			s.World.Move(0)
			s.Plan.note(Fault{Kind: ClockMoved, Where: "Prefect back"})
		}
	}
	return nil
}

// settle waits until everything is in order, and else says what is not.
func (s *Storm) settle(ctx context.Context) map[string]string {
	s.Say("calm again; " + s.progress())
	began := time.Now()
	for {
		open := s.runs.Open()
		if len(open) == 0 && s.keda.idle() {
			s.Say(fmt.Sprintf("all in order and no launcher wanted after %s; %s", time.Since(began).Round(time.Second), s.progress()))
			return nil
		}
		if time.Since(began) > s.Settle || !pause(ctx, time.Second) {
			if len(open) == 0 {
				open["-"] = "all runs are in order, and the scalers still want launchers"
			}
			return open
		}
	}
}

// Evidence is all that is known of a flow run.
func (s *Storm) Evidence(id string) string {
	lines := s.runs.History(id)
	for _, f := range s.Plan.Struck() {
		if slices.Contains(f.Runs, id) || len(f.Runs) == 0 && !strings.Contains(f.Where, "→") {
			lines = append(lines, f.String())
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n      ")
}

// Exits are the processes that left with an error.
func (s *Storm) Exits() map[string][]string {
	all := map[string][]string{}
	for _, p := range slices.Concat(s.procs.launchers, s.procs.scalers) {
		if ends := p.Ends(); len(ends) > 0 {
			all[p.Name] = ends
		}
	}
	return all
}
