package framework

import (
	"context"
	"encoding/json"
	"time"
)

// MemoryOf is the memory of a Deployment's only pod, by the kubelet: anonymous memory, which
// cannot be given back, and the working set, which adds page cache in use. `kubectl top`
// shows the working set, and it fills a node.
func (e *Env) MemoryOf(deployment string) (resident, working uint64) {
	e.t.Helper()
	pod := e.Pods(deployment)[0]
	e.Eventually(time.Minute, "the kubelet knows the memory of "+pod.Name, func(ctx context.Context) (string, bool) {
		text, err := e.Client.CoreV1().RESTClient().Get().Resource("nodes").Name(pod.Spec.NodeName).SubResource("proxy").Suffix("stats/summary").DoRaw(ctx)
		if err != nil {
			return err.Error(), false
		}
		var summary struct {
			Pods []struct {
				PodRef     struct{ Name, Namespace string }
				Containers []struct {
					Memory struct {
						Time                      time.Time
						RSSBytes, WorkingSetBytes uint64
					}
				}
			}
		}
		if err := json.Unmarshal(text, &summary); err != nil {
			return err.Error(), false
		}
		for _, p := range summary.Pods {
			if p.PodRef.Name == pod.Name && p.PodRef.Namespace == e.Namespace && len(p.Containers) > 0 {
				m := p.Containers[0].Memory
				resident, working = m.RSSBytes, m.WorkingSetBytes
			}
		}
		return "nothing of it yet", working > 0
	})
	return resident, working
}
