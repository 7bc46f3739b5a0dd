// Program driver does what it is told with KEDA's own external scaler, of the version that
// it is compiled with. It also knows the kinds of that version, and of the Kubernetes that
// KEDA takes the types from. Commands come on standard input and reports go to standard output,
// both as lines of JSON. KEDA's log goes to standard error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr/funcr"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"github.com/kedacore/keda/v2/pkg/scalers"
	"github.com/kedacore/keda/v2/pkg/scalers/scalersconfig"
)

// command is one thing to do with the scaler of that name.
type command struct {
	Do     string // open, spec, metrics, listen, close, read or about
	Scaler string
	// For open, as the ScaledObject and its TriggerAuthentication have it:
	Push                bool
	Index               int
	MetricType          string
	Metadata, Env, Auth map[string]string
	// For metrics:
	Metric string
	// For read, which needs no scaler: an object in JSON.
	Object string
}

// report answers the commands in their order. Between the answers come those that say
// whether something was pushed, or that listening ended.
type report struct {
	Scaler string
	Pushed *bool   `json:",omitempty"`
	Ended  bool    `json:",omitempty"`
	Error  string  `json:",omitempty"`
	Specs  []spec  `json:",omitempty"`
	Values []value `json:",omitempty"`
	Active bool    `json:",omitempty"`
	// Kubernetes is the version of its types, as Kubernetes' modules count: 0.34.3.
	Kubernetes string `json:",omitempty"`
}

type spec struct{ Name, Kind, Type, Target string }

type value struct{ Name, Value string }

// patience is for one call. KEDA itself has no limit.
const patience = 20 * time.Second

func main() {
	log.SetLogger(funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{}))
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	d := driver{kinds: runtime.NewScheme(), scalers: map[string]scalers.Scaler{}, out: json.NewEncoder(out)}
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(d.kinds); err != nil {
			return err
		}
	}
	commands := json.NewDecoder(in)
	for {
		var c command
		if err := commands.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r := report{Scaler: c.Scaler}
		if err := d.do(ctx, c, &r); err != nil {
			r.Error = err.Error()
		}
		d.say(r)
	}
}

type driver struct {
	kinds   *runtime.Scheme
	scalers map[string]scalers.Scaler

	mu  sync.Mutex
	out *json.Encoder
}

func (d *driver) say(r report) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.out.Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
	}
}

func (d *driver) do(ctx context.Context, c command, r *report) error {
	switch c.Do {
	case "open":
		s, err := open(c)
		if err == nil {
			d.scalers[c.Scaler] = s
		}
		return err
	case "read":
		return d.read(c.Object)
	case "about":
		r.Kubernetes = types()
		return nil
	}
	s := d.scalers[c.Scaler]
	if s == nil {
		return fmt.Errorf("no scaler %q is open", c.Scaler)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch c.Do {
	case "spec":
		for _, m := range s.GetMetricSpecForScaling(ctx) {
			target := m.External.Target.AverageValue
			if target == nil {
				target = m.External.Target.Value
			}
			r.Specs = append(r.Specs, spec{m.External.Metric.Name, string(m.Type), string(m.External.Target.Type), target.String()})
		}
		return nil
	case "metrics":
		values, active, err := s.GetMetricsAndActivity(ctx, c.Metric)
		for _, v := range values {
			r.Values = append(r.Values, value{v.MetricName, v.Value.String()})
		}
		r.Active = active
		return err
	case "listen":
		push, ok := s.(scalers.PushScaler)
		if !ok {
			return fmt.Errorf("scaler %q does not push", c.Scaler)
		}
		active := make(chan bool)
		go push.Run(context.WithoutCancel(ctx), active)
		go func() {
			for pushed := range active {
				d.say(report{Scaler: c.Scaler, Pushed: &pushed})
			}
			d.say(report{Scaler: c.Scaler, Ended: true})
		}()
		return nil
	case "close":
		delete(d.scalers, c.Scaler)
		return s.Close(ctx)
	}
	return fmt.Errorf("unknown command %q", c.Do)
}

func open(c command) (scalers.Scaler, error) {
	config := &scalersconfig.ScalerConfig{
		ScalableObjectName: c.Scaler, ScalableObjectNamespace: "flows", ScalableObjectType: "ScaledObject",
		TriggerType: "external", TriggerIndex: c.Index, MetricType: autoscalingv2.MetricTargetType(c.MetricType),
		TriggerMetadata: c.Metadata, ResolvedEnv: c.Env, AuthParams: c.Auth,
	}
	if c.Push {
		config.TriggerType = "external-push"
		return scalers.NewExternalPushScaler(config)
	}
	return scalers.NewExternalScaler(config)
}

// read fails if the object has a field that its kind lacks.
func (d *driver) read(object string) error {
	strict := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, d.kinds, d.kinds, serializer.SerializerOptions{Strict: true})
	_, _, err := strict.Decode([]byte(object), nil, nil)
	return err
}

// types is the version of the module that the kinds of Kubernetes are from.
func types() string {
	built, _ := debug.ReadBuildInfo()
	for _, m := range built.Deps {
		if m.Path != "k8s.io/api" {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		return strings.TrimPrefix(m.Version, "v")
	}
	return ""
}
