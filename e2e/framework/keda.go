package framework

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	kedaNamespace = "keda"
	operator      = "keda-operator"
	// operatorLease is held by the operator that scales.
	operatorLease = "operator.keda.sh"
)

// kedaPatience is how long anything of KEDA may take to come back.
const kedaPatience = 3 * time.Minute

// RestartKEDA deletes the pods of one of KEDA's Deployments and waits for others. It belongs to
// everybody, so scenarios that do it run alone.
func (s *Suite) RestartKEDA(t *testing.T, deployment string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kedaPatience)
	defer cancel()
	if err := s.restartKEDA(ctx, deployment); err != nil {
		t.Fatalf("restart %s: %v", deployment, err)
	}
}

func (s *Suite) restartKEDA(ctx context.Context, deployment string) error {
	pods := s.Client.CoreV1().Pods(kedaNamespace)
	before, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=" + deployment})
	if err != nil {
		return err
	}
	if len(before.Items) == 0 {
		return errors.New("it has no pods")
	}
	for i := range before.Items {
		if err := pods.Delete(ctx, before.Items[i].Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return poll(ctx, func() (bool, error) {
		for i := range before.Items {
			if p, err := pods.Get(ctx, before.Items[i].Name, metav1.GetOptions{}); err == nil && p.UID == before.Items[i].UID {
				return false, fmt.Errorf("its pod %s is still there", p.Name)
			}
		}
		d, err := s.Client.AppsV1().Deployments(kedaNamespace).Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return d.Status.ReadyReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas, nil
	})
}

// ChangeKEDALeader lets a second operator take over from the one that scales, and leaves one. The
// end of the test leaves one too, whatever happens.
func (s *Suite) ChangeKEDALeader(t *testing.T) {
	t.Helper()
	s.leaveOneOperator(t, kedaPatience)
	ctx, cancel := context.WithTimeout(t.Context(), kedaPatience)
	defer cancel()
	if err := s.changeKEDALeader(ctx); err != nil {
		t.Fatalf("change KEDA's leader: %v", err)
	}
}

func (s *Suite) changeKEDALeader(ctx context.Context) error {
	if err := s.scaleKEDA(ctx, 2); err != nil {
		return err
	}
	leader, err := s.kedaLeader(ctx)
	if err != nil {
		return err
	}
	if err := s.Client.CoreV1().Pods(kedaNamespace).Delete(ctx, leader, metav1.DeleteOptions{}); err != nil {
		return err
	}
	err = poll(ctx, func() (bool, error) {
		now, err := s.kedaLeader(ctx)
		return err == nil && now != leader, err
	})
	return errors.Join(err, s.scaleKEDA(ctx, 1))
}

// kedaLeader is the pod of KEDA's operator that scales.
func (s *Suite) kedaLeader(ctx context.Context) (pod string, err error) {
	lease, err := s.Client.CoordinationV1().Leases(kedaNamespace).Get(ctx, operatorLease, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", errors.New("nobody leads")
	}
	pod, _, _ = strings.Cut(*lease.Spec.HolderIdentity, "_") // then a random id
	return pod, nil
}

// poll asks until it is done, and says at the end of ctx what was in the way.
func poll(ctx context.Context, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(between):
		}
	}
}
