package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// keda asks the scalers as KEDA does and keeps as many launchers as they want. While no
// scaler answers it changes nothing. It believes the one that wants most: KEDA would have
// asked only one of them.
type keda struct {
	scalers   []string // their addresses
	ref       *externalscaler.ScaledObjectRef
	target    int64
	launchers []*Process
	cooldown  time.Duration

	mu     sync.Mutex
	wanted int64
	quiet  time.Time // since when nothing is wanted; zero while something is
}

// run asks every second until ctx ends.
func (k *keda) run(ctx context.Context) error {
	var clients []externalscaler.ExternalScalerClient
	for _, address := range k.scalers {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		clients = append(clients, externalscaler.NewExternalScalerClient(conn))
	}
	for pause(ctx, time.Second) {
		var answered bool
		var most int64
		for _, client := range clients {
			if value, err := k.ask(ctx, client); err == nil {
				answered, most = true, max(most, value)
			}
		}
		if answered {
			k.scale(most)
		}
	}
	return nil
}

// ask is how much is to be done, 0 if the ScaledObject is not active.
func (k *keda) ask(ctx context.Context, client externalscaler.ExternalScalerClient) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	active, err := client.IsActive(ctx, k.ref)
	if err != nil || !active.Result {
		return 0, err
	}
	spec, err := client.GetMetricSpec(ctx, k.ref)
	if err != nil {
		return 0, err
	}
	m, err := client.GetMetrics(ctx, &externalscaler.GetMetricsRequest{ScaledObjectRef: k.ref, MetricName: spec.MetricSpecs[0].MetricName})
	if err != nil {
		return 0, err
	}
	return max(1, m.MetricValues[0].MetricValue), nil
}

func (k *keda) scale(value int64) {
	want := (value + k.target - 1) / k.target
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case want > 0:
		k.quiet = time.Time{}
	case k.quiet.IsZero():
		k.quiet = time.Now()
	}
	if want > 0 || time.Since(k.quiet) > k.cooldown {
		k.wanted = want
		for i, launcher := range k.launchers {
			launcher.Want(int64(i) < want)
		}
	}
}

// idle reports whether all launchers were sent home.
func (k *keda) idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.wanted == 0 && !k.quiet.IsZero() && time.Since(k.quiet) > k.cooldown
}
