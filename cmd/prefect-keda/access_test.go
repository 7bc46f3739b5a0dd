package main

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prefect-keda/prefect-keda/kube"
	"github.com/prefect-keda/prefect-keda/prefect/prefecttest"
)

// reviewer allows everything in some namespaces, from a time on.
type reviewer struct {
	from    map[string]time.Time
	away    error
	reviews int
}

func (r *reviewer) Create(_ context.Context, review *authorizationv1.SelfSubjectAccessReview, _ metav1.CreateOptions) (*authorizationv1.SelfSubjectAccessReview, error) {
	r.reviews++
	if r.away != nil {
		return nil, r.away
	}
	from, known := r.from[review.Spec.ResourceAttributes.Namespace]
	review = review.DeepCopy()
	review.Status.Allowed = known && !time.Now().Before(from)
	return review, nil
}

// What is missing is waited for, told at once and now and then, and noticed within
// seconds when it is mended.
func TestAwaitAccess(t *testing.T) {
	const never = -1
	for _, tc := range []struct {
		name     string
		mended   time.Duration
		patience time.Duration
		waited   time.Duration
		told     int
		missing  bool
	}{
		{"nothing is missing", 0, 0, 0, 0, false},
		{"mended soon", 7 * time.Second, 0, 10 * time.Second, 1, false},
		{"mended late", 25 * time.Minute, 0, 25 * time.Minute, 3, false},
		{"not mended in time", never, 15 * time.Minute, 15 * time.Minute, 2, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				began := time.Now()
				r := &reviewer{from: map[string]time.Time{}}
				if tc.mended != never {
					r.from["flows"] = began.Add(tc.mended)
				}
				a := &access{log: slog.New(slog.NewTextHandler(&log, nil)), reviews: r, permissions: kube.ScalerPermissions(), namespaces: []string{"flows"}}
				events := 0
				a.operator = func(reason, message string) {
					events++
					if reason != "PrefectPermissionsMissing" || !strings.Contains(message, "the service account may do nothing in namespace flows") {
						t.Errorf("an event says %s: %s", reason, message)
					}
				}
				err := a.await(t.Context(), tc.patience)
				if _, missing := errors.AsType[*kube.MissingError](err); missing != tc.missing {
					t.Errorf("await: %v", err)
				}
				if (a.err() != nil) != tc.missing {
					t.Errorf("afterwards: %v", a.err())
				}
				if waited := time.Since(began); waited != tc.waited {
					t.Errorf("waited %s, want %s", waited, tc.waited)
				}
				if told := strings.Count(log.String(), "permissions are missing, or the namespace"); told != tc.told || events != tc.told {
					t.Errorf("told %d times, want %d:\n%s", told, tc.told, log.String())
				}
				if mended := strings.Contains(log.String(), "going on"); mended != (tc.told > 0 && !tc.missing) {
					t.Errorf("the end of it is told or not:\n%s", log.String())
				}
			})
		})
	}
}

// One namespace that is not there hinders no other; an API server that cannot be
// asked hinders nobody, and makes nothing good that was found missing.
func TestAccessOfSeveralNamespaces(t *testing.T) {
	r := &reviewer{from: map[string]time.Time{"a": {}}}
	a := &access{log: slog.New(slog.DiscardHandler), reviews: r, permissions: kube.ScalerPermissions(), namespaces: []string{"a", "b"}}
	if missing := a.ask(t.Context()); missing == nil || a.err() != nil {
		t.Errorf("one of two: %v, %v", missing, a.err())
	}
	r.from = nil
	if missing := a.ask(t.Context()); missing == nil || a.err() == nil {
		t.Errorf("both: %v, %v", missing, a.err())
	}
	r.away = errors.New("connection refused")
	if missing := a.ask(t.Context()); missing == nil || a.err() == nil {
		t.Errorf("while it cannot be asked: %v, %v", missing, a.err())
	}
	a.missing.Store(nil)
	if missing := a.ask(t.Context()); missing != nil || a.err() != nil {
		t.Errorf("when it could not be asked at all: %v, %v", missing, a.err())
	}
}

// A signal ends the waiting, and is no failure.
func TestAwaitAccessEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	a := &access{log: slog.New(slog.DiscardHandler), reviews: &reviewer{}, permissions: kube.ScalerPermissions(), namespaces: []string{"a"}}
	if err := a.await(ctx, 0); err != nil {
		t.Error(err)
	}
}

// Either process waits for its permissions, says on its port that it does, and goes
// on when they are there.
func TestProcessesWaitForPermissions(t *testing.T) {
	for process, going := range map[string]string{"scaler": "all permissions are granted now; going on", "launcher": `"msg":"created the Job"`} {
		t.Run(process, func(t *testing.T) {
			w := newWorld(t, "*")
			w.prefect.CreateRuns(prefecttest.Order{})
			out, stop := w.start(t, process)
			out.await(t, "permissions are missing, or the namespace is; waiting for them")
			out.await(t, "the service account may do nothing in namespace flows: check that the namespace exists")
			served := regexp.MustCompile(`"msg":"serving pages","address":"([^"]+)"`).FindStringSubmatch(out.String())
			if served == nil {
				t.Fatalf("no port is served:\n%s", out)
			}
			if process == "scaler" {
				out.await(t, "serving KEDA") // or its probes, which are of gRPC, would have it killed
			}
			if got := get(t, served[1], "/readyz"); !strings.HasPrefix(got, "503 waiting for permissions: the service account may do nothing in namespace flows") {
				t.Errorf("/readyz while it waits: %s", got)
			}
			if got := get(t, served[1], "/livez"); got != "200 ok\n" {
				t.Errorf("/livez while it waits: %s", got)
			}
			w.kube.mend()
			out.await(t, going)
			if got := get(t, served[1], "/readyz"); got != "200 ok\n" {
				t.Errorf("/readyz afterwards: %s", got)
			}
			if d := cmp.Diff(exitOK, stop()); d != "" {
				t.Errorf("exit code: %s\n%s", d, out)
			}
		})
	}
}
